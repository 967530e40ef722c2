"""The box around an input: every value may move by eps, or by a part of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from .._draws import Draws
from ._threat import ROUNDING, Threat, anywhere, norm


@dataclasses.dataclass(frozen=True)
class Linf(Threat):
    """Every value of the input may change by at most `eps`: max |x' - x| <= eps.

    Args:
        eps: Radius in input units, e.g. `8/255`. It may not exceed the width of the bounds.
        bounds: Lowest and highest value an input may hold.
        scale: Part of `eps` by which each channel (first axis of an example) may change, between 0
            and 1; 0: not at all. Distances are then `max |change_c| / scale_c`. None: all of it.

    Raises:
        ValueError: `eps` is negative, no number, or larger than the width of the bounds; `scale`
            has numbers outside [0, 1] or nothing above 0; with `check_inputs`, inputs have another
            number of channels.

    Example:
        >>> from brolly import Linf
        >>> str(Linf(8 / 255))
        'linf:0.0313725'
        >>> str(Linf(0.1, scale=(1, 0.5, 0)))
        'linf:0.1 scaled by (1, 0.5, 0)'
    """

    scale: tuple[float, ...] | None = None

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

        if self.scale is not None and not (
            all(0 <= part <= 1 for part in self.scale) and any(self.scale)
        ):
            raise ValueError(
                f"scale is {self.scale}; expected one number between 0 and 1 per channel, at least "
                "one of them above 0. eps is the radius where scale is 1"
            )

    @classmethod
    def per_channel(cls, eps: Tensor, bounds: tuple[float, float] = (0.0, 1.0)) -> Linf:
        """The threat with one radius per channel.

        Args:
            eps: Radii in input units, `(channels,)`.
            bounds: Lowest and highest value an input may hold.

        Raises:
            ValueError: There is not one radius per channel, or the largest is not a number above 0.

        Example:
            >>> import torch
            >>> from brolly import Linf
            >>> str(Linf.per_channel(torch.tensor([0.25, 0.125, 0.0])))
            'linf:0.25 scaled by (1, 0.5, 0)'
        """
        radii: list[float] = eps.double().reshape(-1).tolist()
        if eps.ndim != 1 or not radii or not 0 < max(radii) < math.inf:
            raise ValueError(
                f"eps is {eps}; expected one finite radius per channel, at least one above 0"
            )
        return cls(max(radii), bounds, tuple(radius / max(radii) for radius in radii))

    def __str__(self) -> str:
        if self.scale is None:
            return super().__str__()
        return f"{super().__str__()} scaled by ({', '.join(f'{part:.6g}' for part in self.scale)})"

    def check_inputs(self, x: Tensor) -> None:
        super().check_inputs(x)
        if self.scale is not None and (x.ndim < 2 or x.shape[1] != len(self.scale)):
            raise ValueError(
                f"scale has {len(self.scale)} numbers, but inputs have shape {tuple(x.shape)}; "
                f"expected (batch, {len(self.scale)}, ...): one number per channel"
            )

    def diameter(self, shape: torch.Size) -> float:
        return self.width

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        radius = self._radius(x)
        lowest = (x - radius).clamp_min_(self.bounds[0])
        highest = (x + radius).clamp_max_(self.bounds[1])
        return torch.minimum(torch.maximum(x_adv, lowest), highest)

    def sample(self, x: Tensor, draws: Draws) -> Tensor:
        if math.isinf(self.eps):
            return self.project(anywhere(self, x, draws), x)
        noise = draws.uniform(x).mul_(2).sub_(1).mul_(self._radius(x))
        return (x + noise).clamp_(*self.bounds)

    def ascend(self, gradient: Tensor) -> Tensor:
        step = gradient.sign()
        return step if self.scale is None else step * self._per_channel(self.scale, gradient)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        change = x_adv - x
        if self.scale is not None:
            # What cannot change is infinitely far away, but for what clipping to the bounds does.
            change = torch.where(change.abs() <= ROUNDING * self.width * self._fixed(x), 0, change)
            change = torch.where(change == 0, 0, change / self._per_channel(self.scale, x))
        return norm(change, float("inf"))

    def contains(self, x_adv: Tensor, x: Tensor) -> Tensor:
        if self.scale is None:
            return super().contains(x_adv, x)
        # Rounding is that of the values, also where only a small part of eps is allowed.
        edge = ROUNDING * self.width
        wide, clean = x_adv.double(), x.double()
        inside = (wide >= self.bounds[0] - edge) & (wide <= self.bounds[1] + edge)
        near = (wide - clean).abs() <= self._radius(clean) + edge
        return (inside & near).flatten(1).all(1)

    def _radius(self, like: Tensor) -> Tensor | float:
        """By how much each value may change."""
        if self.scale is None:
            return self.eps
        return self._per_channel([self.eps * part if part else 0.0 for part in self.scale], like)

    def _fixed(self, like: Tensor) -> Tensor:
        """1 where a value may not change, 0 elsewhere."""
        return self._per_channel([float(part == 0) for part in self.scale or ()], like)

    def _per_channel(self, values: Sequence[float], like: Tensor) -> Tensor:
        return like.new_tensor(values).reshape(-1, *[1] * (like.ndim - 2))
