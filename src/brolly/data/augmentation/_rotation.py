"""Rotation."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ._base import Geometric, Move
from ._warp import Warped, affine


@dataclasses.dataclass(frozen=True)
class Rotation(Geometric):
    """Turns each image about its middle by an angle, uniform up to `degrees` in both directions.

    Args:
        degrees: Largest angle.
        fill: Value of what comes in at the corners.

    Raises:
        ValueError: degrees is not in [0, 180].

    Example:
        >>> import torch, brolly
        >>> x = torch.ones(1, 1, 8, 8)
        >>> bool(brolly.Rotation(30.0)(x, torch.Generator())[0, 0, 0, 0] < 1)
        True
    """

    degrees: float
    fill: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.degrees <= 180:
            raise ValueError(f"degrees is {self.degrees}; expected a number in [0, 180]")

    def draw(self, x: Tensor, generator: torch.Generator) -> Move:
        angles = self.degrees * (2 * torch.rand(len(x), generator=generator) - 1)
        return Warped(affine(len(x), degrees=angles), self.fill)
