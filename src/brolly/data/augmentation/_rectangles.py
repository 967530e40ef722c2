"""Rectangles of random size and shape."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_TRIES = 10


def rectangles(
    count: int,
    sides: tuple[int, int],
    area: tuple[float, float],
    ratio: tuple[float, float],
    generator: torch.Generator,
) -> Tensor:
    """Height and width of rectangles that fit into an image.

    The area is uniform, the ratio of width to height uniform in its logarithm. Of ten that are
    drawn the first that fits is taken; if none does, the first is cut.

    Args:
        count: How many.
        sides: Height and width of the image, in pixels.
        area: Smallest and largest area, as a part of the image.
        ratio: Smallest and largest ratio of width to height.
        generator: What is random comes from it.

    Returns:
        Pixels, `(2, count)`, float64.
    """
    drawn = torch.rand(2, _TRIES, count, generator=generator, dtype=torch.float64)
    areas = (area[0] + (area[1] - area[0]) * drawn[0]) * (sides[0] * sides[1])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    ratios = torch.exp(low + (high - low) * drawn[1])
    tried = torch.stack([(areas / ratios).sqrt(), (areas * ratios).sqrt()])  # (2, tries, count)
    most = torch.tensor(sides, dtype=tried.dtype)
    first = (tried <= most[:, None, None]).all(0).int().argmax(0)
    return tried[:, first, torch.arange(count)].minimum(most[:, None])


def check_range(name: str, limits: tuple[float, float], most: float = math.inf) -> None:
    """Refuses limits that are not above 0, in order, and at most `most`."""
    if not 0 < limits[0] <= limits[1] <= most:
        above = "" if most == math.inf else f" and at most {most:g}"
        raise ValueError(
            f"{name} is {tuple(limits)}; expected the smallest and the largest, above 0{above}"
        )
