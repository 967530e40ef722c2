"""Scale invariance."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from .._draws import Draws
from ._attack import check_counts
from ._momentum import Gradient, MomentumAttack, Refinement


@dataclasses.dataclass(frozen=True)
class Scaled(Refinement):
    """Mean over the losses at `x, x / 2, x / 4, ...` (Lin et al. 2020).

    Args:
        copies: How many; 5 in the paper.
    """

    copies: int = 5

    def __post_init__(self) -> None:
        check_counts(copies=self.copies)

    def refine(self, gradient: Gradient, draws: Draws) -> Gradient:
        def mean(x: Tensor) -> Tensor:
            total = gradient(x)
            for power in range(1, self.copies):
                total = total + gradient(x / 2**power) / 2**power
            return total / self.copies

        return mean


@dataclasses.dataclass(frozen=True)
class SIM(MomentumAttack):
    """MIM on scaled copies of the input (SI, Lin et al. 2020).

    The arguments are those of `MomentumAttack`; `refine=(Scaled(3),)` takes 3 copies.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.attacks.SIM(brolly.Linf(0.1))(model, x, y).success.shape
        torch.Size([2])
    """

    _: dataclasses.KW_ONLY
    refine: tuple[Refinement, ...] = (Scaled(),)
