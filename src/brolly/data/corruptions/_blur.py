"""Blur: lenses out of focus, frosted glass, motion and zoom."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..._draws import Draws
from ._grid import blur, convolve, gaussian, mirrored, side, streak, zoom

_FINE = 15  # points along the side of a pixel


def defocus_blur(x: Tensor, draws: Draws, radius: float, smoothing: float) -> Tensor:
    """A disk of this radius, its pixels weighed by the area they have in it, then a Gaussian."""
    scale = side(x)
    reach = max(1, round(scale))
    edge = gaussian(smoothing * scale, reach)
    kernel = F.conv2d(
        _disk(radius * scale)[None, None], edge.outer(edge)[None, None], padding=2 * reach
    )
    return convolve(x, kernel[0, 0])


def glass_blur(x: Tensor, draws: Draws, sigma: float, reach: int, rounds: int) -> Tensor:
    """Gaussian blur, each pixel replaced by one near it, and the blur again.

    The published code means to exchange pixels, but copies those of colour images; so this copies.
    """
    height, width = x.shape[-2:]
    x, reach = blur(x, sigma * side(x)), max(1, round(reach * side(x)))
    batch = torch.arange(len(x), device=x.device)[:, None, None, None]
    channel = torch.arange(x.shape[1], device=x.device)[:, None, None]
    for _ in range(rounds):
        move = (draws.uniform(x.new_zeros(len(x), 2, height, width)) * 2 * reach).long() - reach
        row = mirrored(torch.arange(height, device=x.device)[:, None] + move[:, 0], height)
        column = mirrored(torch.arange(width, device=x.device) + move[:, 1], width)
        x = x[batch, channel, row[:, None], column[:, None]]
    return blur(x, sigma * side(x))


def motion_blur(x: Tensor, draws: Draws, radius: float, sigma: float) -> Tensor:
    """Half a Gaussian along a line, up to 45 degrees from the horizontal."""
    angle = (draws.uniform(x[:, 0, 0, 0]) - 0.5) * (math.pi / 2)
    return streak(x, radius * side(x), sigma * side(x), angle)


def zoom_blur(x: Tensor, draws: Draws, largest: float) -> Tensor:
    """Mean of the image and its enlargements by 1, 1.01, ... up to `largest`."""
    factors = [1 + number / 100 for number in range(round((largest - 1) * 100) + 1)]
    total = x.clone()
    for factor in factors:
        total += zoom(x, factor)
    return total / (len(factors) + 1)


def _disk(radius: float) -> Tensor:
    """Part of each pixel that lies in a disk about the centre of the middle one; sum 1."""
    reach = math.ceil(radius + 0.5)
    fine = (2 * reach + 1) * _FINE
    position = (torch.arange(fine, dtype=torch.float64) + 0.5) / _FINE - reach - 0.5
    inside = (position.square() + position.square()[:, None] <= radius**2).double()
    if not inside.any():
        inside[fine // 2, fine // 2] = 1.0
    covered = F.avg_pool2d(inside[None, None], _FINE)[0, 0]
    return covered / covered.sum()
