"""Binary search of the weight between distance and goal."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ._engine import Search

#: A descent that has not lowered its objective by this part since it was last looked at, stops.
ENOUGH = 1e-4

#: Attacks rows with the weight `c` of the goal; returns which rows of the batch reached it.
Solve = Callable[[Tensor, Tensor], Tensor]


def search_constant(search: Search, first: float, searches: int, solve: Solve) -> None:
    """Looks for the smallest `c` of each example with which it reaches the goal.

    `c` grows tenfold until the goal is reached, then halves the interval that is left (Carlini &
    Wagner 2017, as in their program).
    """
    c = torch.full_like(search.x.flatten(1)[:, 0], first)
    low, high = torch.zeros_like(c), torch.full_like(c, torch.inf)
    for _ in range(searches):
        rows = search.standing()
        if len(rows) == 0:
            return
        hit = solve(rows, c[rows])
        high, low = torch.where(hit, c, high), torch.where(hit, low, c)
        c = torch.where(high.isfinite(), (low + high) / 2, 10 * c)
