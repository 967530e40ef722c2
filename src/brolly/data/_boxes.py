"""Boxes in images."""

from __future__ import annotations

import torch
from torch import Tensor


def boxes(centres: Tensor, height: int, width: int, like: Tensor) -> Tensor:
    """Where boxes of `height` x `width` lie in the images `like`; what sticks out is cut off.

    Args:
        centres: Row and column of a pixel for each image, `(2, batch)`; of a box with an even
            side the first pixel after the middle.
        height, width: Sides, in pixels.
        like: Images `(batch, channels, rows, columns)`.

    Returns:
        Booleans `(batch, 1, rows, columns)`.
    """
    inside = []
    for axis, side in enumerate((height, width)):
        pixels = torch.arange(like.shape[2 + axis], device=like.device)
        first = centres[axis].to(like.device)[:, None] - side // 2
        inside.append((pixels >= first) & (pixels < first + side))  # (batch, pixels)
    return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]
