"""Perturbations of weights: searched for the worst, or drawn at random."""

from ._awp import AWP as AWP
from ._sam import ASAM as ASAM
from ._sam import SAM as SAM
from ._search import Shifted as Shifted
from ._search import WeightSearch as WeightSearch
