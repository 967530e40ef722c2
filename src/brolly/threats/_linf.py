"""The ball of the maximum norm: every input value may move by eps."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from .._draws import Draws
from ._threat import Threat, norm


@dataclasses.dataclass(frozen=True)
class Linf(Threat):
    """Every value of the input may change by at most `eps`: max |x' - x| <= eps.

    Args:
        eps: Radius in input units, e.g. `8/255`. It may not exceed the width of the bounds.
        bounds: Lowest and highest value an input may hold.

    Raises:
        ValueError: `eps` is negative, no number, or larger than the width of the bounds.

    Example:
        >>> from brolly import Linf
        >>> str(Linf(8 / 255))
        'linf:0.0313725'
    """

    kind: ClassVar[str] = "linf"
    order: ClassVar[float] = float("inf")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < self.eps < float("inf"):
            raise ValueError(
                f"eps is {self.eps:.6g}, but inputs in {list(self.bounds)} can change by "
                f"{self.width:.6g} at most. For images of 8 bits write {self.eps:.6g}/255, or "
                f"declare the range: Linf({self.eps:.6g}, bounds=(0, 255))"
            )

    def diameter(self, shape: torch.Size) -> float:
        return self.width

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        lowest = (x - self.eps).clamp_min_(self.bounds[0])
        highest = (x + self.eps).clamp_max_(self.bounds[1])
        return torch.minimum(torch.maximum(x_adv, lowest), highest)

    def sample(self, x: Tensor, draws: Draws) -> Tensor:
        return (x + draws.uniform(x).mul_(2).sub_(1).mul_(self.eps)).clamp_(*self.bounds)

    def ascend(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        return norm(x_adv - x, float("inf"))
