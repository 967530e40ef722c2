"""What is drawn over an image: stripes, lines and drops of mud."""

from __future__ import annotations

import torch
from torch import Tensor

from ..._draws import Draws
from ._grid import blur, smooth_noise

_MUD = (63 / 255, 42 / 255, 20 / 255)
_THICKNESS = 2.3  # where a line ends, in published pixels
_DOT = 2.0  # length of a dot and of a gap
_ZIG = 2.0  # a quarter of the length of a zigzag, and its height


def stripe(x: Tensor, draws: Draws, pixel: float) -> Tensor:
    """Inverts the left and the right quarter."""
    width = x.shape[-1]
    column, quarter = torch.arange(width, device=x.device), round(width / 4)
    outside = (column < quarter) | (column >= width - quarter)
    return torch.where(outside, 1 - x, x)


def spatter(
    x: Tensor, draws: Draws, pixel: float, mean: float, scale: float, sigma: float, least: float,
    edge: float,
) -> Tensor:  # fmt: skip
    """Drops of mud, where smooth noise exceeds `least`; grey images get its first channel."""
    noise = draws.normal(x[:, :1])
    drops = mean + scale * smooth_noise(noise, sigma, pixel) > least
    cover = blur(drops.to(x), edge * pixel)
    cover = cover.masked_fill(cover < 0.8, 0.0)
    mud = x.new_tensor(_MUD[: x.shape[1]])[:, None, None]
    return x * (1 - cover) + mud * cover


def dotted_line(x: Tensor, draws: Draws, pixel: float) -> Tensor:
    """A dotted line from a point of the left border to one of the right."""
    rows, columns, height, width = _frame(x, pixel)
    ends = (draws.uniform(x.new_zeros(len(x), 2)) * (height - 1)).floor()
    left, right = ends.new_zeros(len(x)), ends.new_full((len(x),), width - 1)
    line = _line(rows, columns, left, ends[:, 0], right, ends[:, 1], pixel)
    drawn = ((columns + 0.5) / max(_DOT, 1 / pixel)).floor() % 2 == 1
    return x + line * drawn


def zigzag(x: Tensor, draws: Draws, pixel: float) -> Tensor:
    """A zigzag line across the image, a little aslant."""
    rows, columns, height, width = _frame(x, pixel)
    chance = draws.uniform(x.new_zeros(len(x), 2))
    start = (chance[:, 0] * (height - 1)).floor()
    rise = (chance[:, 1] * 10).floor() - 5
    first, across = 2.0, max(width - 5.0, 1.0)
    angle = torch.atan(rise / across)
    length = across / angle.cos()  # of the line that it winds about
    along, aside = _corners(length)
    at = first + along * angle.cos()[:, None] - aside * angle.sin()[:, None]
    down = start[:, None] + along * angle.sin()[:, None] + aside * angle.cos()[:, None]
    for number in range(at.shape[1] - 1):
        here, there = number, number + 1
        x = x + _line(
            rows, columns, at[:, here], down[:, here], at[:, there], down[:, there], pixel
        )
    return x


def _corners(length: Tensor) -> tuple[Tensor, Tensor]:
    """Corners of zigzags along straight lines: how far along and how far aside, `(batch, n)`.

    A shorter line than the longest repeats its last corner.
    """
    turns = ((length - _ZIG) / (2 * _ZIG)).floor().clamp_min(0) + 1
    number = torch.arange(int(turns.max()), device=length.device, dtype=length.dtype)
    side = 1 - 2 * (number % 2)
    kept = torch.minimum(number, turns[:, None] - 1).long()
    along = ((2 * number + 1) * _ZIG)[kept]
    aside = (side * _ZIG)[kept]
    # The published line ends at a height of its own; it is held within the zigzag here, because
    # lines of other lengths than the published one would leave the image.
    rest = length - 2 * _ZIG * (length / (2 * _ZIG)).floor()
    height = (aside[:, -1] / (2 * rest).clamp_min(1e-6)).clamp(-_ZIG, _ZIG)
    nothing = torch.zeros_like(length)[:, None]
    end = torch.maximum(length, along[:, -1])
    along = torch.cat([nothing, along, end[:, None]], 1)
    return along, torch.cat([nothing, aside, height[:, None]], 1)


def _frame(x: Tensor, pixel: float) -> tuple[Tensor, Tensor, float, float]:
    """Rows and columns of the pixels' centres, height and width, in published pixels."""
    height, width = x.shape[-2:]
    rows, columns = (
        (torch.arange(size, device=x.device, dtype=x.dtype) + 0.5) / pixel - 0.5
        for size in (height, width)
    )
    return rows[:, None], columns, height / pixel, width / pixel


def _line(
    rows: Tensor, columns: Tensor, left: Tensor, top: Tensor, right: Tensor, bottom: Tensor,
    pixel: float,
) -> Tensor:  # fmt: skip
    """Brightness of a line between two points of each image, `(batch, 1, height, width)`."""
    left, top, right, bottom = (each[:, None, None, None] for each in (left, top, right, bottom))
    slope = (bottom - top) / torch.where(right == left, 1.0, right - left)
    distance = (rows - (top + slope * (columns - left))).abs()
    thickness = max(_THICKNESS, 1 / pixel)
    bright = 1 + torch.log1p(-distance.clamp_max(thickness * (1 - 1e-6)) / thickness)
    within = (columns >= left.floor()) & (columns < right.ceil()) & (right != left)
    return bright.clamp(0, 1) * within
