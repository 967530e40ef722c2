"""Input diversity."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from .._draws import Draws
from ..threats._threat import per_example
from ._momentum import Gradient, MomentumAttack, Refinement, check_images


@dataclasses.dataclass(frozen=True)
class Diverse(Refinement):
    """The gradient through a random resizing and zero padding (Xie et al. 2019).

    An image is shrunk to a random size (nearest pixels) and put somewhere in a black one of its
    old size, so that models of a fixed size see it too; the paper pads to 330 pixels from 299.

    Args:
        probability: That an image is changed at all; 0.5 in the paper.
        smallest: Smallest size, as a part of the full one; 299/330 in the paper.

    Raises:
        ValueError: An argument is not in (0, 1]; when called, inputs are no images.
    """

    probability: float = 0.5
    smallest: float = 299 / 330

    def __post_init__(self) -> None:
        for name in ("probability", "smallest"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise ValueError(f"{name} is {value}; expected more than 0, 1 at most")

    def refine(self, gradient: Gradient, draws: Draws) -> Gradient:
        def through(x: Tensor) -> Tensor:
            check_images(x, "Diverse")
            coin, size, top, left = draws.uniform(x.new_empty(len(x), 4)).T
            changed = coin < self.probability
            rows, row_kept = _shrunk(x.shape[2], self.smallest, size, top, changed)
            columns, column_kept = _shrunk(x.shape[3], self.smallest, size, left, changed)
            kept = (row_kept[:, :, None] & column_kept[:, None, :])[:, None]
            example = per_example(torch.arange(len(x), device=x.device), x)
            channel = torch.arange(x.shape[1], device=x.device)[:, None, None]
            source = (example, channel, rows[:, None, :, None], columns[:, None, None, :])
            pulled = gradient(torch.where(kept, x[source], 0)) * kept
            # A pixel gets back the gradient of each place it was copied to.
            return torch.zeros_like(x).index_put_(source, pulled, accumulate=True)

        return through


def _shrunk(
    full: int, smallest: float, size: Tensor, place: Tensor, changed: Tensor
) -> tuple[Tensor, Tensor]:
    """Along one axis: the pixel each place shows, and whether it shows one, `(batch, full)`."""
    least = max(1, min(int(smallest * full), full - 1))
    drawn = least + (size * max(full - least, 1)).long()
    length = torch.where(changed, drawn, full)[:, None]
    start = (place[:, None] * (full - length + 1)).long()
    at = torch.arange(full, device=size.device) - start
    return (at * full // length).clamp(0, full - 1), (at >= 0) & (at < length)


@dataclasses.dataclass(frozen=True)
class DIM(MomentumAttack):
    """MIM on images that are randomly resized and padded (DI, Xie et al. 2019).

    The arguments are those of `MomentumAttack`; `refine=(Diverse(probability=0.7),)` changes more
    of the images.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.attacks.DIM(brolly.Linf(0.1))(model, x, y).success.shape
        torch.Size([2])
    """

    _: dataclasses.KW_ONLY
    refine: tuple[Refinement, ...] = (Diverse(),)
