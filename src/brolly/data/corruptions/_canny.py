"""Edges (Canny 1986), with the defaults of scikit-image: sigma 1, thresholds 0.1 and 0.2."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..._draws import Draws
from ._grid import gaussian, grey

_SIGMA, _LOW, _HIGH = 1.0, 0.1, 0.2


def canny_edges(x: Tensor, draws: Draws, pixel: float) -> Tensor:
    """White edges on black."""
    smooth = _smoothed(grey(x).double()[:, 0], _SIGMA * pixel)
    padded = F.pad(smooth[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    down, along = _sobel(padded, 1), _sobel(padded, 2)
    # Smoothing by a wider Gaussian makes slopes gentler by as much.
    strength = torch.hypot(down, along) * pixel
    ridge = _is_ridge(strength, down, along)
    weak, strong = ridge & (strength >= _LOW), ridge & (strength >= _HIGH)
    while True:
        grown = F.max_pool2d(strong.double()[:, None], 3, 1, 1)[:, 0].bool() & weak
        if torch.equal(grown, strong):
            return strong[:, None].to(x).expand_as(x)
        strong = grown


def _smoothed(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur that leaves out what lies outside the image."""
    radius = int(4 * sigma + 0.5)
    taps = gaussian(sigma, radius).tolist()
    for axis in (1, 2):
        size = x.shape[axis]
        total, weight = torch.zeros_like(x), x.new_zeros(size)
        for offset, tap in zip(range(-radius, radius + 1), taps, strict=True):
            begin, end = max(0, -offset), min(size, size - offset)
            if begin < end:
                part = x.narrow(axis, begin + offset, end - begin)
                total.narrow(axis, begin, end - begin).add_(part, alpha=tap)
                weight[begin:end] += tap
        x = total / (weight[:, None] if axis == 1 else weight)
    return x


def _sobel(padded: Tensor, axis: int) -> Tensor:
    """Slope along an axis of `(batch, height, width)` images with a border of one pixel."""
    size, across = padded.shape[axis] - 2, 3 - axis
    slope = padded.narrow(axis, 2, size) - padded.narrow(axis, 0, size)
    wide = padded.shape[across] - 2
    middle = slope.narrow(across, 1, wide)
    return slope.narrow(across, 0, wide) + 2 * middle + slope.narrow(across, 2, wide)


def _is_ridge(strength: Tensor, down: Tensor, along: Tensor) -> Tensor:
    """Whether no pixel before or behind, along the slope, is stronger; never on the border."""
    height, width = strength.shape[-2:]
    padded = F.pad(strength, (1, 1, 1, 1))
    steep = down.abs() >= along.abs()
    one, zero = torch.ones_like(down).long(), torch.zeros_like(down).long()
    # Next along the larger component, and next along both; `same` says that they agree in sign.
    same = torch.where(down * along >= 0, 1, -1)
    straight = torch.where(steep, one, zero), torch.where(steep, zero, one)
    slanted = torch.where(steep, one, same), torch.where(steep, same, one)
    part = torch.minimum(down.abs(), along.abs()) / torch.maximum(
        down.abs(), along.abs()
    ).clamp_min(torch.finfo(down.dtype).tiny)
    batch = torch.arange(len(strength), device=strength.device)[:, None, None]
    row = torch.arange(height, device=strength.device)[:, None] + 1
    column = torch.arange(width, device=strength.device) + 1

    def beside(sign: int) -> Tensor:
        near = padded[batch, row + sign * straight[0], column + sign * straight[1]]
        far = padded[batch, row + sign * slanted[0], column + sign * slanted[1]]
        return far * part + near * (1 - part)

    inside = torch.zeros_like(steep)
    inside[:, 1:-1, 1:-1] = True
    return inside & (strength > 0) & (beside(1) <= strength) & (beside(-1) <= strength)
