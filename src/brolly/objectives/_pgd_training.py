"""Adversarial training with projected gradient descent."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from ..attacks import PGD
from ..data import Batch
from ..losses import cross_entropy
from ..threats import Threat
from ._objective import Crafting, Loss, LossOf, Objective, crafting, forward


@dataclasses.dataclass(frozen=True)
class PGDTraining(Objective):
    r"""Adversarial training (Madry et al. 2018): minimise the loss at the worst input PGD finds.

    .. math:: \min_\theta \, \mathrm{mean}_i \max_{x' \in T(x_i)} CE(f_\theta(x'), y_i)

    All steps are taken for all examples, and the last point is trained on.

    Cost of a step, with k steps of PGD: k + 1 forward passes, k backward passes to the input and
    one to the weights.

    Args:
        attack: The inner maximisation; one restart.
        mode: State of BatchNorm and dropout while crafting; the authors' code uses `train`.
    """

    attack: PGD
    _: dataclasses.KW_ONLY
    mode: Crafting = "eval"

    @classmethod
    def as_published(cls, attack: PGD) -> PGDTraining:
        """The choices of Madry et al. (2018)."""
        return cls(attack, mode="train")

    @property
    def threat(self) -> Threat:
        return self.attack.threat

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        def loss(x: Tensor) -> Tensor:
            return cross_entropy(forward(model, x), batch.y)

        with crafting(model, batch, generator, self.mode) as draws:
            start = self.threat.sample(batch.x, draws) if self.attack.random_start else batch.x
            x_adv = self.attack.climb(loss, batch.x, start)
        return lambda model: Loss(cross_entropy(forward(model, x_adv), batch.y).mean(), {})
