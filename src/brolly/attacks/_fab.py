"""Fast adaptive boundary attack."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from ..losses import margin
from ..threats import Threat
from ..threats._threat import norm, per_example
from ._attack import MinimalAttack, check_counts
from ._engine import Search
from ._hyperplane import step_to_hyperplane

# Croce & Hein 2020, section 4: bias towards the clean input, overshoot, backward step.
_LARGEST_BIAS, _OVERSHOOT, _BACK = 0.1, 1.05, 0.9

#: Chooses a boundary at points of rows: how far the label is ahead there, its gradient, and
#: whether each point is adversarial.
Boundary = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def walk(search: Search, boundary: Boundary, steps: int) -> None:
    """Follows the decision boundary towards the clean input."""
    threat, rows = search.threat, search.standing()
    if len(rows) == 0:
        return
    clean = x = search.x[rows]
    ahead, gradient, over = boundary(x, rows)
    for step in range(1, steps + 1):
        x = _approach(threat, x, clean, ahead, gradient)
        if step == steps:
            search.logits(x, rows)
            return
        # Where the last step went over the boundary, this one mostly does too: look first, and
        # take the gradient where the walk goes on, which is back towards the clean input.
        again = over.nonzero()[:, 0]
        over = torch.zeros_like(over)
        if len(again):
            over[again] = search.reached(search.logits(x[again], rows[again]), rows[again])
            x = torch.where(per_example(over, x), _back(x, clean), x)
        ahead, gradient, reached = boundary(x, rows)
        first = (reached & ~over).nonzero()[:, 0]
        if len(first):
            x = x.clone()
            x[first] = _back(x[first], clean[first])
            ahead[first], gradient[first], _ = boundary(x[first], rows[first])
            over[first] = True
        rows, x, clean, ahead, gradient, over = search.drop_fooled(
            rows, x, clean, ahead, gradient, over
        )
        if len(rows) == 0:
            return


def _back(x: Tensor, clean: Tensor) -> Tensor:
    return clean + _BACK * (x - clean)


def _approach(threat: Threat, x: Tensor, clean: Tensor, ahead: Tensor, gradient: Tensor) -> Tensor:
    """Steps from `x` and from the clean input onto the linear boundary, blended by length."""
    direct = (gradient * (clean - x)).flatten(1).sum(1)
    both = step_to_hyperplane(
        torch.cat([x, clean]),
        torch.cat([-gradient, -gradient]),
        torch.cat([ahead, ahead + direct]),
        threat,
    )
    here, there = both.chunk(2)
    near, far = norm(both, threat.order).clamp_min(1e-8).chunk(2)
    bias = per_example((near / (near + far)).clamp_max(_LARGEST_BIAS), x)
    blend = (1 - bias) * (x + _OVERSHOOT * here) + bias * (clean + _OVERSHOOT * there)
    return blend.clamp_(*threat.bounds)


@dataclasses.dataclass(frozen=True)
class FAB(MinimalAttack):
    """Fast adaptive boundary attack (Croce & Hein 2020): nearest input by linear boundaries.

    Each step takes the nearest of the linearised boundaries to all other classes, steps onto it
    inside the bounds, and leans towards the clean input. It has no step size and no eps to tune.

    Cost: `steps` forward passes and `steps * (classes - 1)` backward passes, about twice that
    where it walks along the boundary, and one forward pass for the clean input.

    Args:
        threat: Linf, L2 or L1, and how far to look.
        nearest: Whether to go on after the first adversarial input.
        steps: Steps; 100 in the paper.

    Raises:
        ValueError: A count is below 1.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.FAB(brolly.Linf(float("inf")))(model, x, y).distance.shape
        torch.Size([2])
    """

    _: dataclasses.KW_ONLY
    steps: int = 100

    kinds: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(steps=self.steps)

    @property
    def name(self) -> str:
        return "fab"

    def search(self, search: Search) -> None:
        if search.target is not None:
            walk(search, _towards(search, search.target), self.steps)
        else:
            walk(search, _nearest_boundary(search), self.steps)


@dataclasses.dataclass(frozen=True)
class FABTargeted(MinimalAttack):
    """FAB towards one likely wrong class after the other (FAB-T), cheaper with many classes.

    The classes are tried in the order of their logits on the clean input. With a target given,
    that class alone is tried, and counts.

    Cost: `steps` forward and backward passes per target, about twice that where it walks along the
    boundary, and one forward pass for the clean input.

    Args:
        threat: Linf, L2 or L1, and how far to look.
        nearest: Whether to go on after the first adversarial input.
        steps: Steps per target; 100 in the paper.
        targets: How many classes to try, at most all wrong ones; 9 in the paper.

    Raises:
        ValueError: A count is below 1.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.FABTargeted(brolly.L2(float("inf")), targets=2)(model, x, y).distance.shape
        torch.Size([2])
    """

    _: dataclasses.KW_ONLY
    steps: int = 100
    targets: int = 9

    kinds: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(steps=self.steps, targets=self.targets)

    @property
    def name(self) -> str:
        return "fab-t"

    def search(self, search: Search) -> None:
        if search.target is not None:
            walk(search, _towards(search, search.target), self.steps)
            return
        order = search.likely_wrong_classes()
        for rank in range(min(self.targets, order.shape[1])):
            walk(search, _towards(search, order[:, rank]), self.steps)


def _towards(search: Search, target: Tensor) -> Boundary:
    def behind(logits: Tensor, rows: Tensor) -> Tensor:
        if search.target is not None:  # any class may be ahead of the one to reach
            return margin(logits, target[rows])
        own, other = search.y[rows, None], target[rows, None]
        return (logits.gather(1, own) - logits.gather(1, other))[:, 0]

    def boundary(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        point = search.at(x, rows, behind)
        return point.value, point.gradient, point.reached

    return boundary


def _nearest_boundary(search: Search) -> Boundary:
    threat, order = search.threat, search.likely_wrong_classes()
    dual = {float("inf"): 1.0, 2: 2.0, 1: float("inf")}[threat.order]

    def boundary(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        def behind(logits: Tensor) -> Tensor:
            return logits.gather(1, search.y[rows, None]) - logits.gather(1, order[rows])

        ahead, gradients, reached = search.jacobian(x, rows, behind)
        slopes = torch.linalg.vector_norm(gradients.flatten(2), dual, dim=2)
        nearest = (ahead.abs() / slopes.clamp_min(1e-12)).argmin(1)
        every = torch.arange(len(rows), device=x.device)
        return ahead[every, nearest], gradients[every, nearest], reached

    return boundary
