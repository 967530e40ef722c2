"""Auto-PGD in the L1 ball: sparse steps, from a wide ball to the narrow one."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..threats import Threat
from ..threats._threat import per_example
from ._engine import RowLoss, Search

# Croce & Hein 2021, "Mind the box", section 3.3 and algorithm 1.
_RADII, _PARTS = (3.0, 2.0, 1.0), (0.3, 0.3, 0.4)
_PERIOD, _THINNING, _SHRINK, _SMALLEST, _SPARSER = 0.04, 1.5, 1.5, 0.1, 0.95


class _Run(NamedTuple):
    """Where the examples that still stand are on their way; the first axis is theirs."""

    rows: Tensor
    clean: Tensor
    x: Tensor
    gradient: Tensor
    best: Tensor
    best_value: Tensor
    best_gradient: Tensor
    size: Tensor  # of a step
    density: Tensor  # part of the entries that a step moves
    changed: Tensor  # entries that differ from the clean input, at the last checkpoint


def ascend_l1(search: Search, loss: RowLoss, steps: int, purpose: int) -> None:
    """One run for the examples that stand, from a random point, through shrinking balls."""
    rows = search.standing()
    if len(rows) == 0:
        return
    clean = search.x[rows]
    noise = search.draws.fold(purpose).of(rows).normal(clean)
    x = clean + noise * search.threat.width
    lengths = [math.ceil(part * steps) for part in _PARTS[:-1]]
    lengths.append(max(steps - sum(lengths), 1))
    for radius, length in zip(_RADII, lengths, strict=True):
        ball = search.threat.with_eps(min(radius * search.threat.eps, _diameter(search)))
        rows, x = _climb(search, loss, ball, rows, ball.project(x, search.x[rows]), length)
        if len(rows) == 0:
            return


def _diameter(search: Search) -> float:
    return search.threat.diameter(search.x.shape[1:])


def _climb(
    search: Search, loss: RowLoss, ball: Threat, rows: Tensor, x: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Rows that still stand after some steps in a ball, and their best points."""
    clean = search.x[rows]
    value, gradient, *_ = search.at(x, rows, loss)
    changed = _count(x, clean)
    run = _Run(
        rows, clean, x, gradient, best=x, best_value=value, best_gradient=gradient,
        size=torch.full_like(value, ball.eps),
        density=changed / x[0].numel() / _THINNING, changed=changed,
    )  # fmt: skip
    period = max(int(_PERIOD * steps), 1)
    for step in range(1, steps + 1):
        run = _Run(*search.drop_fooled(*run))
        if len(run.rows) == 0:
            break
        direction = _sparse_sign(run.gradient, run.density)
        x = ball.project(run.x + per_example(run.size, run.x) * direction, run.clean)
        value, gradient, *_ = search.at(x, run.rows, loss)
        improved = value > run.best_value
        wide = per_example(improved, x)
        run = run._replace(
            x=x,
            gradient=gradient,
            best=torch.where(wide, x, run.best),
            best_value=torch.where(improved, value, run.best_value),
            best_gradient=torch.where(wide, gradient, run.best_gradient),
        )
        if step % period == 0:
            run = _adapt(run, ball)
    run = _Run(*search.drop_fooled(*run))
    return run.rows, run.best


def _adapt(run: _Run, ball: Threat) -> _Run:
    """Where the best point has become sparser: full steps from there; elsewhere smaller steps."""
    changed = _count(run.best, run.clean)
    sparser = changed < _SPARSER * run.changed
    size = torch.where(sparser, ball.eps, (run.size / _SHRINK).clamp_min(_SMALLEST * ball.eps))
    wide = per_example(sparser, run.x)
    return run._replace(
        x=torch.where(wide, run.best, run.x),
        gradient=torch.where(wide, run.best_gradient, run.gradient),
        size=size,
        density=changed / run.x[0].numel() / _THINNING,
        changed=changed,
    )


def _sparse_sign(gradient: Tensor, density: Tensor) -> Tensor:
    """The signs of the largest entries, scaled to an L1 length of 1."""
    flat = gradient.flatten(1)
    entries = flat.shape[1]
    size = flat.abs()
    rank = ((1 - density) * entries).long().clamp(0, entries - 1)
    threshold = size.sort(1).values.gather(1, rank[:, None])
    sign = torch.where(size >= threshold, flat.sign(), 0)
    return (sign / sign.abs().sum(1, keepdim=True).clamp_min(1e-10)).reshape(gradient.shape)


def _count(x: Tensor, clean: Tensor) -> Tensor:
    return (x != clean).flatten(1).sum(1).to(x.dtype)
