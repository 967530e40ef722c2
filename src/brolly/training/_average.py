"""Averages of the weights along the way."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn


@dataclasses.dataclass(frozen=True, kw_only=True)
class EMA:
    """Exponential moving average of weights and buffers.

    After n steps the average moves towards the weights by `1 - min(decay, (1 + n) / (10 + n))`,
    so that it does not cling to the first ones. Running statistics of BatchNorm are averaged
    along; whole-number buffers are copied.

    Args:
        decay: What is kept per step; about `1 / (1 - decay)` steps are averaged.
    """

    decay: float = 0.995

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay is {self.decay}; expected a number in [0, 1)")

    @torch.no_grad()
    def update(self, average: nn.Module, model: nn.Module, step: int) -> None:
        """Moves `average` towards `model` after its `step`-th step."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        mine, theirs = _tensors(average), _tensors(model)
        floating = [k for k, tensor in enumerate(mine) if tensor.is_floating_point()]
        torch._foreach_lerp_([mine[k] for k in floating], [theirs[k] for k in floating], weight)
        for old, new in zip(mine, theirs, strict=True):
            if not old.is_floating_point():
                old.copy_(new)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
