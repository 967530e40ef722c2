"""The ball of the sum of absolute changes."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor

from .._draws import Draws
from ._threat import ROUNDING, Threat, anywhere, norm, per_example


@dataclasses.dataclass(frozen=True)
class L1(Threat):
    """The absolute changes of an input may add up to `eps`: sum |x' - x| <= eps.

    Args:
        eps: Radius in input units, e.g. `12` for CIFAR images in [0, 1].
        bounds: Lowest and highest value an input may hold.

    Raises:
        ValueError: `eps` is negative or no number; with `check_inputs`, no two inputs are that far
            apart.

    Example:
        >>> import torch
        >>> from brolly import L1
        >>> x = torch.full((1, 3), 0.5)
        >>> L1(0.3).project(x + torch.tensor([[0.3, 0.2, -0.1]]), x)
        tensor([[0.7000, 0.6000, 0.5000]])
    """

    kind: ClassVar[str] = "l1"
    order: ClassVar[float] = 1

    def diameter(self, shape: torch.Size) -> float:
        return self.width * math.prod(shape)

    def slack(self, shape: torch.Size) -> float:
        # Half a unit in the last place of float32 for each entry.
        return self.width * max(ROUNDING, 2**-24 * math.prod(shape))

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Nearest point of ball and box together (Croce & Hein 2021, proposition 2.1).

        Every change is shortened by the same amount, then cut to the box. The amount is where
        the piecewise linear sum of what is left meets eps; sorting its corners finds it exactly.
        """
        delta = (x_adv - x).flatten(1)
        room = torch.where(delta > 0, self.bounds[1] - x.flatten(1), x.flatten(1) - self.bounds[0])
        size, room = delta.abs(), room.clamp_min(0)
        left = torch.minimum(size, room)
        over = left.sum(1) > self.eps
        if over.any():
            left = left.clone()
            left[over] = _shorten(size[over], room[over], self.eps)
        moved = (left * delta.sign()).reshape(x.shape)
        return (x + moved).clamp_(*self.bounds)

    def sample(self, x: Tensor, draws: Draws) -> Tensor:
        if math.isinf(self.eps):
            return anywhere(self, x, draws)
        # Exponential gaps with random signs are uniform on the sphere; one more makes it the ball.
        gaps = -draws.uniform(x).mul_(-1).add_(1).log()
        extra = -draws.uniform(x.new_empty(len(x), 1)).mul_(-1).add_(1).log()
        signs = torch.where(draws.uniform(x) < 0.5, -1.0, 1.0).to(x.dtype)
        total = gaps.flatten(1).sum(1) + extra[:, 0]
        return (x + self.eps * signs * gaps / per_example(total, x)).clamp_(*self.bounds)

    def ascend(self, gradient: Tensor) -> Tensor:
        """All of the step goes to the value whose gradient is largest."""
        flat = gradient.flatten(1)
        step = torch.zeros_like(flat)
        if flat.shape[1]:
            at = flat.abs().argmax(1, keepdim=True)
            step.scatter_(1, at, flat.gather(1, at).sign())
        return step.reshape(gradient.shape)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        return norm(x_adv - x, 1)


def _shorten(size: Tensor, room: Tensor, eps: float) -> Tensor:
    """`min(max(size - t, 0), room)` with the t > 0 at which each row adds up to eps.

    As t grows, a value begins to fall at `size - room` and ends at `size`; between two such
    corners the sum falls with a slope of minus the number of values that are falling.
    """
    corners, order = torch.cat([(size - room).clamp_min(0), size], 1).sort(1)
    starts = torch.ones_like(size)
    falling = torch.cat([starts, -starts], 1).gather(1, order).cumsum(1)
    # In double: the sum may be many times eps, and its rounding would be left of eps.
    drops = falling[:, :-1].double() * corners.double().diff(dim=1)
    # The sum at each corner; before the first one nothing falls.
    total = torch.minimum(size, room).sum(1, keepdim=True, dtype=torch.float64)
    sums = torch.cat([total, total - drops.cumsum(1)], 1)
    last = ((sums > eps).sum(1, keepdim=True) - 1).clamp_min(0)
    slope = falling.gather(1, last).clamp_min(1)
    t = (corners.gather(1, last) + (sums.gather(1, last) - eps) / slope).to(size.dtype)
    left = torch.minimum((size - t).clamp_min(0), room)
    # What rounding left over.
    return left * (eps / left.sum(1, keepdim=True).clamp_min(1e-30)).clamp_max(1)
