"""The Euclidean ball."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor

from .._draws import Draws
from ._threat import Threat, anywhere, norm, per_example


@dataclasses.dataclass(frozen=True)
class L2(Threat):
    """The change of an input may have Euclidean length `eps` at most: ||x' - x||_2 <= eps.

    Args:
        eps: Radius in input units, e.g. `0.5` for images in [0, 1].
        bounds: Lowest and highest value an input may hold.

    Raises:
        ValueError: `eps` is negative or no number; with `check_inputs`, `eps` is larger than the
            diagonal of the bounds.

    Example:
        >>> import torch
        >>> from brolly import L2
        >>> x = torch.full((1, 2), 0.5)
        >>> L2(0.1).project(x + torch.tensor([[0.3, 0.4]]), x)
        tensor([[0.5600, 0.5800]])
    """

    kind: ClassVar[str] = "l2"
    order: ClassVar[float] = 2

    def diameter(self, shape: torch.Size) -> float:
        return self.width * math.sqrt(math.prod(shape))

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Nearest point of ball and box together.

        It is `clip(x + t (x_adv - x))` for the largest t <= 1 that stays in the ball. Scaling
        into the ball and clipping once would be feasible too, but leaves part of eps unused.
        """
        delta = x_adv - x
        lowest, highest = self.bounds[0] - x, self.bounds[1] - x
        scale = (self.eps / norm(delta, 2).clamp_min(1e-30)).clamp_max(1)
        moved = torch.clamp(delta * per_example(scale, x), lowest, highest)
        while True:
            # What the box cuts off may be spent on the other coordinates. Each round cuts more
            # of them, so the length grows towards eps from below and the loop ends.
            free = (moved > lowest) & (moved < highest)
            cut = norm(moved.masked_fill(free, 0), 2)
            loose = norm(delta.masked_fill(~free, 0), 2)
            room = (self.eps**2 - cut**2).clamp_min(0).sqrt()
            larger = (room / loose.clamp_min(1e-30)).clamp_max(1)
            if not (larger > scale * (1 + 1e-6)).any():
                break
            scale = torch.maximum(scale, larger)
            moved = torch.clamp(delta * per_example(scale, x), lowest, highest)
        return (x + moved).clamp_(*self.bounds)

    def sample(self, x: Tensor, draws: Draws) -> Tensor:
        if math.isinf(self.eps):
            return anywhere(self, x, draws)
        direction = self.ascend(draws.normal(x))
        volume = draws.uniform(x.new_empty(len(x), 1))[:, 0]
        radius = self.eps * volume ** (1 / max(math.prod(x.shape[1:]), 1))
        return (x + direction * per_example(radius, x)).clamp_(*self.bounds)

    def ascend(self, gradient: Tensor) -> Tensor:
        # Dividing by the largest entry first keeps tiny gradients from underflowing when squared.
        largest = per_example(norm(gradient, float("inf")), gradient)
        scaled = gradient / largest.clamp_min(torch.finfo(gradient.dtype).tiny)
        return scaled / per_example(norm(scaled, 2), gradient).clamp_min(1e-12)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        return norm(x_adv - x, 2)
