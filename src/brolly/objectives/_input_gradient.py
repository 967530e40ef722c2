"""A penalty on the gradient of the loss in the input."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from .._untouched import input_gradient
from ..data import Batch
from ..losses import cross_entropy
from ..threats import Threat
from ._inner import check_ranges
from ._objective import Loss, LossOf, Objective, forward


@dataclasses.dataclass(frozen=True)
class InputGradientPenalty(Objective):
    r"""Input-gradient regularisation (Ross & Doshi-Velez 2018; Drucker & LeCun 1992).

    .. math:: \mathrm{mean}_i \; CE(f(x_i), y_i)
              + \lambda \, \| \nabla_{x_i} CE(f(x_i), y_i) \|_2^2

    **Weak alone.** It flattens the loss at the training inputs and says nothing of the rest of the
    ball: what looks robust to a single step is often broken by many. Evaluate with `standard`, and
    train against an attack where robustness is the aim.

    Cost of a step: one forward pass, a backward pass to the input, and one to the weights that
    goes through it too (double backward).

    Args:
        weight: Lambda, for inputs in input units. The authors' search, in these units, spans 0.2 to
            195 for MNIST, notMNIST and SVHN: half their weight, shared out over batches of 256.

    Raises:
        ValueError: The weight is negative.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> objective = brolly.InputGradientPenalty(weight=0.5)
        >>> len(brolly.fit(model, data, objective=objective, epochs=2).epochs)
        2
    """

    _: dataclasses.KW_ONLY
    weight: float = 0.3

    def __post_init__(self) -> None:
        check_ranges(weight=self.weight)

    @property
    def threat(self) -> Threat | None:
        return None

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        def loss(model: nn.Module) -> Loss:
            x = batch.x.detach().requires_grad_()
            each = cross_entropy(forward(model, x), batch.y)
            gradient = input_gradient(each, x, create_graph=True)
            natural, penalty = each.mean(), gradient.square().flatten(1).sum(1).mean()
            return Loss(
                natural + self.weight * penalty,
                {"natural": natural.detach(), "gradient": penalty.detach()},
            )

        return loss
