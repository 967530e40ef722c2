"""Penalties: scalars of the weights that training minimises beside the loss."""

from ._norms import L2 as L2
from ._penalty import Covers as Covers
from ._penalty import Penalty as Penalty
from ._penalty import Sum as Sum
from ._penalty import covered as covered
