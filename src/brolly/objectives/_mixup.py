"""MixUp."""

from __future__ import annotations

import dataclasses
import random

import torch
from torch import Tensor, nn

from .._draws import Draws
from .._ranges import check_range
from ..data import Batch
from ..losses import cross_entropy
from ..threats import Threat
from ._objective import Loss, LossOf, Objective, forward


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixUp(Objective):
    r"""Cross-entropy between two examples (Zhang et al. 2018).

    .. math:: \mathrm{mean}_i \; \lambda \, CE(f(z_i), y_i) + (1 - \lambda) \, CE(f(z_i), y_j),
              \quad z_i = \lambda x_i + (1 - \lambda) x_j, \quad \lambda \sim Beta(\alpha, \alpha)

    with one lambda for a batch, and each example mixed with another one j of its batch. The
    authors shuffle the batch, so that now and then an example meets itself; here none does.

    It makes no network robust by itself; evaluate before you believe it.

    Cost of a step: one forward and one backward pass.

    Args:
        alpha: Of the Beta distribution: towards 0 examples stay nearly as they are, at 1 lambda is
            uniform. 1 in the authors' code for CIFAR-10, 0.2 in the paper for ImageNet.

    Raises:
        ValueError: alpha is not above 0.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> history = brolly.fit(model, data, objective=brolly.MixUp(alpha=0.2), epochs=2)
        >>> len(history.epochs)
        2
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_range("(0, inf)", alpha=self.alpha)

    @property
    def threat(self) -> Threat | None:
        return None

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        draws = Draws.from_generator(generator, batch.index)
        share = random.Random(draws.seed).betavariate(self.alpha, self.alpha)
        other = partners(draws, batch.x)
        mixed = share * batch.x + (1 - share) * batch.x[other]
        shares = torch.full_like(mixed.flatten(1)[:, 0], share)
        return lambda model: mixed_loss(model, mixed, batch.y, batch.y[other], shares)


def partners(draws: Draws, x: Tensor) -> Tensor:
    """For each example another one of the batch, `(batch,)`; the same in a batch in another order.

    Examples stand in a ring, in a random order, and each takes the next.
    """
    ring = draws.uniform(x.new_empty(len(x), dtype=torch.float64)).argsort()
    return torch.empty_like(ring).scatter_(0, ring, ring.roll(-1))


def mixed_loss(model: nn.Module, x: Tensor, y: Tensor, other: Tensor, shares: Tensor) -> Loss:
    """Mean cross-entropy with labels `y` by their shares, `(batch,)`, and `other` by the rest."""
    logits = forward(model, x)
    losses = shares * cross_entropy(logits, y) + (1 - shares) * cross_entropy(logits, other)
    return Loss(losses.mean(), {})
