"""Weather: snow, frost, fog and bright light."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..._draws import Draws
from ._grid import grey, streak, zoom

_CRYSTALS = 12
_CELL = 8  # published pixels from one point of a wide cloud to the next
_TINT = (0.85, 0.95, 1.0)  # ice is a little blue


def snow(
    x: Tensor, draws: Draws, pixel: float, mean: float, scale: float, flake: float, least: float,
    radius: float, sigma: float, kept: float,
) -> Tensor:  # fmt: skip
    """Flakes from noise, driven by the wind, over a picture that pales."""
    layer = mean + scale * draws.normal(x[:, :1])
    layer = zoom(layer, max(flake * pixel, 1.0))
    layer = layer.masked_fill(layer < least, 0.0).clamp(0, 1)
    angle = (draws.uniform(x[:, 0, 0, 0]) - 1.5) * (math.pi / 2)  # -135 to -45 degrees
    layer = streak(layer, radius * pixel, sigma * pixel, angle)
    pale = torch.maximum(x, grey(x) * 1.5 + 0.5)
    return kept * x + (1 - kept) * pale + layer + layer.flip(-1, -2)


def frost(x: Tensor, draws: Draws, pixel: float, picture: float, ice: float) -> Tensor:
    """The picture behind ice crystals."""
    return picture * x + ice * _crystals(x, draws)


def fog(x: Tensor, draws: Draws, pixel: float, density: float, roughness: float) -> Tensor:
    """Adds a cloud, and scales to the range of the clear image."""
    side = max(2, 1 << math.ceil(math.log2(max(x.shape[-2:]))))
    cloud = _refined(x.new_zeros(len(x), side, side), draws, side, 1.0, roughness)
    low, high = _range(cloud)
    return _fogged(x, (cloud - low) / (high - low), density)


def distant_fog(x: Tensor, draws: Draws, pixel: float, density: float, roughness: float) -> Tensor:
    """The same with the corner of a cloud nine times as wide.

    That cloud is made of 32 x 32 points, and only the corner is refined; its range is that of those
    points.
    """
    step = 1 << max(0, round(math.log2(_CELL * pixel)))  # pixels from one of those points to next
    levels = 5
    coarse = _refined(x.new_zeros(len(x), 32, 32), draws, 32, 1.0, roughness)
    low, high = _range(coarse)
    # The cloud goes on beyond its borders as on the other side. What is wrong at the borders of
    # the refined part, which has other neighbours, reaches less than two points inwards.
    rows, columns = (
        torch.arange(-2, math.ceil(size / step) + 2, device=x.device) % 32 for size in x.shape[-2:]
    )
    part = coarse[:, rows[:, None], columns]
    spread = part.new_zeros(len(x), len(rows) * step, len(columns) * step)
    spread[:, ::step, ::step] = part
    cloud = _refined(spread, draws, step, roughness ** (-2 * levels), roughness)
    cloud = cloud[:, 2 * step :, 2 * step :]
    return _fogged(x, ((cloud - low) / (high - low)).clamp(0, 1), density)


def brightness(x: Tensor, draws: Draws, pixel: float, more: float) -> Tensor:
    """Raises the value (the largest channel) and keeps hue and saturation."""
    value = x.amax(1, keepdim=True)
    raised = (value + more).clamp(max=1)
    return torch.where(value > 0, x * raised / value.clamp_min(1e-12), raised)


def _crystals(x: Tensor, draws: Draws) -> Tensor:
    """Ice in [0, 1]: cells about random points, each with needles in a direction of its own."""
    batch, channels, height, width = x.shape
    extent = x.new_tensor([height, width]) / min(height, width)
    row = (torch.arange(height, device=x.device) + 0.5) / height * extent[0]
    column = (torch.arange(width, device=x.device) + 0.5) / width * extent[1]
    centre = draws.uniform(x.new_zeros(batch, _CRYSTALS, 2)) * extent
    down = row[:, None] - centre[:, :, 0, None, None]  # (batch, crystals, height, 1)
    along = column - centre[:, :, 1, None, None]
    nearest = (down.square() + along.square()).argmin(1, keepdim=True)  # (batch, 1, height, width)

    def of_nearest(values: Tensor) -> Tensor:
        return values.expand(-1, -1, height, width).gather(1, nearest)

    form = draws.uniform(x.new_zeros(batch, 3, _CRYSTALS))[..., None, None]
    angle, phase = (of_nearest(math.pi * form[:, number]) for number in (0, 1))
    needles = of_nearest(3 + 5 * form[:, 2])  # along the shorter side of the image
    across = of_nearest(down) * angle.cos() - of_nearest(along) * angle.sin()
    ridge = (math.pi * needles * across + phase).cos().square()
    ice = 0.2 + 0.6 * ridge + 0.2 * draws.uniform(x[:, :1])
    return ice * x.new_tensor(_TINT)[:, None, None] if channels == 3 else ice


def _fogged(x: Tensor, cloud: Tensor, density: float) -> Tensor:
    height, width = x.shape[-2:]
    brightest = x.flatten(1).amax(1)[:, None, None, None]
    cloud = cloud[:, None, :height, :width]
    return (x + density * cloud) * brightest / (brightest + density)


def _range(cloud: Tensor) -> tuple[Tensor, Tensor]:
    flat = cloud.flatten(1)
    return flat.amin(1)[:, None, None], flat.amax(1)[:, None, None]


def _refined(cloud: Tensor, draws: Draws, step: int, reach: float, roughness: float) -> Tensor:
    """Fills in what lies between every `step`-th point, by the diamond-square algorithm.

    A midpoint is the mean of its neighbours and a disturbance up to `reach`, which falls by the
    square of `roughness` from one scale to the next.
    """

    def disturbed(neighbours: Tensor) -> Tensor:
        return neighbours / 4 + reach * (2 * draws.uniform(neighbours) - 1)

    while step > 1:
        half = step // 2
        corner = cloud[:, ::step, ::step]
        pair = corner + corner.roll(-1, 1)
        centre = disturbed(pair + pair.roll(-1, 2))
        cloud[:, half::step, half::step] = centre
        cloud[:, ::step, half::step] = disturbed(
            corner + corner.roll(-1, 2) + centre + centre.roll(1, 1)
        )
        cloud[:, half::step, ::step] = disturbed(pair + centre + centre.roll(1, 2))
        step, reach = half, reach / roughness**2
    return cloud
