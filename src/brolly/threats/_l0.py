"""The ball of the number of changed values."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor

from .._draws import Draws
from ._threat import Threat, norm


@dataclasses.dataclass(frozen=True)
class L0(Threat):
    """At most `eps` values of an input may change, by any amount inside the bounds.

    Values are counted, not pixels: a colour pixel has three.

    Args:
        eps: How many, e.g. `10`.
        bounds: Lowest and highest value an input may hold.

    Raises:
        ValueError: `eps` is negative or no number; with `check_inputs`, inputs have fewer values.

    Example:
        >>> import torch
        >>> from brolly import L0
        >>> x = torch.full((1, 3), 0.5)
        >>> L0(1).project(x + torch.tensor([[0.3, 0.4, -0.1]]), x)
        tensor([[0.5000, 0.9000, 0.5000]])
    """

    kind: ClassVar[str] = "l0"
    order: ClassVar[float] = 0

    def diameter(self, shape: torch.Size) -> float:
        return math.prod(shape)

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Keeps the changes, cut to the bounds, that bring it nearest to `x_adv`."""
        moved = x_adv.clamp(*self.bounds)
        # What keeping a change saves: (x_adv - x)^2 - (x_adv - moved)^2.
        saved = ((moved - x) * (2 * x_adv - x - moved)).flatten(1)
        if self.eps >= saved.shape[1]:
            return moved
        kept = torch.zeros_like(saved, dtype=torch.bool)
        kept.scatter_(1, saved.topk(int(self.eps), 1).indices, True)
        return torch.where(kept.reshape(x.shape), moved, x)

    def sample(self, x: Tensor, draws: Draws) -> Tensor:
        values = self.bounds[0] + self.width * draws.uniform(x)
        count = int(min(self.eps, math.prod(x.shape[1:])))
        chosen = torch.zeros_like(x.flatten(1), dtype=torch.bool)
        chosen.scatter_(1, draws.uniform(x).flatten(1).topk(count, 1).indices, True)
        return torch.where(chosen.reshape(x.shape), values, x)

    def ascend(self, gradient: Tensor) -> Tensor:
        """The gradient, scaled to a largest entry of 1: its largest entries matter most."""
        largest = norm(gradient, float("inf")).reshape(-1, *[1] * (gradient.ndim - 1))
        return gradient / largest.clamp_min(torch.finfo(gradient.dtype).tiny)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        return (x_adv != x).flatten(1).sum(1).to(x.dtype)
