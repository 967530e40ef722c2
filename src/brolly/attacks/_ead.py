"""Elastic-net attack."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor

from ..losses import margin
from ..threats._threat import per_example
from ._attack import MinimalAttack, check_counts
from ._constant import ENOUGH, search_constant
from ._engine import Search


@dataclasses.dataclass(frozen=True)
class EAD(MinimalAttack):
    r"""Elastic-net attack (Chen et al. 2018): the nearest input in L1 by shrinking steps.

    .. math:: \min_\delta c \max(m(x + \delta), 0) + \|\delta\|_2^2 + \beta \|\delta\|_1

    where `m` is how far the label is ahead. Accelerated steps (FISTA) shrink every change by
    `beta`, so most stay 0; a binary search finds the `c` of each example. A search stops where
    it does not get on.

    Cost: at most `rounds * steps` backward passes and twice as many forward passes.

    Args:
        threat: L1, and how far to look.
        nearest: Whether to go on after the first adversarial input.
        steps: Gradient steps per value of c; 1000 in the paper.
        rounds: Values of c; 9 in the paper.
        c: Where the search of c begins; 0.001 in the paper.
        beta: Shrinkage per step, as a part of the width of the bounds; 0.01 in the paper's program.
        step_size: Of the gradient steps; 0.01 in the paper. It falls to 0 along a square root.

    Raises:
        ValueError: A count is below 1, or a number is not above 0.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.EAD(brolly.L1(float("inf")), steps=50)(model, x, y).distance.shape
        torch.Size([2])
    """

    _: dataclasses.KW_ONLY
    steps: int = 1000
    rounds: int = 9
    c: float = 1e-3
    beta: float = 0.01
    step_size: float = 0.01

    kinds: ClassVar[tuple[str, ...]] = ("l1",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(steps=self.steps, rounds=self.rounds)
        for name in ("c", "beta", "step_size"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected more than 0")

    @property
    def name(self) -> str:
        return "ead"

    def search(self, search: Search) -> None:
        search_constant(search, self.c, self.rounds, lambda *at: self._descend(search, *at))

    def _descend(self, search: Search, rows: Tensor, c: Tensor) -> Tensor:
        """Steps with the weight `c` of the goal; returns which rows of the batch reached it."""
        width, bounds, loss = self.threat.width, self.threat.bounds, search.row_loss(margin)
        hit = torch.zeros_like(search.fooled)
        clean = x = ahead = search.x[rows]
        checked = torch.full_like(c, torch.inf)
        check = max(self.steps // 10, 1)
        for step in range(self.steps):
            point = search.at(ahead, rows, loss)
            behind, gradient = (-point.value).clamp_min(0), point.gradient
            rows, clean, x, ahead, c, checked, behind, gradient = search.drop_fooled(
                rows, clean, x, ahead, c, checked, behind, gradient
            )
            if step % check == check - 1:
                far = ((ahead - clean) / width).flatten(1)
                total = c * behind + far.square().sum(1) + self.beta * far.abs().sum(1)
                on = total < (1 - ENOUGH) * checked
                rows, clean, x, ahead = rows[on], clean[on], x[on], ahead[on]
                c, checked, behind, gradient = c[on], total[on], behind[on], gradient[on]
            if len(rows) == 0:
                break
            size = self.step_size * math.sqrt(1 - step / self.steps)
            pull = per_example(c * (behind > 0), x) * width**2
            change = ahead - clean - size * (2 * (ahead - clean) - pull * gradient)
            shrunk = change.sign() * (change.abs() - self.beta * width).clamp_min(0)
            last, x = x, (clean + shrunk).clamp(*bounds)
            reached = search.reached(search.logits(x, rows), rows)
            hit[rows[reached]] = True
            rows, clean, x, last, c, checked = search.drop_fooled(rows, clean, x, last, c, checked)
            if len(rows) == 0:
                break
            ahead = (x + step / (step + 3) * (x - last)).clamp(*bounds)
        return hit
