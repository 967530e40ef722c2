"""Fast minimum-norm attack."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor

from ..losses import margin
from ..threats import L2
from ..threats._threat import norm, per_example
from ._attack import MinimalAttack, check_counts
from ._engine import Search

# Pintor et al. 2021, section 3: where the decay of the step size and of gamma ends.
_LAST_STEP, _LAST_GAMMA = 0.01, 0.001
_DUAL = {float("inf"): 1.0, 2: 2.0, 1: float("inf"), 0: float("inf")}


@dataclasses.dataclass(frozen=True)
class FMN(MinimalAttack):
    """Fast minimum-norm attack (Pintor et al. 2021): steps in a ball that adapts, in any norm.

    Each step climbs the margin and projects onto a ball around the clean input. Before the first
    adversarial input, its radius is the distance at which the linearised boundary lies; after
    it, the ball shrinks by `1 - gamma` where the input is adversarial and grows by `1 + gamma`
    where not. Step size and gamma decay along a cosine.

    Cost: `steps` forward and backward passes, one forward pass, and one for the clean input.

    Args:
        threat: Linf, L2, L1 or L0, and how far to look.
        nearest: Whether to go on after the first adversarial input.
        steps: Gradient steps; 100 here, 1000 in the paper's main comparison.
        step_size: Euclidean length of the first step, as a part of the width of the bounds; None:
            1, in Linf 10, whose balls are wide. It decays to a hundredth.
        gamma: Part by which the radius changes at first; 0.05 in the paper. It decays to 0.001.

    Raises:
        ValueError: A count is below 1, the step size is not above 0, or `gamma` not between 0
            and 1.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.FMN(brolly.L1(float("inf")))(model, x, y).distance.shape
        torch.Size([2])
    """

    _: dataclasses.KW_ONLY
    steps: int = 100
    step_size: float | None = None
    gamma: float = 0.05

    kinds: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(steps=self.steps)
        if self.step_size is not None and not self.step_size > 0:
            raise ValueError(
                f"step_size is {self.step_size}; expected more than 0, as a part of the width of "
                "the bounds. Write for example 1.0, or None"
            )
        if not 0 < self.gamma < 1:
            raise ValueError(f"gamma is {self.gamma}; expected a number between 0 and 1")

    @property
    def name(self) -> str:
        return "fmn"

    def search(self, search: Search) -> None:
        threat, rows = self.threat, search.standing()
        loss, unit = search.row_loss(margin), L2(math.inf).ascend
        clean = x = search.x[rows]
        first_step = self.step_size or (10.0 if threat.order == float("inf") else 1.0)
        radius = torch.zeros_like(clean.flatten(1)[:, 0])
        nearest = torch.full_like(radius, torch.inf)
        for step in range(self.steps):
            point = search.at(x, rows, loss)
            value, gradient, reached = point.value, point.gradient, point.reached
            rows, x, clean, radius, nearest, value, gradient, reached = search.drop_fooled(
                rows, x, clean, radius, nearest, value, gradient, reached
            )
            if len(rows) == 0:
                return
            part = (1 + math.cos(math.pi * step / self.steps)) / 2
            size = first_step * threat.width * (_LAST_STEP + (1 - _LAST_STEP) * part)
            gamma = _LAST_GAMMA + (self.gamma - _LAST_GAMMA) * part
            length = threat.distance(x, clean)
            nearest = torch.where(reached, torch.minimum(nearest, length), nearest)
            slope = norm(gradient, _DUAL[threat.order]).clamp_min(1e-12)
            if threat.order == 0:
                less = torch.minimum(radius - 1, (radius * (1 - gamma)).floor())
                more = torch.maximum(radius + 1, (radius * (1 + gamma)).floor())
                first = torch.maximum(more, (length + value.abs() / slope / threat.width).ceil())
            else:
                less, more = radius * (1 - gamma), radius * (1 + gamma)
                # A little more than the estimate, which may be the boundary itself.
                first = (length + value.abs() / slope) * (1 + _LAST_GAMMA)
            more = torch.where(nearest.isinf(), first, more)
            radius = torch.where(reached, torch.minimum(less, nearest), more)
            radius = radius.clamp(0, threat.diameter(x.shape[1:]))
            # Into the bounds first: what they cut off would take up room in the ball.
            moved = (x + size * unit(gradient)).clamp(*threat.bounds) - clean
            x = (clean + shrink(moved, radius, threat.order)).clamp(*threat.bounds)
        search.logits(x, rows)


def shrink(delta: Tensor, radius: Tensor, order: float) -> Tensor:
    """The nearest perturbations, in Euclidean distance, in balls with a radius for each row."""
    limit = per_example(radius, delta)
    if order == float("inf"):
        return torch.minimum(torch.maximum(delta, -limit), limit)
    if order == 2:
        length = per_example(norm(delta, 2), delta).clamp_min(1e-30)
        return delta * (limit / length).clamp_max(1)
    size, edge = delta.flatten(1).abs(), radius[:, None]
    largest = size.sort(1, descending=True).values
    count = torch.arange(1, size.shape[1] + 1, device=delta.device)
    if order == 0:
        # Everything below the last that may stay; of equals, those that come first stay.
        rank = size.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return delta.masked_fill((rank >= edge).reshape(delta.shape), 0)
    # Duchi et al. 2008: all shrink by what makes the sum of those that are left the radius.
    excess = (largest.cumsum(1) - edge) / count
    active = (largest > excess).sum(1, keepdim=True).clamp_min(1)
    threshold = excess.gather(1, active - 1).clamp_min(0)
    return delta.sign() * (size - threshold).clamp_min(0).reshape(delta.shape)
