"""Random resized crops."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ._base import Geometric, Move
from ._rectangles import check_range, rectangles
from ._warp import Warped, affine


@dataclasses.dataclass(frozen=True)
class Crop(Geometric):
    """Cuts a rectangle out of each image and brings it back to full size (Szegedy et al. 2015).

    For padding and cropping without a change of size, see `Shift`.

    Args:
        scale: Smallest and largest area of the rectangle, as a part of the image; the paper's for
            ImageNet, too much for small images.
        ratio: Smallest and largest ratio of its width to its height.

    Raises:
        ValueError: scale or ratio is out of range.

    Example:
        >>> import torch, brolly
        >>> x = torch.rand(2, 3, 8, 8)
        >>> brolly.data.Crop(scale=(0.5, 1.0))(x, torch.Generator()).shape
        torch.Size([2, 3, 8, 8])
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        check_range("scale", self.scale, 1)
        check_range("ratio", self.ratio)

    def draw(self, x: Tensor, generator: torch.Generator) -> Move:
        height, width = x.shape[2:]
        tall, wide = rectangles(len(x), (height, width), self.scale, self.ratio, generator)
        down, across = torch.rand(2, len(x), generator=generator, dtype=torch.float64) - 0.5
        scale = (width / wide, height / tall)
        shift = ((wide - width) * across * scale[0], (tall - height) * down * scale[1])
        return Warped(affine(len(x), scale=scale, shift=shift), None)
