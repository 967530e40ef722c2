"""Attacks: searches for the worst case inside a threat."""

from ._apgd import APGD as APGD
from ._apgd import APGDTargeted as APGDTargeted
from ._attack import Attack as Attack
from ._attack import MinimalAttack as MinimalAttack
from ._boundary import BoundaryAttack as BoundaryAttack
from ._catalogue import CATALOGUE as CATALOGUE
from ._catalogue import ENSEMBLES as ENSEMBLES
from ._catalogue import attacks_named as attacks_named
from ._ddn import DDN as DDN
from ._engine import AttackResult as AttackResult
from ._engine import Cost as Cost
from ._fab import FAB as FAB
from ._fab import FABTargeted as FABTargeted
from ._fgsm import FGSM as FGSM
from ._hop_skip_jump import HopSkipJump as HopSkipJump
from ._nes import NES as NES
from ._one_pixel import OnePixel as OnePixel
from ._pgd import PGD as PGD
from ._spsa import SPSA as SPSA
from ._square import Square as Square
from ._standard import Ensemble as Ensemble
from ._standard import quick as quick
from ._standard import standard as standard
from ._transfer import Transfer as Transfer
