"""Sums, products and extremes of values on bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._tensor import Interval
from ._common import constant, ends, register, rounded, scaled


def _add(input: Any, other: Any, *, alpha: float = 1) -> Interval:
    if alpha != 1:
        other = (
            _mul(other, alpha) if isinstance(other, Interval) else constant(other, input) * alpha
        )
    if not isinstance(other, Interval):
        return scaled(input, 1.0, constant(other, input))
    if not isinstance(input, Interval):
        return scaled(other, 1.0, constant(input, other))
    lower, upper = input.lower + other.lower, input.upper + other.upper
    return rounded(input, lower, upper)


def _sub(input: Any, other: Any, *, alpha: float = 1) -> Interval:
    # As a number of the right kind first: unsigned integers have no negative.
    other = _neg(other) if isinstance(other, Interval) else -constant(other, input)
    return _add(input, other, alpha=alpha)


def _neg(input: Interval) -> Interval:
    ball = input.ball and input.ball.scaled(-1.0, 0.0, torch.zeros_like(input.lower))
    return input.like(-input.upper, -input.lower, ball)


def _mul(input: Any, other: Any) -> Interval:
    if not isinstance(other, Interval):
        return scaled(input, constant(other, input), 0.0)
    if not isinstance(input, Interval):
        return scaled(other, constant(input, other), 0.0)
    corners = [a * b for a in (input.lower, input.upper) for b in (other.lower, other.upper)]
    low = torch.minimum(torch.minimum(corners[0], corners[1]), torch.minimum(*corners[2:]))
    high = torch.maximum(torch.maximum(corners[0], corners[1]), torch.maximum(*corners[2:]))
    return rounded(input, low, high)


def _div(input: Interval, other: Tensor | float) -> Interval:
    return scaled(input, 1 / constant(other, input), 0.0)


def _extreme(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Interval]:
    def rule(input: Any, other: Any) -> Interval:
        one = input if isinstance(input, Interval) else other
        (low, high), (other_low, other_high) = (ends(value, one) for value in (input, other))
        return rounded(one, function(low, other_low), function(high, other_high))

    return rule


register({"add": _add, "sub": _sub, "mul": _mul, "__rsub__": lambda b, a: _sub(a, b)}, True)
register({"subtract": _sub, "multiply": _mul, "rsub": lambda b, a: _sub(a, b)}, True)
register({"maximum": _extreme(torch.maximum), "minimum": _extreme(torch.minimum)}, True)
register({"div": _div, "true_divide": _div, "divide": _div, "neg": _neg})
