"""Affine maps about the centre, linearly interpolated; black comes in from outside."""

from __future__ import annotations

import torch
from torch import Tensor

from ..._draws import Draws
from ._grid import sample


def shear(x: Tensor, draws: Draws, pixel: float, angle: float) -> Tensor:
    """Slants by this angle in radians, to either side.

    As in scikit-image of the time, which keeps the length of what it slants.
    """
    angles = angle * _signs(x, draws, 1)[:, 0]
    one, zero = torch.ones_like(angles), torch.zeros_like(angles)
    return _mapped(x, angles.cos(), zero, -angles.sin(), one)


def rotate(x: Tensor, draws: Draws, pixel: float, angle: float) -> Tensor:
    """Turns by this angle in radians, to either side."""
    angles = angle * _signs(x, draws, 1)[:, 0]
    return _mapped(x, angles.cos(), angles.sin(), -angles.sin(), angles.cos())


def scale(x: Tensor, draws: Draws, pixel: float, part: float) -> Tensor:
    """Shrinks to this part of the size."""
    factor, zero = x.new_full((len(x),), 1 / part), x.new_zeros(len(x))
    return _mapped(x, factor, zero, zero, factor)


def translate(x: Tensor, draws: Draws, pixel: float, distance: float) -> Tensor:
    """Moves by this distance in whole pixels, along both axes and to either side of each."""
    height, width = x.shape[-2:]
    move = max(1, round(distance * pixel)) * _signs(x, draws, 2)
    rows = torch.arange(height, device=x.device)[:, None] + move[:, 1, None, None]
    columns = torch.arange(width, device=x.device) + move[:, 0, None, None]
    rows, columns = torch.broadcast_tensors(rows, columns)
    return sample(x, rows, columns, mirror=False)


def _signs(x: Tensor, draws: Draws, count: int) -> Tensor:
    """-1 or 1, `(batch, count)`."""
    return 1 - 2 * (draws.uniform(x.new_zeros(len(x), count)) < 0.5).to(x)


def _mapped(
    x: Tensor, row_of_row: Tensor, row_of_column: Tensor, column_of_row: Tensor,
    column_of_column: Tensor,
) -> Tensor:  # fmt: skip
    """Takes each pixel from where the map of each image puts it; the centre stays."""
    height, width = x.shape[-2:]
    down = torch.arange(height, device=x.device, dtype=x.dtype)[:, None] - (height - 1) / 2
    along = torch.arange(width, device=x.device, dtype=x.dtype) - (width - 1) / 2

    def taken(of_row: Tensor, of_column: Tensor, size: int) -> Tensor:
        return of_row[:, None, None] * down + of_column[:, None, None] * along + (size - 1) / 2

    rows = taken(row_of_row, row_of_column, height)
    return sample(x, rows, taken(column_of_row, column_of_column, width), mirror=False)
