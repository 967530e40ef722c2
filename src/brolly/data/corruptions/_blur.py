"""Blur: lenses out of focus, frosted glass, motion and zoom."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..._draws import Draws
from ._grid import blur, convolve, gaussian, streak, zoom


def gaussian_blur(x: Tensor, draws: Draws, pixel: float, sigma: float) -> Tensor:
    """Gaussian blur."""
    return blur(x, sigma * pixel)


def defocus_blur(
    x: Tensor, draws: Draws, pixel: float, radius: float, smoothing: float
) -> Tensor:  # fmt: skip
    """The pixels of a disk, then a Gaussian of 3 x 3 pixels, or 5 x 5 about a large disk.

    Images of other than the published size get its kernel drawn in larger or smaller pixels.
    """
    reach = 1 if radius <= 8 else 2
    position = torch.arange(-math.ceil(radius), math.ceil(radius) + 1, dtype=torch.float64)
    disk = (position.square() + position.square()[:, None] <= radius**2).double()
    taps = gaussian(smoothing, reach)
    smooth = taps.outer(taps)[None, None]
    kernel = F.conv2d(disk[None, None] / disk.sum(), smooth, padding=2 * reach)[0, 0]
    shares = _shares(len(kernel), pixel)
    return convolve(x, shares @ kernel @ shares.T)


def glass_blur(
    x: Tensor, draws: Draws, pixel: float, sigma: float, reach: int, rounds: int
) -> Tensor:  # fmt: skip
    """Gaussian blur, each pixel replaced by one near it, and the blur again.

    The published code means to exchange pixels, but copies those of colour images; so this copies.
    """
    x = blur(x, sigma * pixel)
    for _ in range(rounds):
        x = _jumbled(x, draws, max(1, round(reach * pixel)))
    return blur(x, sigma * pixel)


def swapped_glass_blur(
    x: Tensor, draws: Draws, pixel: float, sigma: float, reach: int, rounds: int
) -> Tensor:  # fmt: skip
    """Vertical Gaussian blur, half of the pixels exchanged with one near them, and the blur again.

    The published code takes the columns of grey images for channels, and blurs none of them into
    another; so does this.
    """
    taps = gaussian(sigma * pixel, int(4 * sigma * pixel + 0.5))[:, None]
    x = convolve(x, taps)
    for _ in range(rounds):
        x = _jumbled(x, draws, max(1, round(reach * pixel)), swap=True)
    return convolve(x, taps)


def motion_blur(x: Tensor, draws: Draws, pixel: float, radius: float, sigma: float) -> Tensor:
    """Half a Gaussian along a line, up to 45 degrees from the horizontal."""
    angle = (draws.uniform(x[:, 0, 0, 0]) - 0.5) * (math.pi / 2)
    return streak(x, radius * pixel, sigma * pixel, angle)


def zoom_blur(x: Tensor, draws: Draws, pixel: float, end: float, step: float) -> Tensor:
    """Mean of the image, and of it and its enlargements, in steps up to before `end`."""
    factors = np.arange(1, end, step).tolist()
    total = x.clone()
    for factor in factors:
        total += zoom(x, factor)
    return total / (len(factors) + 1)


def _shares(size: int, pixel: float) -> Tensor:
    """Part of each of `size` published pixels that lies in each pixel, about the middle one."""
    reach = max(0, math.ceil(size * pixel / 2 - 0.5))
    edge = (torch.arange(size + 1, dtype=torch.float64) - size / 2) * pixel
    left = torch.arange(-reach, reach + 1, dtype=torch.float64)[:, None] - 0.5
    overlap = torch.minimum(edge[1:], left + 1) - torch.maximum(edge[:-1], left)
    return overlap.clamp_min(0) / pixel


def _jumbled(x: Tensor, draws: Draws, reach: int, *, swap: bool = False) -> Tensor:
    """Replaces pixels, from the last to the first, by one up to `reach` before or less behind.

    With `swap` two pixels change places, and a coin decides whether. Pixels nearer to the border
    than `reach` are left out. One pixel a row is done at a time, each row as far behind the row
    below as a move reaches: that is the same as one after the other.
    """
    batch, channels, height, width = x.shape
    move = (draws.uniform(x.new_zeros(batch, 2, height, width)) * 2 * reach).long() - reach
    if swap:
        move *= (draws.uniform(x.new_zeros(batch, 1, height, width)) < 0.5).long()
    row = torch.arange(height, device=x.device)[:, None]
    column = torch.arange(width, device=x.device)
    source = ((row + move[:, 0]) * width + column + move[:, 1]).flatten(1)  # (batch, pixels)
    inside = (row > reach) & (row <= height - reach) & (column > reach)
    place = (inside & (column <= width - reach)).flatten().nonzero()[:, 0]
    turn = 2 * reach * (height - place // width) + width - place % width
    pixels = x.flatten(2).clone()
    for now in turn.unique().tolist():
        here = place[turn == now]
        there = source[:, None, here].expand(-1, channels, -1)
        kept = pixels[:, :, here]
        pixels[:, :, here] = pixels.gather(2, there)
        if swap:
            pixels.scatter_(2, there, kept)
    return pixels.reshape(x.shape)
