"""Penalties on the size of weights."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from ._penalty import Covers, Penalty, covered


@dataclasses.dataclass(frozen=True)
class L2(Penalty):
    """Half the sum of squares of the weights, `weight * sum(w ** 2) / 2`.

    Its gradient is `weight * w`, the same as that of torch's `weight_decay`; Keras's `l2(weight)`
    has no half and is twice as strong.

    Args:
        weight: 0 or more.
        covers: Which parameters.

    Raises:
        ValueError: weight is below 0.

    Example:
        >>> import torch, brolly
        >>> layer = torch.nn.Linear(2, 1)
        >>> _ = torch.nn.init.constant_(layer.weight, 3.0)
        >>> float(brolly.penalties.L2(0.1)(layer))
        0.8999999761581421
    """

    weight: float
    covers: Covers = "weights"

    def __post_init__(self) -> None:
        check_weight(self.weight)

    def __call__(self, model: nn.Module) -> Tensor:
        squares = [(p**2).sum() for p in covered(model, self.covers).values()]
        return self.weight * torch.stack(squares).sum() / 2


def check_weight(weight: float) -> None:
    if not weight >= 0:
        raise ValueError(f"weight is {weight}; expected 0 or more")
