"""Random erasing."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ..._draws import Draws
from ._base import Photometric
from ._rectangles import check_range, rectangles


@dataclasses.dataclass(frozen=True)
class Erasing(Photometric):
    """Covers a rectangle of each image with noise, with a probability (Zhong et al. 2020).

    The rectangle lies inside the image, anywhere. Masks and boxes stay: what is hidden is still to
    be recognised.

    Args:
        probability: How likely an image is changed.
        scale: Smallest and largest area of the rectangle, as a part of the image.
        ratio: Smallest and largest ratio of its width to its height.
        fill: What covers it; None: values uniform in [0, 1), new for each pixel and channel.

    The defaults are the paper's. Its ratio is uniform, here its logarithm is, so that tall and wide
    are equally likely.

    Raises:
        ValueError: An argument is out of range.

    Example:
        >>> import torch, brolly
        >>> x = brolly.data.Erasing(probability=1.0, fill=0.0)(
        ...     torch.ones(1, 1, 32, 32), torch.Generator().manual_seed(0)
        ... )
        >>> bool(0.02 < (x == 0).float().mean() < 0.4)
        True
    """

    probability: float = 0.5
    scale: tuple[float, float] = (0.02, 0.4)
    ratio: tuple[float, float] = (0.3, 1 / 0.3)
    fill: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability is {self.probability}; expected a number in [0, 1]")
        check_range("scale", self.scale, 1)
        check_range("ratio", self.ratio)

    def change(self, x: Tensor, generator: torch.Generator) -> Tensor:
        count, _, *sides = x.shape
        height, width = sides
        lengths = rectangles(count, (height, width), self.scale, self.ratio, generator)
        lengths = lengths.round().clamp(min=1)
        erased, *places = torch.rand(3, count, generator=generator, dtype=torch.float64)
        inside = []
        for side, length, place in zip(sides, lengths, places, strict=True):
            first = (place * (side - length + 1)).floor()
            pixels = torch.arange(side)
            inside.append((pixels >= first[:, None]) & (pixels < (first + length)[:, None]))
        inside[0] &= (erased < self.probability)[:, None]
        rows, columns = (part.to(x.device) for part in inside)
        covered = rows[:, None, :, None] & columns[:, None, None, :]
        if self.fill is not None:
            return x.masked_fill(covered, self.fill)
        draws = Draws.from_generator(generator, torch.arange(count, device=x.device))
        return torch.where(covered, draws.uniform(x), x)
