"""Objectives: what training minimises."""

from ._atta import ATTA as ATTA
from ._objective import Loss as Loss
from ._objective import LossOf as LossOf
from ._objective import Objective as Objective
from ._pgd_training import PGDTraining as PGDTraining
from ._plain import Plain as Plain
from ._single_step import FGSMRS as FGSMRS
from ._single_step import NFGSM as NFGSM
from ._trades import TRADES as TRADES
