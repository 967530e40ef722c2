"""Adversarial training with projected gradient descent."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from ..attacks import PGD
from ..data import Batch
from ..losses import cross_entropy
from ._inner import PGDObjective, highest_cross_entropy
from ._objective import Crafting, Loss, LossOf, crafting, forward


@dataclasses.dataclass(frozen=True)
class PGDTraining(PGDObjective):
    r"""Adversarial training (Madry et al. 2018): minimise the loss at the worst input PGD finds.

    .. math:: \min_\theta \, \mathrm{mean}_i \max_{x' \in T(x_i)} CE(f_\theta(x'), y_i)

    All steps are taken for all examples, and the last point is trained on.

    Cost of a step, with k steps of PGD: k + 1 forward passes, k backward passes to the input and
    one to the weights.

    Args:
        attack: The inner maximisation; one restart.
        mode: State of BatchNorm and dropout while crafting; the authors' code uses `train`.
    """

    _: dataclasses.KW_ONLY
    mode: Crafting = "eval"

    @classmethod
    def as_published(cls, attack: PGD) -> PGDTraining:
        """The choices of Madry et al. (2018)."""
        return cls(attack, mode="train")

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        with crafting(model, batch, generator, self.mode) as draws:
            x_adv = highest_cross_entropy(self.attack, model, batch, draws)
        return lambda model: Loss(cross_entropy(forward(model, x_adv), batch.y).mean(), {})
