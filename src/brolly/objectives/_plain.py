"""Plain training."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from ..data import Batch
from ..losses import cross_entropy
from ..threats import Threat
from ._objective import Loss, LossOf, Objective, forward


@dataclasses.dataclass(frozen=True)
class Plain(Objective):
    """Mean cross-entropy on clean inputs, `mean_i CE(f(x_i), y_i)`.

    Cost of a step: one forward and one backward pass.
    """

    @property
    def threat(self) -> Threat | None:
        return None

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        return lambda model: Loss(cross_entropy(forward(model, batch.x), batch.y).mean(), {})
