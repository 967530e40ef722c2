"""Adversarial inputs moved back to the decision boundary."""

from __future__ import annotations

import torch
from torch import Tensor

from ..threats._threat import per_example
from ._engine import Search


def bisect(
    search: Search, rows: Tensor, clean: Tensor, x: Tensor, steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Halves the segment from `clean` to adversarial inputs `x`, with one forward pass a step.

    Returns:
        The rows that still stand, their clean inputs, and their adversarial end of the segment.
    """
    low = torch.zeros_like(x.flatten(1)[:, 0])
    high = torch.ones_like(low)
    for _ in range(steps):
        rows, clean, x, low, high = search.drop_fooled(rows, clean, x, low, high)
        if len(rows) == 0:
            break
        middle = (low + high) / 2
        between = torch.lerp(clean, x, per_example(middle, x))
        reached = search.reached(search.logits(between, rows), rows)
        low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
    return rows, clean, torch.lerp(clean, x, per_example(high, x))
