"""Projected ascent inside a threat."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .._untouched import input_gradient
from ._threat import Threat


def climb(
    threat: Threat,
    loss: Callable[[Tensor], Tensor],
    clean: Tensor,
    start: Tensor,
    *,
    steps: int,
    step: float,
) -> Tensor:
    """The last point of `x <- P(x + step * ascend(grad loss(x)))`.

    Args:
        threat: What to stay in.
        loss: Maps inputs `(batch, ...)` to their losses `(batch,)`.
        clean: Centre of the threat, `(batch, ...)`.
        start: Where to begin, `(batch, ...)`.
        steps: All are taken, for all examples.
        step: Length of a step in input units.
    """
    x = start
    for _ in range(steps):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            gradient = input_gradient(loss(x), x)
        x = threat.project(x.detach() + step * threat.ascend(gradient), clean)
    return x
