"""HopSkipJump."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor

from ..threats._threat import per_example
from ._attack import MinimalAttack, check_counts
from ._decisions import Decisions, adversarial_start, to_boundary
from ._engine import Search

#: Halvings of a step before the boundary point is kept for another guess.
_HALVINGS = 20


@dataclasses.dataclass(frozen=True)
class HopSkipJump(MinimalAttack):
    """Nearest adversarial input from decisions alone (Chen et al. 2020).

    From an adversarial input: back to the decision boundary by bisection, a guess of its normal
    from the decisions at random points around, a step along it that is halved until it ends in
    adversarial ground, and again. The n-th guess takes sqrt(n) times as many points as the first.

    Cost: at most `queries` forward passes, and one for the clean input.

    Args:
        threat: L2 or Linf, and how far to look.
        nearest: Whether to go on after the first adversarial input inside the threat.
        queries: Most queries per example; 5,000, where the paper goes up to 25,000.
        samples: Points of the first guess; 100 in the paper.
        most_samples: Points of a guess at most; 10,000 in the paper's code.
        starts: Adversarial inputs to begin with, `(count, ...)`, tried in their order before noise;
            with a target give one of each class that is aimed at.

    Raises:
        ValueError: A count is below 1; when called, the starts do not fit the inputs.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> attack = brolly.HopSkipJump(brolly.L2(float("inf")), queries=200)
        >>> attack(model, x, y).cost.backwards
        0
    """

    _: dataclasses.KW_ONLY
    queries: int = 5000
    samples: int = 100
    most_samples: int = 10_000
    starts: Tensor | None = dataclasses.field(default=None, repr=False, compare=False)

    kinds: ClassVar[tuple[str, ...]] = ("l2", "linf")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(queries=self.queries, samples=self.samples, most_samples=self.most_samples)

    @property
    def name(self) -> str:
        return "hop-skip-jump"

    def search(self, search: Search) -> None:
        threat, decisions = self.threat, Decisions(search, self.queries)
        values = math.prod(search.x.shape[1:])
        # The paper's tolerance, but 2^-10 where there are few values.
        halvings = max(math.ceil(math.log2(values) * (1.5 if threat.order == 2 else 2)), 10)
        rows, x = adversarial_start(decisions, self.starts)
        draws, step = search.draws.fold(1), 0
        rows, x = to_boundary(decisions, rows, x, halvings)
        while len(rows) > 0:
            step += 1
            distance = threat.distance(x, search.x[rows])
            count = min(round(self.samples * math.sqrt(step)), self.most_samples)
            # sqrt(d) * theta of the paper in L2, d * theta in Linf: both are 1 / d.
            rows, x, distance, normal = self._normal(
                decisions, rows, x, distance, distance / values, count, draws.fold(step)
            )
            x = self._jump(decisions, rows, x, normal, distance / math.sqrt(step))
            rows, x = to_boundary(decisions, rows, x, halvings)

    def _normal(self, decisions, rows, x, distance, size, count, draws):
        """The direction into adversarial ground, from the decisions at `count` points around."""
        summed, weighted = torch.zeros_like(x), torch.zeros_like(x)
        votes = torch.zeros_like(distance)
        for number in range(count):
            rows, x, distance, size, summed, weighted, votes = decisions.drop_done(
                rows, x, distance, size, summed, weighted, votes
            )
            if len(rows) == 0:
                break
            noise = draws.fold(number).of(rows).normal(x)
            noise = noise / per_example(noise.flatten(1).norm(dim=1), x)
            tried = (x + per_example(size, x) * noise).clamp_(*self.threat.bounds)
            vote = torch.where(decisions(tried, rows), 1.0, -1.0).to(x.dtype)
            moved = tried - x
            summed, votes = summed + moved, votes + vote
            weighted = weighted + per_example(vote, x) * moved
        mean = votes / count
        # The mean vote as a baseline lowers the variance; where all agree nothing would be left.
        baseline = torch.where(mean.abs() < 1, mean, 0)
        normal = self.threat.ascend(weighted - per_example(baseline, x) * summed)
        return decisions.drop_done(rows, x, distance, normal)

    def _jump(
        self, decisions: Decisions, rows: Tensor, x: Tensor, normal: Tensor, size: Tensor
    ) -> Tensor:
        """A step from the boundary, the longest of `size`, `size / 2`, ... that is adversarial."""
        landed, waiting = x.clone(), torch.arange(len(rows), device=x.device)
        for _ in range(_HALVINGS):
            _, waiting = decisions.drop_done(rows[waiting], waiting)
            if len(waiting) == 0:
                break
            moved = x[waiting] + per_example(size[waiting], x) * normal[waiting]
            tried = moved.clamp_(*self.threat.bounds)
            hit = decisions(tried, rows[waiting])
            landed[waiting[hit]] = tried[hit]
            waiting, size = waiting[~hit], size / 2
        return landed
