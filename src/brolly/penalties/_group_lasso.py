"""Group lasso."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from ._penalty import Covers, Proximal
from ._units import incoming, lengths


def group_lasso(model: nn.Module, weight: float = 1.0, covers: Covers = "weights") -> Tensor:
    """Lengths of what flows into each unit, `weight * sum_g sqrt(size(g)) * ||w_g||`.

    A group g is the incoming weights of one unit: a row of a linear layer, a filter of a
    convolution.

    Args:
        model: Any module.
        weight: Factor.
        covers: Which parameters.

    Raises:
        ValueError: No parameter is covered.

    Example:
        >>> import torch, brolly
        >>> layer = torch.nn.Linear(4, 2)
        >>> with torch.no_grad():
        ...     _ = layer.weight.copy_(torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.0] * 4]))
        >>> brolly.penalties.group_lasso(layer).item()
        10.0
    """
    terms = [
        view[0, 0].numel() ** 0.5 * lengths(view).sum() for view in incoming(model, covers).values()
    ]
    return weight * torch.stack(terms).sum()


@dataclasses.dataclass(frozen=True)
class GroupLasso(Proximal):
    """Group lasso on units, `weight * sum_g sqrt(size(g)) * ||w_g||` (Yuan & Lin 2006).

    A group g is the incoming weights of one unit: a row of a linear layer, a filter of a
    convolution (as in Wen et al. 2016), so whole units are switched off. The square root keeps
    groups of different sizes comparable. The proximal step after the optimiser's, of learning
    rate lr,

        w_g <- w_g * max(1 - lr * weight * sqrt(size(g)) / ||w_g||, 0)

    makes groups exactly zero; with it the value carries no gradient. As with `L1` it is exact for
    plain gradient descent, and an average of weights keeps few of the zeros.

    Args:
        weight: 0 or more.
        covers: Which parameters.
        proximal: Whether to take the proximal step instead of the gradient.

    Raises:
        ValueError: weight is below 0.

    Example:
        >>> import torch, brolly
        >>> layer = torch.nn.Linear(4, 2)
        >>> with torch.no_grad():
        ...     _ = layer.weight.copy_(torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.1] * 4]))
        >>> brolly.penalties.GroupLasso(1.0, proximal=True).after_step(layer, lr=0.5)
        >>> (layer.weight[1] == 0).all()
        tensor(True)
    """

    def value(self, model: nn.Module) -> Tensor:
        return group_lasso(model, self.weight, self.covers)

    def shrink(self, model: nn.Module, lr: float) -> None:
        for view in incoming(model, self.covers).values():
            shrunk = lr * self.weight * view[0, 0].numel() ** 0.5
            tiny = torch.finfo(view.dtype).tiny
            view.mul_((1 - shrunk / lengths(view).clamp_min(tiny)).clamp_min(0))
