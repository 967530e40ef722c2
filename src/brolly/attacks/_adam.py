"""Adam's direction, entry by entry, so that rows do not touch each other."""

from __future__ import annotations

import torch
from torch import Tensor

# Kingma & Ba 2015, the defaults.
_FIRST, _SECOND, _FLOOR = 0.9, 0.999, 1e-8


def adam(gradient: Tensor, first: Tensor, second: Tensor, step: int) -> tuple[Tensor, ...]:
    """The direction of a step (Kingma & Ba 2015), and both moments after it.

    Args:
        gradient: Of what is to fall.
        first: Mean of the gradients, 0 at the beginning.
        second: Mean of their squares, 0 at the beginning.
        step: Number of the step, from 1.
    """
    first = torch.lerp(gradient, first, _FIRST)
    second = torch.lerp(gradient.square(), second, _SECOND)
    scale = (second / (1 - _SECOND**step)).sqrt().add_(_FLOOR)
    return first / (1 - _FIRST**step) / scale, first, second
