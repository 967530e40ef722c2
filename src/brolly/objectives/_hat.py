"""Helper-based adversarial training."""

from __future__ import annotations

import copy
import dataclasses

import torch
from torch import nn

from .._untouched import untouched
from ..data import Batch, Split
from ..losses import cross_entropy, kl
from ._inner import PGDObjective, beside, check_ranges, farthest
from ._objective import Crafting, Loss, LossOf, crafting, forward


@dataclasses.dataclass(frozen=True)
class HAT(PGDObjective):
    r"""Helper-based adversarial training (Rade & Moosavi-Dezfooli 2022), on top of TRADES.

    .. math:: \mathrm{mean}_i \; CE(f(x_i), y_i) + \beta \, KL(f(x_i) \,\|\, f(x'))
              + \gamma \, CE(f(x_i + h (x' - x_i)), \mathrm{argmax} \, g(x'))

    with x' as in TRADES and g the helper, a network from plain training. Adversarial training
    pushes the boundary further away than it has to along the directions of attacks; inputs beyond
    x', labelled by the helper, pull it back, for clean accuracy. Those inputs lie outside the
    ball, and may lie outside the bounds, as in the authors' code.

    Cost of a step, with k steps of PGD: k + 4 forward passes (the authors' code computes as many),
    k backward passes to the input, three to the weights, and one forward pass of the helper.

    Args:
        attack: The inner maximisation; one restart.
        helper: A network from plain training, with the same classes; it is used in eval mode and
            not changed. In a recipe, the folder of its run.
        h: How far beyond x' the helper's inputs lie; 2 in the paper.
        beta: Weight of the divergence; 2.5 in the paper for CIFAR-10.
        gamma: Weight of the helper's inputs; 0.5 in the paper for CIFAR-10.
        spread: Standard deviation of the noise around the clean input to start from; 0.001.
        mode: State of BatchNorm and dropout while crafting; `eval` in the authors' code too.

    Raises:
        ValueError: A number is out of range, or the helper has another number of classes.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> net = lambda: brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> helper, model = net(), net()
        >>> _ = brolly.fit(helper, data, epochs=1)
        >>> objective = brolly.HAT(brolly.PGD(brolly.Linf(0.1), steps=3), helper)
        >>> history = brolly.fit(model, data, objective=objective, epochs=1)
        >>> sorted(history.epochs[0].logs)
        ['divergence', 'helper', 'natural']
    """

    helper: nn.Module = dataclasses.field(repr=False)
    _: dataclasses.KW_ONLY
    h: float = 2.0
    beta: float = 2.5
    gamma: float = 0.5
    spread: float = 0.001
    mode: Crafting = "eval"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(h=self.h, beta=self.beta, gamma=self.gamma, spread=self.spread)

    def begin(self, split: Split, device: torch.device | str) -> HAT:
        return dataclasses.replace(self, helper=copy.deepcopy(self.helper).to(device))

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        x = batch.x
        with crafting(model, batch, generator, self.mode) as draws:
            start = beside(self.threat, x, draws, self.spread)
            x_adv, reference = farthest(self.attack, model, x, start, kl)
            with untouched(self.helper), torch.no_grad():
                opinion = self.helper(x_adv)
        if opinion.shape != reference.shape:
            raise ValueError(
                f"the helper gives {tuple(opinion.shape)} logits, the model "
                f"{tuple(reference.shape)}; expected a helper with the same classes"
            )
        label, beyond = opinion.argmax(1), x + self.h * (x_adv - x)

        def loss(model: nn.Module) -> Loss:
            clean = forward(model, x)
            natural = cross_entropy(clean, batch.y).mean()
            divergence = kl(forward(model, x_adv), clean).mean()
            helper = cross_entropy(forward(model, beyond), label).mean()
            return Loss(
                natural + self.beta * divergence + self.gamma * helper,
                {
                    "natural": natural.detach(),
                    "divergence": divergence.detach(),
                    "helper": helper.detach(),
                },
            )

        return loss
