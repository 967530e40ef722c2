"""Objectives: what training minimises."""

from ._advprop import AdvProp as AdvProp
from ._alp import ALP as ALP
from ._atta import ATTA as ATTA
from ._cutmix import CutMix as CutMix
from ._dkl import DKL as DKL
from ._dkl import IKL as IKL
from ._fat import FAT as FAT
from ._free import FreeTraining as FreeTraining
from ._gradalign import GradAlign as GradAlign
from ._hat import HAT as HAT
from ._input_gradient import InputGradientPenalty as InputGradientPenalty
from ._jacobian import JacobianPenalty as JacobianPenalty
from ._mart import MART as MART
from ._mixup import MixUp as MixUp
from ._objective import Loss as Loss
from ._objective import LossOf as LossOf
from ._objective import Objective as Objective
from ._pgd_training import PGDTraining as PGDTraining
from ._plain import Plain as Plain
from ._rst import RST as RST
from ._rst import pseudo_label as pseudo_label
from ._score import SCORE as SCORE
from ._single_step import FGSMRS as FGSMRS
from ._single_step import NFGSM as NFGSM
from ._trades import TRADES as TRADES
from ._vat import VAT as VAT
