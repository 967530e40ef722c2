"""Auto-PGD: projected gradient ascent that chooses its own step sizes."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from .._draws import Draws
from ..losses import cross_entropy, dlr, targeted_dlr
from ..threats import Threat
from ..threats._threat import per_example
from ._apgd_l1 import ascend_l1
from ._attack import Attack, check_counts
from ._engine import RowLoss, Search

# Croce & Hein 2020, section 3.1 and table 1 of the appendix.
_MOMENTUM = 0.25  # the paper's 1 - alpha
_ENOUGH_RISES = 0.75
_FIRST_PERIOD, _SHRINK, _SHORTEST_PERIOD = 0.22, 0.03, 0.06


def checkpoints(steps: int) -> list[int]:
    """Iterations at which the step size is judged, `w_j = ceil(p_j * steps)`.

    `p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06)`.

    Example:
        >>> from brolly.attacks._apgd import checkpoints
        >>> checkpoints(100)
        [0, 22, 41, 57, 70, 80, 87, 93, 99]
    """
    parts = [0.0, _FIRST_PERIOD]
    while parts[-1] <= 1:
        parts.append(parts[-1] + max(parts[-1] - parts[-2] - _SHRINK, _SHORTEST_PERIOD))
    return [math.ceil(round(part * steps, 9)) for part in parts[:-1]]


class _Run(NamedTuple):
    """Where the examples that still stand are on their way; the first axis is theirs."""

    rows: Tensor
    clean: Tensor
    x: Tensor
    value: Tensor
    gradient: Tensor
    previous: Tensor
    best: Tensor
    best_value: Tensor
    best_gradient: Tensor
    size: Tensor  # of a step
    rises: Tensor  # steps since the last checkpoint that raised the loss
    checked_value: Tensor  # best value at the last checkpoint
    halved: Tensor  # whether the last checkpoint halved the step size


def ascend(search: Search, loss: RowLoss, steps: int, purpose: int) -> None:
    """One run of Algorithm 1 for the examples that stand, from a random point of the threat."""
    if search.threat.order == 1:
        ascend_l1(search, loss, steps, purpose)
        return
    threat, rows = search.threat, search.standing()
    if len(rows) == 0:
        return
    clean = search.x[rows]
    x = threat.sample(clean, search.draws.fold(purpose).of(rows))
    value, gradient, *_ = search.at(x, rows, loss)
    run = _Run(
        rows, clean, x, value, gradient,
        previous=x, best=x, best_value=value, best_gradient=gradient,
        size=torch.full_like(value, 2 * threat.eps), rises=torch.zeros_like(value),
        checked_value=value, halved=torch.zeros_like(rows, dtype=torch.bool),
    )  # fmt: skip
    checks = checkpoints(steps)
    for step in range(1, steps + 1):
        run = _Run(*search.drop_fooled(*run))
        if len(run.rows) == 0:
            return
        x = _move(threat, run, momentum=0.0 if step == 1 else _MOMENTUM)
        if step == steps:
            search.logits(x, run.rows)
            return
        value, gradient, *_ = search.at(x, run.rows, loss)
        run = _arrive(run, x, value, gradient)
        if step in checks:
            run = _adapt(run, period=step - checks[checks.index(step) - 1])


def _move(threat: Threat, run: _Run, momentum: float) -> Tensor:
    ahead = threat.project(
        run.x + per_example(run.size, run.x) * threat.ascend(run.gradient), run.clean
    )
    if not momentum:
        return ahead
    blend = run.x + (1 - momentum) * (ahead - run.x) + momentum * (run.x - run.previous)
    return threat.project(blend, run.clean)


def _arrive(run: _Run, x: Tensor, value: Tensor, gradient: Tensor) -> _Run:
    improved = value > run.best_value
    wide = per_example(improved, x)
    return run._replace(
        x=x,
        value=value,
        gradient=gradient,
        previous=run.x,
        best=torch.where(wide, x, run.best),
        best_value=torch.where(improved, value, run.best_value),
        best_gradient=torch.where(wide, gradient, run.best_gradient),
        rises=run.rises + (value > run.value),
    )


def _adapt(run: _Run, period: int) -> _Run:
    """Halves the steps of examples that do not get on, and sends them back to their best point.

    Those are the ones whose loss rose in fewer than 75 % of the steps since the last checkpoint,
    or whose step size and best loss are the same as there.
    """
    stuck = ~run.halved & (run.best_value <= run.checked_value)
    halved = (run.rises < _ENOUGH_RISES * period) | stuck
    wide = per_example(halved, run.x)
    return run._replace(
        x=torch.where(wide, run.best, run.x),
        value=torch.where(halved, run.best_value, run.value),
        gradient=torch.where(wide, run.best_gradient, run.gradient),
        size=torch.where(halved, run.size / 2, run.size),
        rises=torch.zeros_like(run.rises),
        checked_value=run.best_value,
        halved=halved,
    )


class _AutoPGD(Attack):
    """What APGD and APGD-T share."""

    kinds: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    def begin(
        self, model: nn.Module, x: Tensor, y: Tensor, target: Tensor | None, draws: Draws
    ) -> Search:
        # In L1 the search begins in wider balls.
        roams = self.threat.order == 1
        return Search(model, self.threat, x, y, target, draws, roams=roams)


@dataclasses.dataclass(frozen=True)
class APGD(_AutoPGD):
    """Auto-PGD (Croce & Hein 2020): momentum, and a step size that adapts to each example.

    In L1 steps are sparse, and the search begins in balls of three and two times the radius
    (Croce & Hein 2021).

    It has no step size to tune, and with two different losses it is hard to mask gradients from:
    run it with `loss="ce"` and follow with `APGDTargeted`.

    Cost: `steps` forward and backward passes and one forward pass per restart and example that
    still stands, and one forward pass for the clean input.

    Args:
        threat: The perturbations that are allowed.
        loss: `"ce"` (cross-entropy) or `"dlr"` (difference of logits ratio, which does not change
            when logits are scaled). With a target, the cross-entropy of the target is descended,
            or the targeted DLR climbed.
        steps: Gradient steps per restart; 100 in the paper.
        restarts: Independent searches of the examples that still stand.

    Raises:
        ValueError: A count is below 1, or the loss is unknown.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.APGD(brolly.Linf(0.1), loss="dlr")(model, x, y).success.shape
        torch.Size([2])
    """

    _: dataclasses.KW_ONLY
    loss: Literal["ce", "dlr"] = "ce"
    steps: int = 100
    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(steps=self.steps, restarts=self.restarts)
        if self.loss not in ("ce", "dlr"):
            raise ValueError(f"loss is {self.loss!r}; expected 'ce' or 'dlr'")

    @property
    def name(self) -> str:
        return f"apgd-{self.loss}"

    def search(self, search: Search) -> None:
        for restart in range(self.restarts):
            ascend(search, self._row_loss(search), self.steps, purpose=restart)

    def _row_loss(self, search: Search) -> RowLoss:
        if self.loss == "ce":
            return search.row_loss(cross_entropy)
        if search.target is None:
            return search.row_loss(dlr)
        return _towards(search, search.target)


@dataclasses.dataclass(frozen=True)
class APGDTargeted(_AutoPGD):
    """APGD on the targeted DLR loss, one likely wrong class after the other (APGD-T).

    The classes are tried in the order of their logits on the clean input; any wrong prediction
    counts as success. With a target given, that class alone is tried, and counts.

    Cost: as `APGD`, times the number of targets tried.

    Args:
        threat: The perturbations that are allowed.
        steps: Gradient steps per target; 100 in the paper.
        targets: How many classes to try, at most all wrong ones; 9 in the paper.

    Raises:
        ValueError: A count is below 1.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.APGDTargeted(brolly.Linf(0.1))(model, x, y).success.shape
        torch.Size([2])
    """

    _: dataclasses.KW_ONLY
    steps: int = 100
    targets: int = 9

    @property
    def name(self) -> str:
        return "apgd-t"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(steps=self.steps, targets=self.targets)

    def search(self, search: Search) -> None:
        if search.target is not None:
            ascend(search, _towards(search, search.target), self.steps, purpose=0)
            return
        order = search.likely_wrong_classes()
        for rank in range(min(self.targets, order.shape[1])):
            ascend(search, _towards(search, order[:, rank]), self.steps, purpose=rank)


def _towards(search: Search, target: Tensor) -> RowLoss:
    return lambda logits, rows: targeted_dlr(logits, search.y[rows], target[rows])
