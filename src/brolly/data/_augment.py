"""Random changes of images that keep their class."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor


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
