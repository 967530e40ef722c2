"""Shifts."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from ._base import Geometric, Move, clip


@dataclasses.dataclass(frozen=True)
class Shift(Geometric):
    """Moves each image by up to `pixels` in both directions, filling with `fill`.

    The same as padding by `pixels` and cropping at random.

    Args:
        pixels: Largest move.
        fill: Value of what comes in at the border.

    Raises:
        ValueError: pixels is below 0.

    Example:
        >>> import torch, brolly
        >>> x = torch.ones(1, 1, 8, 8)
        >>> brolly.Shift(2)(x, torch.Generator().manual_seed(1)).sum()
        tensor(36.)
    """

    pixels: int = 2
    fill: float = 0.0

    def __post_init__(self) -> None:
        if self.pixels < 0:
            raise ValueError(f"pixels is {self.pixels}; expected 0 or more")

    def draw(self, x: Tensor, generator: torch.Generator) -> Move:
        corners = torch.randint(2 * self.pixels + 1, (2, len(x), 1), generator=generator)
        return _Shifted(corners.to(x.device), self.pixels, self.fill)


@dataclasses.dataclass(frozen=True, eq=False)
class _Shifted(Move):
    corners: Tensor  # row and column of the first pixel in the padded image, (2, batch, 1)
    pixels: int
    fill: float

    def images(self, x: Tensor) -> Tensor:
        return self._cut(x, self.fill)

    def masks(self, masks: Tensor, ignore: int) -> Tensor:
        return self._cut(masks[:, None], ignore)[:, 0]

    def boxes(self, boxes: Tensor, height: int, width: int) -> Tensor:
        rows, columns = self.pixels - self.corners  # (batch, 1) each
        return clip(boxes + torch.stack([columns, rows, columns, rows], -1), height, width)

    def _cut(self, x: Tensor, fill: float) -> Tensor:
        if x.numel() == 0:
            return x
        padded = F.pad(x, [self.pixels] * 4, value=fill).contiguous()
        (tall, wide), (height, width) = padded.shape[2:], x.shape[2:]
        # A row of an image lies in one piece in the padded one, so it is copied in one piece.
        images = torch.arange(x.shape[0] * x.shape[1], device=x.device).reshape(*x.shape[:2], 1)
        rows = self.corners[0] + torch.arange(height, device=x.device)  # (batch, height)
        starts = (images * tall + rows[:, None]) * wide + self.corners[1][:, None]
        pieces = padded.flatten().unfold(0, width, 1)
        return pieces.index_select(0, starts.flatten()).reshape(x.shape)
