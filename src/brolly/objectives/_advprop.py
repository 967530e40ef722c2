"""AdvProp."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from ..data import Batch
from ..losses import cross_entropy
from ..models import adversarial_statistics, has_dual_batchnorm
from ._inner import PGDObjective, highest_cross_entropy
from ._objective import Crafting, Loss, LossOf, crafting, forward


@dataclasses.dataclass(frozen=True)
class AdvProp(PGDObjective):
    r"""Adversarial examples as additional data, with statistics of their own (Xie et al. 2020).

    .. math:: \mathrm{mean}_i \; CE(f(x_i), y_i) + \max_{x' \in T(x_i)} CE(f^{adv}(x'), y_i)

    f and f^adv share their weights, but for BatchNorm: f has the clean, f^adv the adversarial side
    of each `DualBatchNorm`. PGD climbs the loss of f^adv, its last point is trained on.

    It is made for clean accuracy. Whatever comes later, validation, attacks, `evaluate`, sees f,
    which is hardly robust; `select_by="clean"` fits it. Inside `with adversarial_statistics(model)`
    all of these see f^adv, the robust side (Xie & Yuille 2020).

    Cost of a step, with k steps of PGD: k + 2 forward passes, k backward passes to the input and
    two to the weights.

    Args:
        attack: The inner maximisation; one restart. The authors use steps of 1/255 on ImageNet: one
            at eps 1/255, five at 4/255 for large networks.
        mode: State of BatchNorm and dropout while crafting.

    Raises:
        ValueError: When called with a model that has no `DualBatchNorm`.
    """

    _: dataclasses.KW_ONLY
    mode: Crafting = "eval"

    def reasons_against(self, model: nn.Module) -> list[str]:
        if has_dual_batchnorm(model):
            return []
        return [
            "AdvProp keeps statistics of adversarial batches apart, but the model has no "
            "DualBatchNorm; build it with dual=True, or convert it: model = dual_batchnorm(model)"
        ]

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        with crafting(model, batch, generator, self.mode) as draws, adversarial_statistics(model):
            x_adv = highest_cross_entropy(self.attack, model, batch, draws)

        def loss(model: nn.Module) -> Loss:
            natural = cross_entropy(forward(model, batch.x), batch.y).mean()
            with adversarial_statistics(model):
                robust = cross_entropy(forward(model, x_adv), batch.y).mean()
            return Loss(
                natural + robust, {"natural": natural.detach(), "adversarial": robust.detach()}
            )

        return loss
