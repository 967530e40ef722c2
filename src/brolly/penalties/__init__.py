"""Penalties: scalars of the weights that training minimises beside the loss."""

from ._group_lasso import GroupLasso as GroupLasso
from ._group_lasso import group_lasso as group_lasso
from ._max_norm import MaxNorm as MaxNorm
from ._norms import L1 as L1
from ._norms import L2 as L2
from ._norms import ElasticNet as ElasticNet
from ._norms import elastic_net as elastic_net
from ._norms import l1 as l1
from ._norms import l2 as l2
from ._orthogonality import Orthogonality as Orthogonality
from ._orthogonality import orthogonality as orthogonality
from ._penalty import Covers as Covers
from ._penalty import Penalty as Penalty
from ._penalty import Sum as Sum
from ._penalty import choose as choose
from ._penalty import covered as covered
from ._spectral_norm import SpectralNorm as SpectralNorm
from ._spectral_norm import spectral_norm as spectral_norm
