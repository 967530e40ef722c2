"""Gradients guessed from scores."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .._draws import Draws
from ..threats._threat import per_example
from ._engine import RowLoss, Search


def estimate_gradient(
    search: Search,
    rows: Tensor,
    x: Tensor,
    loss: RowLoss,
    draws: Draws,
    *,
    size: float,
    pairs: int,
    directions: Callable[[Draws, Tensor], Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean over random directions u of `u (loss(x + size u) - loss(x - size u)) / (2 size)`.

    The points asked for are cut to the bounds. Those inside the ball are candidates like any
    others, and a row that one of them fools is dropped.

    Args:
        search: What to ask.
        rows: Rows that `x` belongs to.
        x: Where to take the gradient.
        loss: Of which function.
        draws: Randomness of all rows of the batch.
        size: Distance from `x`, times the length of a direction.
        pairs: Directions; each costs two forward passes.
        directions: Makes them, with the shape of its second argument.

    Returns:
        The rows that still stand, their `x`, and the estimate.
    """
    gradient = torch.zeros_like(x)
    for pair in range(pairs):
        rows, x, gradient = search.drop_fooled(rows, x, gradient)
        if len(rows) == 0:
            break
        direction = directions(draws.fold(pair).of(rows), x)
        ahead = (x + size * direction).clamp(*search.threat.bounds)
        behind = (x - size * direction).clamp(*search.threat.bounds)
        rise = loss(search.logits(ahead, rows), rows) - loss(search.logits(behind, rows), rows)
        gradient = gradient + per_example(rise.to(x.dtype).nan_to_num(), x) * direction
    rows, x, gradient = search.drop_fooled(rows, x, gradient)
    return rows, x, gradient / (2 * size * pairs)
