"""DeepFool."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from ..losses import margin
from ..threats._threat import norm, per_example
from ._attack import MinimalAttack, check_counts
from ._bisect import bisect
from ._engine import Search

#: Halvings at the end: they leave 0.4 % of the perturbation open, less than the overshoot.
_BISECTIONS = 8
#: What a step is longer, as a part of the width of the bounds, as in the paper's program.
_MORE = 1e-4


@dataclasses.dataclass(frozen=True)
class DeepFool(MinimalAttack):
    """Steps onto the nearest linearised boundary until the class changes (Moosavi-Dezfooli 2016).

    A step is the shortest one, in the norm of the threat, onto the nearest of the boundaries to
    the likeliest wrong classes as they look from where it stands; the sum of the steps is cut to
    the bounds. It is stretched by the overshoot to end behind the boundary; in the end the
    segment to the clean input is halved eight times, which takes back what was too much.

    Cost: up to `steps` forward passes and `steps * classes` backward passes, mostly fewer than five
    steps, and ten forward passes.

    Args:
        threat: L2 or Linf, and how far to look.
        nearest: Whether to halve the segment after the class has changed.
        steps: Steps at most; 50 in the paper's program.
        classes: How many wrong classes to look at, the likeliest on the clean input; 10 in the
            paper's program (the label among them). With a target, that class alone.
        overshoot: Part by which the perturbation is stretched; 0.02 in the paper.

    Raises:
        ValueError: A count is below 1, or the overshoot is negative.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.DeepFool(brolly.L2(float("inf")))(model, x, y).distance.shape
        torch.Size([2])
    """

    _: dataclasses.KW_ONLY
    steps: int = 50
    classes: int = 10
    overshoot: float = 0.02

    kinds: ClassVar[tuple[str, ...]] = ("linf", "l2")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(steps=self.steps, classes=self.classes)
        if not self.overshoot >= 0:
            raise ValueError(
                f"overshoot is {self.overshoot}; expected 0 or more. Write for example 0.02"
            )

    @property
    def name(self) -> str:
        return "deepfool"

    def search(self, search: Search) -> None:
        rows = search.standing()
        clean = x = search.x[rows]
        step = torch.zeros_like(x)
        found, hit = search.x.clone(), torch.zeros_like(search.fooled)
        for _ in range(self.steps):
            ahead, gradient, reached = self._boundary(search, x, rows)
            found[rows[reached]], hit[rows[reached]] = x[reached], True
            left = ~reached
            rows, x, clean, step = rows[left], x[left], clean[left], step[left]
            if len(rows) == 0:
                break
            step = step + self._onto_boundary(ahead[left], gradient[left])
            x = (clean + (1 + self.overshoot) * step).clamp(*self.threat.bounds)
        else:
            reached = search.reached(search.logits(x, rows), rows)
            found[rows[reached]], hit[rows[reached]] = x[reached], True
        rows = (hit & ~search.fooled).nonzero()[:, 0]
        bisect(search, rows, search.x[rows], found[rows], _BISECTIONS)

    def _onto_boundary(self, ahead: Tensor, gradient: Tensor) -> Tensor:
        """The shortest step, and a little more: on the boundary itself nothing would move."""
        dual = 1 if self.threat.order == float("inf") else 2
        length = ahead / norm(gradient, dual).clamp_min(1e-30) + _MORE * self.threat.width
        return -per_example(length, gradient) * self.threat.ascend(gradient)

    def _boundary(self, search: Search, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """How far the goal is behind at the nearest boundary, the gradient, what is reached."""
        target = search.target
        if target is not None:
            point = search.at(x, rows, lambda logits, rows: margin(logits, target[rows]))
            return point.value, point.gradient, point.reached
        others = search.likely_wrong_classes()[rows, : self.classes]
        own = search.y[rows, None]
        ahead, gradients, reached = search.jacobian(
            x, rows, lambda logits: logits.gather(1, own) - logits.gather(1, others)
        )
        dual = 1 if self.threat.order == float("inf") else 2
        slopes = torch.linalg.vector_norm(gradients.flatten(2), dual, dim=2)
        nearest = (ahead.abs() / slopes.clamp_min(1e-30)).argmin(1)
        every = torch.arange(len(rows), device=x.device)
        return ahead[every, nearest], gradients[every, nearest], reached
