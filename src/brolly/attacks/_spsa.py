"""Simultaneous perturbation stochastic approximation."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor, nn

from .._draws import Draws
from ..losses import margin
from ..threats import Threat
from ._adam import adam
from ._attack import Attack
from ._engine import Search
from ._estimates import estimate_gradient
from ._nes import check_samples


@dataclasses.dataclass(frozen=True)
class SPSA(Attack):
    """Adam on a gradient of the margin guessed from scores (Uesato et al. 2018).

    As NES, with directions whose entries are all 1 or -1 (Spall 1992), the margin as the loss, and
    steps of Adam that are projected. Points beside the iterate are cut to the bounds before the
    model is asked.

    Cost: at most `queries` forward passes, in steps of `samples + 1`, and one for the clean input;
    none once the example is fooled.

    Args:
        threat: Linf or L2.
        queries: Most queries per example; 12,900, for the paper's 100 steps.
        samples: Queries per guess, an even number; 128, where the paper takes up to 8,192.
        size: Size of the entries of a direction, as a part of the width of the bounds; 0.01 in the
            paper.
        step: Adam's learning rate, as a part of the width of the bounds; 0.01 in the paper.

    Raises:
        ValueError: `samples` is odd or below 2, `queries` do not suffice for one step, or `size` or
            `step` is not above 0.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.SPSA(brolly.Linf(0.1), queries=258)(model, x, y).cost.backwards
        0
    """

    threat: Threat
    _: dataclasses.KW_ONLY
    queries: int = 12_900
    samples: int = 128
    size: float = 0.01
    step: float = 0.01

    kinds: ClassVar[tuple[str, ...]] = ("linf", "l2")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_samples(self.queries, self.samples)
        if not (self.size > 0 and self.step > 0):
            raise ValueError(f"size is {self.size}, step is {self.step}; expected more than 0")

    @property
    def name(self) -> str:
        return "spsa"

    def begin(
        self, model: nn.Module, x: Tensor, y: Tensor, target: Tensor | None, draws: Draws
    ) -> Search:
        # The points beside an iterate may lie outside the ball.
        return Search(model, self.threat, x, y, target, draws, roams=True)

    def search(self, search: Search) -> None:
        rows, loss, width = search.standing(), search.row_loss(margin), self.threat.width
        x = search.x[rows]
        first, second = torch.zeros_like(search.x), torch.zeros_like(search.x)
        for step in range(self.queries // (self.samples + 1)):
            rows, x, gradient = estimate_gradient(
                search, rows, x, loss, search.draws.fold(step),
                size=self.size * width, pairs=self.samples // 2, directions=_signs,
            )  # fmt: skip
            if len(rows) == 0:
                return
            # In units of the width, so that Adam's floor means the same for all bounds.
            way, first[rows], second[rows] = adam(
                gradient * width, first[rows], second[rows], step + 1
            )
            x = self.threat.project(x + self.step * width * way, search.x[rows])
            search.logits(x, rows)


def _signs(draws: Draws, like: Tensor) -> Tensor:
    return torch.where(draws.uniform(like) < 0.5, -1.0, 1.0).to(like.dtype)
