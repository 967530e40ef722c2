"""Noise: each value is disturbed by itself."""

from __future__ import annotations

import torch
from torch import Tensor

from ..._draws import Draws


def gaussian_noise(x: Tensor, draws: Draws, pixel: float, scale: float) -> Tensor:
    """Adds normal numbers of this standard deviation, as in low light."""
    return x + scale * draws.normal(x)


def shot_noise(x: Tensor, draws: Draws, pixel: float, photons: float) -> Tensor:
    """Counts photons: Poisson numbers, of which a white pixel has `photons` on average."""
    seeds = (draws.uniform(x.new_zeros(len(x), 1, dtype=torch.float64)) * 2**53).long()
    rates = (x * photons).cpu()
    generator = torch.Generator()
    # torch.poisson draws from one stream, so each example gets a generator of its own.
    counts = [
        torch.poisson(rate, generator.manual_seed(seed))
        for rate, seed in zip(rates, seeds[:, 0].tolist(), strict=True)
    ]
    return torch.stack(counts).to(x.device) / photons


def speckle_noise(x: Tensor, draws: Draws, pixel: float, scale: float) -> Tensor:
    """Adds normal numbers whose standard deviation is this part of the value."""
    return x + x * scale * draws.normal(x)


def impulse_noise(x: Tensor, draws: Draws, pixel: float, part: float) -> Tensor:
    """Salt and pepper: this part of the values becomes 0 or 1, equally often."""
    chance = draws.uniform(x)
    return torch.where(chance < part / 2, 0.0, torch.where(chance >= 1 - part / 2, 1.0, x))
