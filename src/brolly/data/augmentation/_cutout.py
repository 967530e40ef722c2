"""Cutout."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from .._boxes import boxes
from ._base import Photometric


@dataclasses.dataclass(frozen=True)
class Cutout(Photometric):
    """Covers a square of each image (DeVries & Taylor 2017).

    Its centre is uniform over the pixels, so at the border part of it sticks out and is lost.

    Args:
        size: Side of the square in pixels; in the paper 16 for CIFAR-10, 8 for CIFAR-100 and 20
            for SVHN, all of 32 x 32 pixels.
        fill: What covers it; the mean of the data in the paper, whose inputs are standardised.

    Raises:
        ValueError: size is below 1.

    Example:
        >>> import torch, brolly
        >>> generator = torch.Generator().manual_seed(0)
        >>> x = brolly.Cutout(size=2)(torch.ones(1, 1, 8, 8), generator)
        >>> int((x == 0).sum())
        4
    """

    size: int
    fill: float = 0.0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size is {self.size}; expected 1 or more")

    def change(self, x: Tensor, generator: torch.Generator) -> Tensor:
        count, _, height, width = x.shape
        sides = torch.tensor([[height], [width]])
        centres = (torch.rand(2, count, generator=generator) * sides).long()
        return x.masked_fill(boxes(centres, self.size, self.size, x), self.fill)
