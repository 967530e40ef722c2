"""Adversarial inputs that are more than just misclassified."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from .._draws import Draws
from ..attacks import Attack
from ..attacks._apgd import ascend
from ..attacks._engine import Search, goal_reached
from ..losses import cross_entropy, margin
from ..threats import Threat

#: Maps logits `(batch, classes)` and labels `(batch,)` to `(batch,)`.
Loss = Callable[[Tensor, Tensor], Tensor]

_STEPS = 100
_MARGIN = 2.0  # its weight; at 1 the energy of an input that is right falls as fast as the margin


@dataclasses.dataclass(frozen=True)
class WorstCase(Attack):
    """Auto-PGD that does not stop at the first error, but goes on to what is worth most.

    Args:
        threat: The perturbations that are allowed.
        losses: What is climbed, one after the other.
        worth: What decides which of the inputs tried is kept; NaN is kept before all.
        title: What tables call it.
        steps: Gradient steps of each loss.
    """

    losses: tuple[Loss, ...]
    worth: Loss
    title: str
    steps: int

    kinds: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    @property
    def name(self) -> str:
        return self.title

    def begin(
        self, model: nn.Module, x: Tensor, y: Tensor, target: Tensor | None, draws: Draws
    ) -> Search:
        return _WorthSearch(model, self.threat, x, y, draws, self.worth)

    def search(self, search: Search) -> None:
        for number, loss in enumerate(self.losses):
            ascend(search, search.row_loss(loss), self.steps, purpose=number)


class _WorthSearch(Search):
    """Keeps the input that is worth most, to the end."""

    def __init__(
        self, model: nn.Module, threat: Threat, x: Tensor, y: Tensor, draws: Draws, worth: Loss
    ) -> None:
        self._worth = worth
        super().__init__(model, threat, x, y, None, draws, roams=threat.order == 1)
        self.to_the_end()

    def _closeness(self, logits: Tensor, rows: Tensor) -> Tensor:
        return self._worth(logits, self.y[rows]).nan_to_num(nan=torch.inf)


def confident_errors(threat: Threat) -> WorstCase:
    """Errors with the highest cross-entropy; where there is no error, the highest all the same."""

    def worth(logits: Tensor, y: Tensor) -> Tensor:
        return _errors_first(goal_reached(logits, y), cross_entropy(logits, y))

    return WorstCase(threat, (cross_entropy,), worth, "apgd-ce", _STEPS)


def undetected_errors(
    threat: Threat, score: Callable[[Tensor], Tensor], threshold: float
) -> WorstCase:
    """Errors that a detector finds least suspect.

    Two losses combine margin and score, 50 steps each. The first is the margin up to the first
    error, and from there on falls with the score, as selective gradients do (Bryniarski et al.
    2022). The second weighs one against the other at every step, which moves along the boundary
    between two classes where the first goes to and fro.
    """

    def selective(logits: Tensor, y: Tensor) -> Tensor:
        above = margin(logits, y)
        wrong = above > 0
        return _errors_first(wrong, torch.where(wrong, threshold - score(logits), above))

    def weighed(logits: Tensor, y: Tensor) -> Tensor:
        return _MARGIN * margin(logits, y).clamp_max(0) - score(logits)

    return WorstCase(threat, (selective, weighed), selective, "apgd-aware", _STEPS // 2)


def _errors_first(wrong: Tensor, value: Tensor) -> Tensor:
    """Orders by `value`, with every error above all that is right; never flat."""
    return value.atan() + torch.where(wrong, math.pi / 2, -math.pi / 2)
