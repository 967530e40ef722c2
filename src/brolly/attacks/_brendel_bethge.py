"""Brendel & Bethge's attack."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor

from ..losses import margin
from ..threats import L2, Threat
from ..threats._threat import norm
from ._attack import MinimalAttack, check_counts
from ._bisect import bisect
from ._engine import Search

# Brendel et al. 2019 and their program: how far behind the boundary a step aims, how slowly the
# direction of the boundary turns, how often the trust region halves, halvings to the boundary.
_OVERSHOOT, _MOMENTUM, _STAGES, _BISECTIONS = 0.1, 0.8, 20, 10
#: Tries at a start: gradient steps, then uniform noise.
_CLIMB, _TRIES = 20, 50
#: Halvings in the solver: they leave 0.02 % of the step open.
_HALVINGS = 12


@dataclasses.dataclass(frozen=True)
class BrendelBethge(MinimalAttack):
    """Walk along the decision boundary to the nearest input (Brendel et al. 2019).

    From an adversarial input, each step solves a small problem exactly: among the points of a trust
    region that lie on the linearised boundary and in the bounds, find the nearest to the clean
    input. It needs gradients at the boundary only, so flat losses around clean inputs do not
    hide anything from it.

    It begins with growing gradient steps; where these find nothing adversarial, with up to 50
    draws of uniform noise; and goes back to the boundary by ten halvings. Examples without such
    a start stay as they are.

    Cost: `steps` forward and backward passes, up to 20 and 50 more forward passes (20 of them
    backward) for the start, and ten.

    Args:
        threat: L2 or Linf, and how far to look.
        nearest: Whether to go on after the first adversarial input.
        steps: Steps; 1000 in the paper.
        rate: Squared Euclidean radius of the first trust region, per input value and as a part of
            the squared width of the bounds; 0.001 in the paper's program. It is halved 20 times.

    Raises:
        ValueError: A count is below 1, or the rate is not above 0.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.BrendelBethge(brolly.L2(float("inf")), steps=50)(model, x, y).distance.shape
        torch.Size([2])
    """

    _: dataclasses.KW_ONLY
    steps: int = 1000
    rate: float = 1e-3

    kinds: ClassVar[tuple[str, ...]] = ("linf", "l2")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(steps=self.steps)
        if not self.rate > 0:
            raise ValueError(f"rate is {self.rate}; expected more than 0. Write for example 0.001")

    @property
    def name(self) -> str:
        return "brendel-bethge"

    def search(self, search: Search) -> None:
        loss = search.row_loss(margin)
        rows, x = self._start(search)
        rows, clean, x = bisect(search, rows, search.x[rows], x, _BISECTIONS)
        normal = torch.zeros_like(x)
        stage = max(self.steps // _STAGES, 1)
        for step in range(self.steps):
            rows, clean, x, normal = search.drop_fooled(rows, clean, x, normal)
            if len(rows) == 0:
                return
            point = search.at(x, rows, loss)
            weight = _MOMENTUM if step else 0.0
            normal = torch.lerp(point.gradient, normal, weight)
            # Inside the adversarial region a step stops short of the boundary, outside behind it.
            aim = torch.where(point.value < 0, 1 + _OVERSHOOT, 1 - _OVERSHOOT)
            gain = -aim * point.value.nan_to_num(nan=0.0)
            size = math.sqrt(self.rate * math.prod(x.shape[1:]) * 0.5 ** (step // stage))
            radius = torch.full_like(gain, size * self.threat.width)
            x = (x + step_along(self.threat, clean, x, normal, gain, radius)).clamp(
                *self.threat.bounds
            )
        rows, x = search.drop_fooled(rows, x)
        search.logits(x, rows)

    def _start(self, search: Search) -> tuple[Tensor, Tensor]:
        """Rows for which an adversarial input was found, and that input."""
        loss, unit, bounds = search.row_loss(margin), L2(math.inf).ascend, self.threat.bounds
        diagonal = L2(math.inf, bounds).diameter(search.x.shape[1:])
        found, hit = search.x.clone(), search.fooled.clone()
        rows = search.standing()
        x = search.x[rows]
        for step in range(_CLIMB):
            point = search.at(x, rows, loss)
            found[rows[point.reached]], hit[rows[point.reached]] = x[point.reached], True
            rows, x, gradient = (part[~point.reached] for part in (rows, x, point.gradient))
            if len(rows) == 0:
                break
            # From 1 % of the diagonal to half of it.
            size = diagonal * 0.01 * 50 ** (step / (_CLIMB - 1))
            x = (x + size * unit(gradient)).clamp(*bounds)
        for trial in range(_TRIES):
            rows = (~hit).nonzero()[:, 0]
            if len(rows) == 0:
                break
            noise = search.draws.fold(trial).of(rows).uniform(search.x[rows])
            x = bounds[0] + self.threat.width * noise
            reached = search.reached(search.logits(x, rows), rows)
            found[rows[reached]], hit[rows[reached]] = x[reached], True
        rows = (hit & ~search.fooled).nonzero()[:, 0]
        return rows, found[rows]


def step_along(
    threat: Threat, clean: Tensor, x: Tensor, normal: Tensor, gain: Tensor, radius: Tensor
) -> Tensor:
    """The step to the point nearest to `clean` on a hyperplane, in a trust region and the bounds.

    It solves `min ||x + step - clean||` subject to `normal . step = gain`, `||step||_2 <= radius`
    and the bounds. Where the hyperplane lies beyond the trust region, it is as far as the region
    reaches on the shortest way there.

    Both norms leave one unknown number per row, and the length of the step grows (L2) or falls
    (Linf) with it, so it is found by halving. L2: by stationarity the step is the projection of
    `s (clean - x)` onto hyperplane and bounds, s in [0, 1]. Linf: the level of the norm only
    tightens the bounds; it is feasible where the shortest step is short enough.

    Args:
        threat: Norm and bounds.
        clean: Clean inputs, `(rows, ...)`.
        x: Where to step from, inside the bounds.
        normal: Normal of each hyperplane, `(rows, ...)`.
        gain: What to gain along it, `(rows,)`.
        radius: Of the trust region in L2, `(rows,)`.
    """
    here, centre, b = x.flatten(1), clean.flatten(1), normal.flatten(1)
    away, (low, high) = centre - here, threat.bounds
    lowest, highest = low - here, high - here
    best, _ = _onto_plane(torch.zeros_like(b), b, gain, lowest, highest)
    length = norm(best, 2)
    best = best * (radius / length.clamp_min(1e-30)).clamp_max(1)[:, None]
    within = length <= radius
    # L2: s of a step that is short enough, and of one that may be too long.
    # Linf: a level that works is the far end, so the roles of the ends are exchanged.
    good = torch.zeros_like(gain) if threat.order == 2 else norm(away - best, math.inf)
    bad = torch.ones_like(gain) if threat.order == 2 else torch.zeros_like(gain)
    middle = bad
    for _ in range(_HALVINGS):
        if threat.order == 2:
            step, met = _onto_plane(middle[:, None] * away, b, gain, lowest, highest)
        else:
            level = middle[:, None]
            step, met = _onto_plane(
                torch.zeros_like(b),
                b,
                gain,
                (away - level).clamp_min(lowest),
                (away + level).clamp_max(highest),
            )
        works = within & met & (norm(step, 2) <= radius)
        best = torch.where(works[:, None], step, best)
        good, bad = torch.where(works, middle, good), torch.where(works, bad, middle)
        middle = (good + bad) / 2
    return best.reshape(x.shape)


def _onto_plane(
    point: Tensor, normal: Tensor, gain: Tensor, lowest: Tensor, highest: Tensor
) -> tuple[Tensor, Tensor]:
    """Projects `(rows, entries)` onto `normal . step = gain` inside `lowest <= step <= highest`.

    The projection is `clip(point + t * normal)`. What it gains is piecewise linear in t and never
    falls, so sorting its corners finds t exactly. Where the bounds leave no such point, it is the
    one that comes nearest.

    Returns:
        Projections, and whether each lies on its hyperplane.
    """
    slope = normal.square()
    inverse = torch.where(normal == 0, 0.0, 1 / normal)
    ends = torch.stack([(lowest - point) * inverse, (highest - point) * inverse])
    start, stop = ends.amin(0), ends.amax(0)  # where an entry begins to move, and where it ends
    corners, order = torch.cat([start, stop], 1).sort(1)
    moving = torch.cat([slope, -slope], 1).gather(1, order).cumsum(1)
    floor = torch.where(normal > 0, lowest, torch.where(normal < 0, highest, 0))
    least = (normal * floor).sum(1, keepdim=True)
    gains = torch.cat([least, least + (moving[:, :-1] * corners.diff(dim=1)).cumsum(1)], 1)
    last = ((gains <= gain[:, None]).sum(1, keepdim=True) - 1).clamp_min(0)
    rise = moving.gather(1, last)
    rest = (gain[:, None] - gains.gather(1, last)).clamp_min(0)
    t = corners.gather(1, last) + torch.where(rise > 0, rest / rise.clamp_min(1e-30), 0)
    step = torch.minimum(torch.maximum(point + t * normal, lowest), highest)
    scale = (normal * (highest - lowest)).abs().sum(1)
    met = ((normal * step).sum(1) - gain).abs() <= 1e-4 * gain.abs() + 1e-6 * scale
    return step, met
