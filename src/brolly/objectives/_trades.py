"""TRADES."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from ..attacks import PGD
from ..data import Batch
from ..losses import cross_entropy, kl
from ._inner import PGDObjective, beside, check_ranges, farthest
from ._objective import Crafting, Loss, LossOf, crafting, forward


@dataclasses.dataclass(frozen=True)
class TRADES(PGDObjective):
    r"""Trades clean for robust accuracy with a weight (Zhang et al. 2019).

    .. math:: \mathrm{mean}_i \; CE(f(x_i), y_i)
              + \beta \max_{x' \in T(x_i)} KL(f(x_i) \,\|\, f(x'))

    PGD climbs the divergence from next to the clean input. The clean logits that it climbs away
    from are computed once, not at every step.

    Cost of a step, with k steps of PGD: k + 3 forward passes (the authors' code: 2 k + 3, as the
    clean inputs pass twice in the step itself, too), k backward passes to the input and two to the
    weights.

    Args:
        attack: The inner maximisation; one restart.
        beta: Weight of the divergence; 6 in the paper for CIFAR-10.
        spread: Standard deviation of the noise around the clean input to start from (there the
            divergence has no gradient); 0.001 in the paper.
        mode: State of BatchNorm and dropout while crafting; `eval` in the authors' code too.
    """

    _: dataclasses.KW_ONLY
    beta: float = 6.0
    spread: float = 0.001
    mode: Crafting = "eval"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(beta=self.beta, spread=self.spread)

    @classmethod
    def as_published(cls, attack: PGD, *, beta: float = 6.0) -> TRADES:
        """The choices of Zhang et al. (2019)."""
        return cls(attack, beta=beta)

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        x = batch.x
        with crafting(model, batch, generator, self.mode) as draws:
            start = beside(self.threat, x, draws, self.spread)
            x_adv, _ = farthest(self.attack, model, x, start, kl)

        def loss(model: nn.Module) -> Loss:
            logits = forward(model, x)
            natural = cross_entropy(logits, batch.y).mean()
            robust = kl(forward(model, x_adv), logits).mean()
            return Loss(
                natural + self.beta * robust,
                {"natural": natural.detach(), "divergence": robust.detach()},
            )

        return loss
