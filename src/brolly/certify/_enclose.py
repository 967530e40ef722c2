"""From a threat to bounds of the input."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..threats import L0, L1, L2, Linf, Masked, Threat
from ..threats._threat import ROUNDING
from ._arithmetic import Arithmetic
from ._ball import Ball
from ._certificate import Unsupported
from ._tensor import Interval


def enclose(threat: Threat, x: Tensor, arithmetic: Arithmetic) -> Interval:
    """All inputs that the threat allows in the place of `x`.

    Bounds that prove also take in what `threat.contains` tolerates as rounding, so that no input
    that counts as inside the threat is left out.
    """
    inner = threat.threat if isinstance(threat, Masked) else threat
    if type(inner) not in (Linf, L2, L1, L0):
        raise Unsupported(
            f"interval bounds do not understand the threat {threat}; they do understand Linf, L2, "
            "L1, L0, and these Masked"
        )
    wide = x.to(arithmetic.dtype)
    edge = ROUNDING * threat.width if arithmetic.unit else 0.0
    spare = threat.slack(x.shape[1:]) if arithmetic.unit else 0.0
    low, high = threat.bounds
    box = inner if isinstance(inner, Linf) else Linf(_radius(inner), inner.bounds)
    lower = (box.project(torch.full_like(wide, low), wide) - spare).clamp_min(low - edge)
    upper = (box.project(torch.full_like(wide, high), wide) + spare).clamp_max(high + edge)
    scale = torch.ones_like(wide)
    if threat.mask is not None:
        free = threat.mask.to(x.device).expand_as(wide)
        lower, upper = torch.where(free, lower, wide), torch.where(free, upper, wide)
        scale = free.to(wide.dtype)
    ball = None
    if not isinstance(inner, Linf) and math.isfinite(inner.eps):
        ball = Ball(
            order=inner.order,
            eps=inner.eps if isinstance(inner, L0) else inner.eps + spare,
            center=wide,
            scale=scale,
            error=torch.zeros_like(wide),
            below=wide - lower,
            above=upper - wide,
        )
    return Interval(lower, upper, arithmetic, x.dtype, ball)


def _radius(threat: Threat) -> float:
    """How far a single value may move."""
    if isinstance(threat, L0):
        return threat.width if threat.eps >= 1 else 0.0
    return min(threat.eps, threat.width)
