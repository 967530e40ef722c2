"""Adversarial logit pairing."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from ..data import Batch
from ..losses import cross_entropy
from ._inner import PGDObjective, check_ranges, highest_cross_entropy
from ._objective import Crafting, Loss, LossOf, crafting, forward


@dataclasses.dataclass(frozen=True)
class ALP(PGDObjective):
    r"""Adversarial logit pairing (Kannan, Kurakin & Goodfellow 2018). It was broken.

    .. math:: \mathrm{mean}_i \; \tfrac{1}{2} CE(f(x_i), y_i) + \tfrac{1}{2} CE(f(x'), y_i)
              + \frac{\lambda}{C} \|f(x_i) - f(x')\|^2

    for C classes, with x' the last point of PGD on the cross-entropy. Clean and adversarial inputs
    go through the network as one batch, as in the authors' code, whose mean over classes this is.

    Warning:
        Engstrom, Ilyas & Athalye (2018) brought the authors' ImageNet model, at the authors' own
        threat of Linf 16/255, down to 0.1 % accuracy by running PGD for longer: pairing bends the
        loss around the data, so that attacks of few steps get lost. Use it to reproduce that, or
        as a baseline; judge it by `standard` with many steps, never by the attack it trained on.

    The authors trained their ImageNet models against targeted attacks; here x' is untargeted, as
    in the rest of this package.

    Cost of a step, with k steps of PGD: k + 2 forward passes, k backward passes to the input and
    two to the weights.

    Args:
        attack: The inner maximisation; one restart.
        weight: Weight lambda of the pairing; 0.5 in the paper for ImageNet.
        mode: State of BatchNorm and dropout while crafting; `eval` in the authors' code too.

    Raises:
        ValueError: weight is below 0.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> objective = brolly.ALP(brolly.PGD(brolly.Linf(0.1), steps=3), weight=0.5)
        >>> history = brolly.fit(model, data, objective=objective, epochs=1)
        >>> sorted(history.epochs[0].logs)
        ['mixed', 'pairing']
    """

    _: dataclasses.KW_ONLY
    weight: float = 0.5
    mode: Crafting = "eval"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(weight=self.weight)

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        with crafting(model, batch, generator, self.mode) as draws:
            x_adv = highest_cross_entropy(self.attack, model, batch, draws)
        both, labels = torch.cat([batch.x, x_adv]), torch.cat([batch.y, batch.y])

        def loss(model: nn.Module) -> Loss:
            logits = forward(model, both)
            clean, adversarial = logits.chunk(2)
            mixed = cross_entropy(logits, labels).mean()
            pairing = (clean - adversarial).square().mean()
            return Loss(
                mixed + self.weight * pairing,
                {"mixed": mixed.detach(), "pairing": pairing.detach()},
            )

        return loss
