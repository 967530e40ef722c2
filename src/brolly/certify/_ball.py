"""What is left of a ball around the input while it passes through layers that keep it one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

#: Part by which a support value is raised, against the rounding of its sums in float64.
_SPARE = 1 + 1e-9


@dataclasses.dataclass(frozen=True)
class Ball:
    """Values `center + scale * change + rounding` for all changes of a norm ball.

    Finite norms say more than the box around them: a linear layer moves by at most eps times the
    dual norm of its weights. This holds on to the norm up to the first such layer.

    Attributes:
        order: Of the norm: 0, 1 or 2.
        eps: Radius in input units.
        center: Where nothing changes, `(batch, ...)`.
        scale: How fast each value follows its change, `(batch, ...)`.
        error: How far rounding may move each value, `(batch, ...)`.
        below, above: How far each change may go before the bounds of the inputs, `(batch, ...)`.
    """

    order: float
    eps: float
    center: Tensor
    scale: Tensor
    error: Tensor
    below: Tensor
    above: Tensor

    def rows(self, rows: Tensor) -> Ball:
        """Of some examples."""
        return self._each(lambda part: part[rows])

    def split(self, size: int) -> list[Ball]:
        """Of so many examples at a time."""
        count = len(self.center)
        return [
            self.rows(torch.arange(at, min(at + size, count), device=self.center.device))
            for at in range(0, count, size)
        ]

    def _each(self, function: Callable[[Tensor], Tensor]) -> Ball:
        parts = (self.center, self.scale, self.error, self.below, self.above)
        return Ball(self.order, self.eps, *(function(part) for part in parts))

    def moved(self, function: Callable[[Tensor], Tensor]) -> Ball | None:
        """After a rearrangement within each example; None where examples are not kept apart."""
        moved = self._each(function)
        kept = moved.center.ndim > 1 and len(moved.center) == len(self.center)
        return moved if kept else None

    def scaled(self, factor: Tensor | float, shift: Tensor | float, error: Tensor) -> Ball | None:
        """After `factor * value + shift`, rounded by `error`; None where that repeats values."""
        center = self.center * factor + shift
        if center.shape != self.center.shape:
            return None
        size = factor.abs() if isinstance(factor, Tensor) else abs(factor)
        scale = self.scale * factor
        return dataclasses.replace(
            self, center=center, scale=scale, error=self.error * size + error
        )

    def reach(self, weight: Tensor) -> Float[Tensor, " out"] | None:
        """How far the change can move the outputs of a linear layer or a convolution.

        Args:
            weight: `(out, in, ...)`; its inputs lie along axis 1 of the values.

        Returns:
            One number per output, `(out,)`; None where examples differ in scale or the layer has
            groups.
        """
        scale = self.scale[0]
        if self.scale.ndim != weight.ndim or len(scale) != weight.shape[1]:
            return None
        if not (self.scale == scale).all():
            return None
        sizes = scale.abs().flatten(1).amax(1) if scale.ndim > 1 else scale.abs()
        slopes = (weight.abs() * sizes.reshape(-1, *[1] * (weight.ndim - 2))).flatten(1)
        if self.order == 0:
            widest = (self.below + self.above).amax()
            most = slopes.topk(min(int(self.eps), slopes.shape[1]), 1).values
            return _SPARE * widest * most.sum(1)
        if self.order == 1:
            return _SPARE * self.eps * slopes.amax(1)
        return _SPARE * self.eps * torch.linalg.vector_norm(slopes, 2, dim=1)

    def support(self, direction: Float[Tensor, "n values"]) -> Float[Tensor, "batch n"]:
        """The most that changes add along each direction, bounds of the inputs included.

        It is the exact maximum of a linear function over the ball and the bounds together: the
        Lagrangian bound for L2, the steepest values filled first for L1, the largest gains for L0.
        """
        slope = direction * self.scale[:, None]  # (batch, n, values)
        room = torch.where(slope > 0, self.above[:, None], self.below[:, None])
        slope = slope.abs()
        if self.order == 0:
            count = min(int(self.eps), slope.shape[2])
            most = (slope * room).topk(count, 2).values.sum(2)
        elif self.order == 1:
            slope, order = slope.sort(2, descending=True)
            room = room.gather(2, order)
            spent = room.cumsum(2) - room
            most = (slope * torch.minimum(room, (self.eps - spent).clamp_min(0))).sum(2)
        else:
            most = _fill_round(slope, room, self.eps)
        return _SPARE * (most + self.error @ direction.abs().T)


def _fill_round(slope: Tensor, room: Tensor, eps: float) -> Tensor:
    """Maximum of `slope @ t` over `0 <= t <= room` and `||t||_2 <= eps`.

    Any multiplier gives an upper bound; the best one is where `t = min(slope / multiplier, room)`
    has length eps, which halving finds.
    """
    if eps == 0:
        return torch.zeros_like(slope[..., 0])
    high = torch.linalg.vector_norm(slope, 2, dim=2, keepdim=True) / eps
    low = torch.zeros_like(high)

    def filled(multiplier: Tensor) -> Tensor:
        return torch.where(slope > 0, torch.minimum(slope / multiplier, room), 0)

    for _ in range(60):
        middle = (low + high) / 2
        too_long = torch.linalg.vector_norm(filled(middle), 2, dim=2, keepdim=True) > eps
        low, high = torch.where(too_long, middle, low), torch.where(too_long, high, middle)
    t = filled(high)
    return (slope * t - high / 2 * t**2).sum(2) + high[..., 0] / 2 * eps**2
