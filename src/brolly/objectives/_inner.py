"""Inner maximisations that several objectives share, and their ranges."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .._draws import Draws
from .._ranges import out_of_range
from ..attacks import PGD
from ..data import Batch
from ..losses import cross_entropy
from ..threats import Threat
from ._objective import Objective, forward


@dataclasses.dataclass(frozen=True)
class PGDObjective(Objective):
    """An objective whose inner maximisation is PGD's plain ascent: one search, no momentum.

    Args:
        attack: Says the threat, how many steps of which length, and where the search begins.

    Raises:
        ValueError: The attack is another, or has restarts or momentum.
    """

    attack: PGD

    def __post_init__(self) -> None:
        if not isinstance(self.attack, PGD):
            raise ValueError(
                f"attack is {self.attack!r}; expected PGD, such as PGD(Linf(0.1), steps=10)"
            )
        given = self.attack.restarts, self.attack.momentum
        if given != (1, 0):
            raise ValueError(
                f"the attack has restarts={given[0]} and momentum={given[1]}; expected 1 and 0, as "
                f"{type(self).__name__} takes the steps of plain PGD, once. Leave both out, or "
                "give it more steps"
            )

    @property
    def threat(self) -> Threat:
        return self.attack.threat


def highest_cross_entropy(attack: PGD, model: nn.Module, batch: Batch, draws: Draws) -> Tensor:
    """The last point of PGD on the cross-entropy; `random_start` says where it begins."""

    def loss(x: Tensor) -> Tensor:
        return cross_entropy(forward(model, x), batch.y)

    start = attack.threat.sample(batch.x, draws) if attack.random_start else batch.x
    return attack.climb(loss, batch.x, start)


def farthest(
    attack: PGD,
    model: nn.Module,
    x: Tensor,
    start: Tensor,
    divergence: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """The last point of PGD on `divergence(logits, clean logits)`, and those clean logits.

    The clean logits are computed once, not at every step.
    """
    with torch.no_grad():
        reference = forward(model, x)
    x_adv = attack.climb(lambda x_adv: divergence(forward(model, x_adv), reference), x, start)
    return x_adv, reference


def beside(threat: Threat, x: Tensor, draws: Draws, spread: float) -> Tensor:
    """Clean inputs with a little noise: at them themselves a divergence has no gradient."""
    return threat.project(x + spread * draws.normal(x), x)


def check_ranges(*, spread: float | None = None, **weights: float) -> None:
    """Raises ValueError, with all reasons, where a weight is below 0 or the spread is not above."""
    reasons = [out_of_range("[0, inf)", **weights)]
    if spread is not None and (reason := out_of_range("(0, inf)", spread=spread)):
        reasons.append(f"{reason}, as the divergence has no gradient at the clean input")
    if any(reasons):
        raise ValueError("; ".join(filter(None, reasons)))
