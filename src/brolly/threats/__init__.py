"""Threats: the sets of perturbations an adversary may use."""

from ._affine import Affine as Affine
from ._l0 import L0 as L0
from ._l1 import L1 as L1
from ._l2 import L2 as L2
from ._linf import Linf as Linf
from ._masked import Masked as Masked
from ._parse import parse_threat as parse_threat
from ._threat import Threat as Threat
