"""Moving and averaging pixels. Outside its borders an image goes on as its mirror image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def grey(x: Tensor) -> Tensor:
    """Luma of colour images, `(batch, 1, height, width)`; grey images as they are."""
    if x.shape[1] == 1:
        return x
    return (x * x.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)


def mirrored(position: Tensor, size: int) -> Tensor:
    """Integer positions, those outside `0 .. size - 1` reflected about the outermost pixels."""
    period = max(2 * (size - 1), 1)
    position = position.remainder(period)
    return torch.where(position < size, position, period - position)


def convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """The same kernel of odd size, `(height, width)`, on every channel.

    A sum of shifted images and no `conv2d`, whose rounding depends on the size of the batch.
    """
    height, width = x.shape[-2:]
    result = torch.zeros_like(x)
    for row, column in kernel.nonzero().tolist():
        rows = torch.arange(height, device=x.device) + row - len(kernel) // 2
        columns = torch.arange(width, device=x.device) + column - kernel.shape[1] // 2
        moved = x[..., mirrored(rows, height)[:, None], mirrored(columns, width)]
        result += float(kernel[row, column]) * moved
    return result


def gaussian(sigma: float, radius: int) -> Tensor:
    """Taps of a Gaussian, `(2 * radius + 1,)`, with sum 1."""
    if radius == 0 or sigma == 0:
        return torch.nn.functional.pad(torch.ones(1, dtype=torch.float64), (radius, radius))
    position = torch.arange(-radius, radius + 1, dtype=torch.float64)
    taps = torch.exp(-0.5 * (position / sigma) ** 2)
    return taps / taps.sum()


def blur(x: Tensor, sigma: float, truncate: float = 4.0) -> Tensor:
    """Gaussian blur; the kernel ends at `truncate` standard deviations."""
    taps = _taps(sigma, truncate)
    return convolve(convolve(x, taps[None, :]), taps[:, None])


def smooth_noise(noise: Tensor, sigma: float, pixel: float, truncate: float = 4.0) -> Tensor:
    """Noise blurred by `sigma` published pixels, as strong as if the pixels were of that size.

    The wider the blur, the weaker is what it leaves of noise; the taps say by how much.
    """
    published, here = (
        float(_taps(width, truncate).square().sum()) for width in (sigma, sigma * pixel)
    )
    return blur(noise, sigma * pixel, truncate) * (published / here)


def _taps(sigma: float, truncate: float) -> Tensor:
    return gaussian(sigma, int(truncate * sigma + 0.5))


def zoom(x: Tensor, factor: float) -> Tensor:
    """Enlarges with linear interpolation; the size stays.

    As in the published code, whole pixels about the centre are kept, so that the enlargement comes
    in steps and leans to the first row and column.
    """
    for axis in (-2, -1):
        size = x.shape[axis]
        kept = math.ceil(size / factor)
        enlarged = round(kept * factor)
        shown = torch.arange(size, dtype=torch.float64) + (enlarged - size) // 2
        position = (size - kept) // 2 + shown * (kept - 1) / max(enlarged - 1, 1)
        low = position.floor()
        part = (position - low).to(x)
        below = x.index_select(axis, mirrored(low.long(), size).to(x.device))
        above = x.index_select(axis, mirrored(low.long() + 1, size).to(x.device))
        part = part[:, None] if axis == -2 else part
        x = below + part * (above - below)
    return x


def sample(x: Tensor, rows: Tensor, columns: Tensor, *, mirror: bool = True) -> Tensor:
    """Values between the pixels, at `(batch, height, width)` positions, linearly interpolated.

    Outside is the mirror image, or black.
    """
    height, width = x.shape[-2:]
    top, left = rows.floor(), columns.floor()
    down, right = (rows - top)[:, None], (columns - left)[:, None]  # (batch, 1, height, width)

    def at(below: int, beside: int) -> Tensor:
        row = mirrored(top.long() + below, height)
        column = mirrored(left.long() + beside, width)
        place = (row * width + column).flatten(1)[:, None].expand(-1, x.shape[1], -1)
        value = x.flatten(2).gather(2, place).reshape(x.shape)
        if mirror:
            return value
        inside = (row == top.long() + below) & (column == left.long() + beside)
        return value * inside[:, None]

    upper = at(0, 0) + right * (at(0, 1) - at(0, 0))
    lower = at(1, 0) + right * (at(1, 1) - at(1, 0))
    return upper + down * (lower - upper)


def streak(x: Tensor, radius: float, sigma: float, angle: Tensor) -> Tensor:
    """Blur along a line that begins at each pixel: half a Gaussian, at integer offsets.

    Args:
        x: Images, `(batch, channels, height, width)`.
        radius: Half the length of the line.
        sigma: Standard deviation of the Gaussian; 0 leaves the images as they are.
        angle: Direction in each image, in radians, `(batch,)`.
    """
    height, width = x.shape[-2:]
    length = 2 * math.ceil(radius) + 1
    weights = gaussian(sigma, length - 1)[length - 1 :]
    weights = weights / weights.sum()
    batch = torch.arange(len(x), device=x.device)[:, None, None, None]
    channel = torch.arange(x.shape[1], device=x.device)[:, None, None]
    result = torch.zeros_like(x)
    for distance, weight in enumerate(weights.tolist()):
        down = (distance * angle.sin()).round().long()[:, None]
        along = (distance * angle.cos()).round().long()[:, None]
        rows = mirrored(torch.arange(height, device=x.device) + down, height)
        columns = mirrored(torch.arange(width, device=x.device) + along, width)
        result += weight * x[batch, channel, rows[:, None, :, None], columns[:, None, None, :]]
    return result
