"""Natural evolution strategies."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor, nn

from .._draws import Draws
from ..losses import cross_entropy
from ..threats import Threat
from ._attack import Attack, check_counts
from ._engine import Search
from ._estimates import estimate_gradient


@dataclasses.dataclass(frozen=True)
class NES(Attack):
    """Ascent with momentum along a gradient guessed from scores (Ilyas et al. 2018).

    The gradient of the cross-entropy is the mean over Gaussian directions, each taken forwards and
    backwards, of the change of the loss along it; the rest is projected ascent. Points beside the
    iterate are cut to the bounds before the model is asked.

    Cost: at most `queries` forward passes, in steps of `samples + 1`, and one for the clean input;
    none once the example is fooled.

    Args:
        threat: Linf or L2.
        queries: Most queries per example; 10,000, where the paper allows up to a million.
        samples: Queries per guess, an even number; 50 in the paper.
        size: Standard deviation of the directions, as a part of the width of the bounds; 0.001 in
            the paper.
        step: Length of a step as a part of eps; 1/5, which is the paper's 0.01 at eps 0.05.
        momentum: Share of the last direction; 0.9 in the paper's code.

    Raises:
        ValueError: `samples` is odd or below 2, `queries` do not suffice for one step, `size` or
            `step` is not above 0, or `momentum` not in [0, 1).

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.NES(brolly.Linf(0.1), queries=102)(model, x, y).cost.backwards
        0
    """

    threat: Threat
    _: dataclasses.KW_ONLY
    queries: int = 10_000
    samples: int = 50
    size: float = 0.001
    step: float = 0.2
    momentum: float = 0.9

    kinds: ClassVar[tuple[str, ...]] = ("linf", "l2")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_samples(self.queries, self.samples)
        if not (self.size > 0 and self.step > 0):
            raise ValueError(f"size is {self.size}, step is {self.step}; expected more than 0")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum is {self.momentum}; expected 0 or more and below 1")

    @property
    def name(self) -> str:
        return "nes"

    def begin(
        self, model: nn.Module, x: Tensor, y: Tensor, target: Tensor | None, draws: Draws
    ) -> Search:
        # The points beside an iterate may lie outside the ball.
        return Search(model, self.threat, x, y, target, draws, roams=True)

    def search(self, search: Search) -> None:
        rows, loss, threat = search.standing(), search.row_loss(cross_entropy), self.threat
        x, velocity = search.x[rows], torch.zeros_like(search.x)
        for step in range(self.queries // (self.samples + 1)):
            rows, x, gradient = estimate_gradient(
                search, rows, x, loss, search.draws.fold(step),
                size=self.size * threat.width, pairs=self.samples // 2, directions=Draws.normal,
            )  # fmt: skip
            if len(rows) == 0:
                return
            velocity[rows] = torch.lerp(gradient, velocity[rows], self.momentum)
            moved = x + self.step * threat.eps * threat.ascend(velocity[rows])
            x = threat.project(moved, search.x[rows])
            search.logits(x, rows)


def check_samples(queries: int, samples: int) -> None:
    """Raises ValueError where queries do not make up pairs, or not one step."""
    check_counts(queries=queries, samples=samples)
    if samples % 2:
        raise ValueError(f"samples is {samples}; expected an even number, as they come in pairs")
    if queries <= samples:
        raise ValueError(
            f"queries is {queries}, and a step takes {samples + 1}; expected as many at least, or "
            "fewer samples"
        )
