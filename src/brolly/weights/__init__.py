"""Perturbations of weights: searched for the worst, or drawn at random."""

from ._attach import Layers as Layers
from ._attach import Reparametrization as Reparametrization
from ._attach import Transform as Transform
from ._attach import detach as detach
from ._awp import AWP as AWP
from ._drop_connect import DropConnect as DropConnect
from ._gaussian_noise import GaussianNoise as GaussianNoise
from ._learned_noise import LearnedNoise as LearnedNoise
from ._noise import NoisyWeight as NoisyWeight
from ._noise import WeightNoise as WeightNoise
from ._noise import When as When
from ._noise import one_draw as one_draw
from ._noise import without_noise as without_noise
from ._obfuscate import Obfuscated as Obfuscated
from ._obfuscate import obfuscate as obfuscate
from ._random_matrix import RandomMatrix as RandomMatrix
from ._sam import ASAM as ASAM
from ._sam import SAM as SAM
from ._search import Shifted as Shifted
from ._search import WeightSearch as WeightSearch
from ._variational_dropout import VariationalDropout as VariationalDropout
from ._variational_dropout import VariationalKL as VariationalKL
from ._weight_norm import WeightNorm as WeightNorm
