"""What rounding may do to a result, bounded in advance."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor, nn

from ._certificate import Unsupported

#: More than underflow (also flushed to zero) can add to a sum of up to 10^7 products.
TINY = 1e-30

#: Where a bound is beyond, float32 may overflow on the way, and nothing is known any more.
LARGEST = 1e30

_PRODUCTS = {"highest": 0.0, "high": 2.0**-10, "medium": 2.0**-8}  # of an operand


@dataclasses.dataclass(frozen=True)
class Arithmetic:
    """In which numbers bounds are computed, and how the model itself computes.

    Bounds that prove are computed in float64 and enclose what the model's own arithmetic may
    return, not just the exact result: after every operation they are widened by a bound of its
    rounding error. A sum of n products in any order and grouping, fused or not, is off by at most
    `n u / (1 - n u)` times the sum of their absolute values (Higham 2002, section 3.1), where u is
    the unit roundoff, 2^-24 in float32; single operations are off by u of their result, and
    activation functions by a few u. The rounding of the bounds themselves, in float64, is 2^29
    times smaller and covered by some extra operations in each count.

    Attributes:
        dtype: Of the bounds.
        unit: Unit roundoff of the model; 0: rounding is ignored.
        cut: Relative error of a product whose operands are cut to fewer bits first, as TF32 does.
    """

    dtype: torch.dtype
    unit: float = 0.0
    cut: float = 0.0

    @classmethod
    def enclosing(cls, model: nn.Module, x: Tensor) -> Arithmetic:
        """For bounds that enclose whatever `model` computes of inputs like `x`."""
        dtypes = {
            tensor.dtype
            for tensor in (x, *model.parameters(), *model.buffers())
            if tensor.is_floating_point() or tensor.is_complex()
        }
        if other := dtypes - {torch.float32, torch.float64}:
            raise Unsupported(
                f"the model has parameters in {', '.join(map(str, other))}, whose rounding is not "
                "understood; float32 and float64 are. Write model.float()"
            )
        if torch.float32 not in dtypes:
            return cls(torch.float64, 8 * 2.0**-53)  # the bounds round as coarsely: count it too
        operand = _PRODUCTS[torch.get_float32_matmul_precision()]
        if x.is_cuda and torch.backends.cudnn.allow_tf32:
            operand = max(operand, _PRODUCTS["high"])
        return cls(torch.float64, 2.0**-24, 2 * operand + operand**2)

    @property
    def rounds_less_than_float32(self) -> bool:
        return 0 < self.unit < 2.0**-24

    def rounding(self, operations: int) -> float:
        """Relative error after that many roundings, and those of the bounds."""
        error = (operations + 4) * self.unit
        return error / (1 - error) if error < 1 else math.inf

    def product(self, terms: int) -> float:
        """Error of a sum of so many products and a bias, relative to their absolute values."""
        return self.rounding(terms + 1) + self.cut if self.unit else 0.0

    def widened(self, lower: Tensor, upper: Tensor, slack: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds moved apart by `slack`; NaN, which proves nothing, where they are too far out."""
        if not self.unit:
            return lower, upper
        lower, upper = lower - slack - TINY, upper + slack + TINY
        lost = (lower < -LARGEST) | (upper > LARGEST)
        return lower.masked_fill(lost, torch.nan), upper.masked_fill(lost, torch.nan)
