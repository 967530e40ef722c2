"""Carlini & Wagner's attack."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from ..losses import margin
from ..threats._threat import norm, per_example
from ._adam import adam
from ._attack import MinimalAttack, check_counts
from ._constant import ENOUGH, search_constant
from ._engine import Search

#: Keeps the inverse hyperbolic tangent of an input at a bound finite, and near enough to leave:
#: with the 0.999999 of the paper's program, values at a bound take hundreds of steps to move.
_INSIDE = 0.99
#: How often the weight of the goal changes in a round in Linf.
_CHANGES = 50


@dataclasses.dataclass(frozen=True)
class CarliniWagner(MinimalAttack):
    r"""Carlini & Wagner's attack (2017): nearest input by Adam, without a constraint.

    .. math:: \min_w \|x(w) - x\|_2^2 + c \max(m(x(w)), 0), \qquad x(w) = \tfrac12(\tanh w + 1)

    where `m` is how far the label is ahead. A binary search finds the `c` of each example, and a
    search stops where it does not get on.

    In Linf the squared length gives way to what exceeds a level, `sum max(|delta| - tau, 0)`. The
    paper lowers `tau` by a tenth as long as it works; here it halves the interval between the
    nearest input found and the highest level that failed, which needs fewer rounds. In a round the
    step size falls to 0, and 50 times `c` doubles where the goal is not reached and halves where
    it is, which holds it near the smallest that works.

    Cost: at most `rounds * steps` forward and backward passes, and one forward pass.

    Args:
        threat: L2 or Linf, and how far to look.
        nearest: Whether to go on after the first adversarial input.
        steps: Steps of Adam per search; the paper's program takes up to 10000 in L2, 1000 in Linf.
        rounds: Values of c in L2, levels in Linf; 9 in the paper's program.
        c: Weight of the goal to begin with; 0.001 in the paper's program.
        step_size: Of Adam, in the space of w; 0.01 in the paper.

    Raises:
        ValueError: A count is below 1, or a number is not above 0.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.CarliniWagner(brolly.L2(float("inf")), steps=50)(model, x, y).distance.shape
        torch.Size([2])
    """

    _: dataclasses.KW_ONLY
    steps: int = 1000
    rounds: int = 9
    c: float = 1e-3
    step_size: float = 0.01

    kinds: ClassVar[tuple[str, ...]] = ("linf", "l2")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(steps=self.steps, rounds=self.rounds)
        for name in ("c", "step_size"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected more than 0")

    @property
    def name(self) -> str:
        return "cw"

    def search(self, search: Search) -> None:
        if self.threat.order == 2:
            search_constant(search, self.c, self.rounds, lambda *at: self._descend(search, *at))
        else:
            self._lower_levels(search)

    def _descend(self, search: Search, rows: Tensor, c: Tensor) -> Tensor:
        """Adam with the weight `c` of the goal; returns which rows of the batch reached it."""
        width, loss = self.threat.width, search.row_loss(margin)
        hit = torch.zeros_like(search.fooled)
        clean = search.x[rows]
        w = self._from_bounds(clean)
        first = second = torch.zeros_like(w)
        checked = torch.full_like(c, torch.inf)
        check = max(self.steps // 10, 1)
        for step in range(1, self.steps + 1):
            x, slope = self._to_bounds(w, clean)
            point = search.at(x, rows, loss)
            hit[rows[point.reached]] = True
            far = (x - clean) / width
            behind = (-point.value).clamp_min(0)
            pull = per_example(c * (behind > 0), x)
            gradient = (2 / width * far - pull * point.gradient) * slope
            total = c * behind + far.flatten(1).square().sum(1)
            rows, clean, w, first, second, c, checked, gradient, total = search.drop_fooled(
                rows, clean, w, first, second, c, checked, gradient, total
            )
            if step % check == 0:
                on = total < (1 - ENOUGH) * checked
                rows, clean, w, gradient, c = rows[on], clean[on], w[on], gradient[on], c[on]
                first, second, checked = first[on], second[on], total[on]
            if len(rows) == 0:
                break
            direction, first, second = adam(gradient, first, second, step)
            w = w - self.step_size * direction
        return hit

    def _lower_levels(self, search: Search) -> None:
        """Halves, for each row, the interval in which the lowest level lies."""
        failed = torch.zeros_like(search.x.flatten(1)[:, 0])
        reach = torch.full_like(failed, 2.0)  # more than any distance, in parts of the width
        nearest = search.x.clone()
        for _ in range(self.rounds):
            rows = search.standing()
            if len(rows) == 0:
                return
            level = (failed + reach)[rows] / 2
            before = reach.clone()
            self._stay_below(search, rows, level, nearest, reach)
            # A round that found nothing nearer than its level shows the level to be too low.
            missed = reach[rows] > level
            failed[rows[missed]] = torch.minimum(level, before[rows])[missed]

    def _stay_below(
        self, search: Search, rows: Tensor, level: Tensor, nearest: Tensor, reach: Tensor
    ) -> None:
        """Adam until the goal is reached below `level`; updates the nearest inputs found."""
        width, loss = self.threat.width, search.row_loss(margin)
        clean, w = search.x[rows], self._from_bounds(nearest[rows])
        first = second = torch.zeros_like(w)
        c = torch.full_like(level, self.c)
        change = max(self.steps // _CHANGES, 1)
        for step in range(1, self.steps + 1):
            x, slope = self._to_bounds(w, clean)
            point = search.at(x, rows, loss)
            far = (x - clean) / width
            length = norm(far, float("inf"))
            nearer = point.reached & (length < reach[rows])
            nearest[rows[nearer]], reach[rows[nearer]] = x[nearer], length[nearer]
            if step % change == 0:
                c = torch.where(point.reached, c / 2, 2 * c)
            pull = per_example(c * (point.value < 0), x)
            over = far.sign() * (far.abs() > per_example(level, x))
            gradient = (over / width - pull * point.gradient) * slope
            on = ~(point.reached & (length <= level)) & ~search.fooled[rows]
            rows, clean, w, level, c = rows[on], clean[on], w[on], level[on], c[on]
            first, second, gradient = first[on], second[on], gradient[on]
            if len(rows) == 0:
                return
            direction, first, second = adam(gradient, first, second, step)
            w = w - self.step_size * (1 - step / self.steps) * direction

    def _from_bounds(self, x: Tensor) -> Tensor:
        low, width = self.threat.bounds[0], self.threat.width
        return torch.atanh(((x - low) * (2 / width) - 1) * _INSIDE)

    def _to_bounds(self, w: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
        """The input at `w`, and its derivative there."""
        (low, high), width = self.threat.bounds, self.threat.width
        height = torch.tanh(w)
        # Shifted so that the clean input comes from where `_from_bounds` sends it, exactly.
        home = torch.tanh(self._from_bounds(clean))
        x = (clean + width / 2 * (height - home)).clamp(low, high)
        return x, width / 2 * (1 - height.square())
