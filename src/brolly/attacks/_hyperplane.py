"""The nearest point of a hyperplane inside the bounds."""

from __future__ import annotations

import torch
from torch import Tensor

from ..threats import Threat


def step_to_hyperplane(x: Tensor, normal: Tensor, offset: Tensor, threat: Threat) -> Tensor:
    """The shortest step, in the norm of the threat, that raises `normal . x` by `offset`.

    The bounds hold; where they leave no such step, it is the one that comes nearest. (Croce & Hein
    2020, "Minimally distorted adversarial examples", section 2.2.)

    In Linf and L2 each entry moves by `min(t * rate, room)`, with rate 1 or its weight, so what is
    gained is a concave, piecewise linear function of t. Newton's method from t = 0 stays below the
    solution and ends exactly in it, mostly after two to five rounds; no sorting is needed.

    Args:
        x: Points, `(rows, ...)`.
        normal: Normals of the hyperplanes, `(rows, ...)`.
        offset: What to gain, `(rows,)`; negative where it is to fall.
        threat: Norm and bounds.
    """
    direction = torch.where(offset < 0, -1.0, 1.0).to(x.dtype)[:, None] * normal.flatten(1)
    flat = x.flatten(1)
    low, high = threat.bounds
    room = torch.where(direction > 0, high - flat, flat - low).clamp_min_(0)
    weight, wanted = direction.abs(), offset.abs()
    if threat.order == 1:
        size = _spend_by_weight(weight, room, wanted)
    else:
        size = _spend_evenly(weight, room, wanted, rate=weight if threat.order == 2 else None)
    return (size * direction.sign()).reshape(x.shape)


def _spend_evenly(weight: Tensor, room: Tensor, wanted: Tensor, rate: Tensor | None) -> Tensor:
    """`min(t * rate, room)` with the t at which `weight` times it adds up to what is wanted."""
    gain = weight if rate is None else weight * rate  # of each entry per t, while it has room
    limit = room if rate is None else room / rate.clamp_min(1e-30)
    capacity = weight * room
    slope = gain.sum(1)
    t = wanted / slope.clamp_min(1e-30)
    while True:
        full = limit < t[:, None]
        slope = gain.masked_fill(full, 0).sum(1)
        left = wanted - capacity.masked_fill(~full, 0).sum(1)
        further = torch.where(slope > 0, left / slope.clamp_min(1e-30), t)
        if not (further > t * (1 + 1e-6)).any():
            break
        t = torch.maximum(t, further)
    t = t[:, None]
    return torch.minimum(t if rate is None else t * rate, room)


def _spend_by_weight(weight: Tensor, room: Tensor, wanted: Tensor) -> Tensor:
    """The entries of largest weight use all their room, until what is wanted is reached."""
    order = weight.argsort(dim=1, descending=True, stable=True)
    weights, rooms = weight.gather(1, order), room.gather(1, order)
    gains = weights * rooms
    before = gains.cumsum(1) - gains
    left = (wanted[:, None] - before).clamp_min(0)
    size = torch.minimum(left / weights.clamp_min(1e-30), rooms)
    return torch.zeros_like(size).scatter_(1, order, size)
