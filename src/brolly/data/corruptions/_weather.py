"""Weather: snow, frost, fog and bright light."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..._draws import Draws
from ._grid import side, streak, zoom

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_CRYSTALS = 12
_TINT = (0.85, 0.95, 1.0)  # ice is a little blue


def snow(
    x: Tensor, draws: Draws, mean: float, scale: float, flake: float, least: float,
    radius: float, sigma: float, kept: float,
) -> Tensor:  # fmt: skip
    """Flakes from noise, driven by the wind, over a picture that pales."""
    layer = mean + scale * draws.normal(x[:, :1])
    layer = zoom(layer, max(flake * side(x), 1.0))
    layer = layer.masked_fill(layer < least, 0.0).clamp(0, 1)
    angle = (draws.uniform(x[:, 0, 0, 0]) - 1.5) * (math.pi / 2)  # -135 to -45 degrees
    layer = streak(layer, radius * side(x), sigma * side(x), angle)
    pale = torch.maximum(x, _grey(x) * 1.5 + 0.5)
    return kept * x + (1 - kept) * pale + layer + layer.flip(-1, -2)


def frost(x: Tensor, draws: Draws, picture: float, ice: float) -> Tensor:
    """The picture behind ice crystals."""
    return picture * x + ice * _crystals(x, draws)


def fog(x: Tensor, draws: Draws, density: float, roughness: float) -> Tensor:
    """Adds a cloud, and scales to the range of the clear image."""
    brightest = x.flatten(1).amax(1)[:, None, None, None]
    return (x + density * _plasma(x, draws, roughness)) * brightest / (brightest + density)


def brightness(x: Tensor, draws: Draws, more: float) -> Tensor:
    """Raises the value (the largest channel) and keeps hue and saturation."""
    value = x.amax(1, keepdim=True)
    raised = (value + more).clamp(max=1)
    return torch.where(value > 0, x * raised / value.clamp_min(1e-12), raised)


def _grey(x: Tensor) -> Tensor:
    if x.shape[1] == 1:
        return x
    return (x * x.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)


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


def _plasma(x: Tensor, draws: Draws, roughness: float) -> Tensor:
    """A cloud in [0, 1], `(batch, 1, height, width)`, by the diamond-square algorithm.

    The disturbance of a midpoint falls by the square of `roughness` from one scale to the next.
    """
    height, width = x.shape[-2:]
    step = max(2, 1 << math.ceil(math.log2(max(height, width))))
    cloud = x.new_zeros(len(x), step, step)
    reach = 1.0

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
    cloud = cloud - cloud.flatten(1).amin(1)[:, None, None]
    cloud = cloud / cloud.flatten(1).amax(1)[:, None, None]
    return cloud[:, None, :height, :width]
