"""Random changes of images that keep their class."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from ._boxes import boxes


@dataclasses.dataclass(frozen=True)
class Shift:
    """Moves each image by up to `pixels` in both directions, filling with `fill`.

    The same as padding by `pixels` and cropping at random.

    Args:
        pixels: Largest move.
        fill: Value of what comes in at the border.
    """

    pixels: int = 2
    fill: float = 0.0

    def __post_init__(self) -> None:
        if self.pixels < 0:
            raise ValueError(f"pixels is {self.pixels}; expected 0 or more")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        count, channels, height, width = x.shape
        padded = F.pad(x, [self.pixels] * 4, value=self.fill)
        moves = torch.randint(2 * self.pixels + 1, (2, count, 1), generator=generator).to(x.device)
        rows = moves[0] + torch.arange(height, device=x.device)  # (batch, height)
        columns = moves[1] + torch.arange(width, device=x.device)
        at = torch.arange(count, device=x.device)[:, None, None, None]
        channel = torch.arange(channels, device=x.device)[:, None, None]
        return padded[at, channel, rows[:, None, :, None], columns[:, None, None, :]]


@dataclasses.dataclass(frozen=True)
class Flip:
    """Mirrors each image left to right with a probability.

    Args:
        probability: How likely an image is mirrored.
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability is {self.probability}; expected a number in [0, 1]")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        mirrored = torch.rand(len(x), generator=generator).to(x.device) < self.probability
        return torch.where(mirrored[:, None, None, None], x.flip(-1), x)


@dataclasses.dataclass(frozen=True)
class Cutout:
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

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        count, _, height, width = x.shape
        sides = torch.tensor([[height], [width]])
        centres = (torch.rand(2, count, generator=generator) * sides).long()
        return x.masked_fill(boxes(centres, self.size, self.size, x), self.fill)
