"""A penalty on the Jacobian of the logits in the input."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from .._draws import Draws
from .._untouched import input_gradient
from ..data import Batch
from ..losses import cross_entropy
from ..threats import Threat
from ._inner import check_ranges
from ._objective import Loss, LossOf, Objective, forward


@dataclasses.dataclass(frozen=True)
class JacobianPenalty(Objective):
    r"""Jacobian regularisation with random projections (Hoffman, Roberts & Yaida 2019).

    .. math:: \mathrm{mean}_i \; CE(f(x_i), y_i) + \frac{\lambda}{2} \| J_i \|_F^2, \quad
              J_i = \frac{\partial f(x_i)}{\partial x_i}, \quad
              \| J_i \|_F^2 \approx \frac{C}{n} \sum_{k=1}^n \| v_k^\top J_i \|_2^2

    with v uniform on the unit sphere of the C logits, anew in each step: an unbiased estimate, in
    n backward passes instead of C.

    **Weak alone.** It makes the logits smooth at the training inputs and says nothing of the rest
    of the ball; networks trained with it fall to attacks of many steps. Evaluate with `standard`,
    and train against an attack where robustness is the aim.

    Cost of a step, with n projections: one forward pass, n backward passes to the input, and one
    to the weights that goes through them too (double backward).

    Args:
        weight: Lambda, for inputs in input units; 0.01 in the paper for MNIST, where inputs are
            standardised, which makes the Jacobian smaller.
        projections: n; 1 in the paper.

    Raises:
        ValueError: The weight is negative, or there is no projection.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> history = brolly.fit(model, data, objective=brolly.JacobianPenalty(), epochs=2)
        >>> len(history.epochs)
        2
    """

    _: dataclasses.KW_ONLY
    weight: float = 0.01
    projections: int = 1

    def __post_init__(self) -> None:
        check_ranges(weight=self.weight)
        if self.projections < 1:
            raise ValueError(f"projections is {self.projections}; expected 1 or more")

    @property
    def threat(self) -> Threat | None:
        return None

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        draws = Draws.from_generator(generator, batch.index)

        def loss(model: nn.Module) -> Loss:
            x = batch.x.detach().requires_grad_()
            logits = forward(model, x)
            penalty = logits.new_zeros(())
            for k in range(self.projections):
                v = nn.functional.normalize(draws.fold(k).normal(logits.detach()), dim=1)
                row = input_gradient((v * logits).sum(1), x, create_graph=True)
                penalty = penalty + row.square().flatten(1).sum(1).mean()
            penalty = penalty * logits.shape[1] / self.projections
            natural = cross_entropy(logits, batch.y).mean()
            return Loss(
                natural + self.weight / 2 * penalty,
                {"natural": natural.detach(), "jacobian": penalty.detach()},
            )

        return loss
