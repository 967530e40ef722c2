"""Random affine maps."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ._base import Geometric, Move
from ._warp import Warped, affine


@dataclasses.dataclass(frozen=True)
class Affine(Geometric):
    """Scales, shears, turns and shifts each image about its middle, in this order.

    Args:
        degrees: Largest angle, in both directions.
        translate: Largest shift in both directions, as a part of the width and of the height.
        scale: Smallest and largest factor; the same for width and height.
        shear: Largest angle of the shear along x, in degrees, in both directions.
        fill: Value of what comes in from outside.

    Raises:
        ValueError: An argument is out of range.

    Example:
        >>> import torch, brolly
        >>> augment = brolly.data.Affine(degrees=10.0, translate=0.1, scale=(0.9, 1.1))
        >>> augment(torch.rand(2, 3, 8, 8), torch.Generator()).shape
        torch.Size([2, 3, 8, 8])
    """

    degrees: float = 0.0
    translate: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    fill: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.degrees <= 180:
            raise ValueError(f"degrees is {self.degrees}; expected a number in [0, 180]")
        if not 0 <= self.translate <= 1:
            raise ValueError(f"translate is {self.translate}; expected a part in [0, 1]")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(
                f"scale is {self.scale}; expected a smallest and a largest factor above 0"
            )
        if not 0 <= self.shear < 90:
            raise ValueError(f"shear is {self.shear}; expected degrees in [0, 90)")

    def draw(self, x: Tensor, generator: torch.Generator) -> Move:
        height, width = x.shape[2:]
        drawn = torch.rand(5, len(x), generator=generator, dtype=torch.float64)
        degrees, across, down, shear = 2 * drawn[:4] - 1
        scale = self.scale[0] + (self.scale[1] - self.scale[0]) * drawn[4]
        matrices = affine(
            len(x),
            degrees=self.degrees * degrees,
            scale=(scale, scale),
            shear=(torch.deg2rad(self.shear * shear).tan(), 0.0),
            shift=(self.translate * width * across, self.translate * height * down),
        )
        return Warped(matrices, self.fill)
