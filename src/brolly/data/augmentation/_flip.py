"""Mirror images."""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor

from ._base import Geometric, Move

_EDGES = {"horizontal": (2, 1, 0, 3), "vertical": (0, 3, 2, 1)}


@dataclasses.dataclass(frozen=True)
class Flip(Geometric):
    """Mirrors each image with a probability.

    Args:
        probability: How likely an image is mirrored.
        axis: `horizontal` swaps left and right, `vertical` top and bottom.

    Raises:
        ValueError: probability is not in [0, 1], or there is no such axis.

    Example:
        >>> import torch, brolly
        >>> x = torch.arange(4.0).reshape(1, 1, 2, 2)
        >>> brolly.Flip(1.0)(x, torch.Generator())
        tensor([[[[1., 0.],
                  [3., 2.]]]])
    """

    probability: float = 0.5
    axis: Literal["horizontal", "vertical"] = "horizontal"

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability is {self.probability}; expected a number in [0, 1]")
        if self.axis not in _EDGES:
            raise ValueError(f"axis is {self.axis!r}; expected 'horizontal' or 'vertical'")

    def draw(self, x: Tensor, generator: torch.Generator) -> Move:
        mirrored = torch.rand(len(x), generator=generator).to(x.device) < self.probability
        return _Flipped(mirrored, self.axis)


@dataclasses.dataclass(frozen=True, eq=False)
class _Flipped(Move):
    mirrored: Tensor  # (batch,)
    axis: str

    def images(self, x: Tensor) -> Tensor:
        other = x.flip(-1 if self.axis == "horizontal" else -2)
        return torch.where(self.mirrored[:, None, None, None], other, x)

    def masks(self, masks: Tensor, ignore: int) -> Tensor:
        return self.images(masks[:, None])[:, 0]

    def boxes(self, boxes: Tensor, height: int, width: int) -> Tensor:
        other = boxes[..., _EDGES[self.axis]].clone()
        if self.axis == "horizontal":
            other[..., 0::2] = width - other[..., 0::2]
        else:
            other[..., 1::2] = height - other[..., 1::2]
        return torch.where(self.mirrored[:, None, None], other, boxes)
