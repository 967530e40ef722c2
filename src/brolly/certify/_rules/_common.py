"""What rules share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._arithmetic import TINY
from .._tensor import RULES, Interval, Rule


def register(functions: dict[str, Callable[..., Any]], several: bool = False) -> None:
    """Enters rules under the names of their operations."""
    RULES.update({name: Rule(function, several) for name, function in functions.items()})


def rounded(like: Interval, lower: Tensor, upper: Tensor) -> Interval:
    """Bounds of what is computed from values like these and numbers, rounding at most twice."""
    slack = like.arithmetic.rounding(2) * torch.maximum(lower.abs(), upper.abs())
    return like.widened(lower, upper, slack)


def scaled(input: Interval, factor: Tensor | float, shift: Tensor | float) -> Interval:
    """`factor * input + shift`, where one of them does nothing."""
    reached = input.lower * factor, input.upper * factor
    lower, upper = torch.minimum(*reached), torch.maximum(*reached)
    # The constant may be a Python number, which torch rounds first.
    size = torch.maximum(lower.abs(), upper.abs()) + abs(shift)
    lower, upper, slack = lower + shift, upper + shift, input.arithmetic.rounding(2) * size
    ball = input.ball and input.ball.scaled(factor, shift, slack + TINY)
    return input.widened(lower, upper, slack, ball)


def steps(function: Callable[..., Tensor]) -> Callable[..., Interval]:
    """Of a function that never falls and only chooses values, so that nothing rounds."""

    def rule(input: Interval, *args: Any, **kwargs: Any) -> Interval:
        return input.like(
            function(input.lower, *args, **kwargs), function(input.upper, *args, **kwargs)
        )

    return rule


def ends(value: Interval | Tensor, like: Interval) -> tuple[Tensor, Tensor]:
    """Both bounds; those of a constant are its values."""
    if isinstance(value, Interval):
        return value.lower, value.upper
    known = value.to(like.lower.dtype)
    return known, known


def constant(value: Tensor | float, like: Interval) -> Tensor | float:
    """In the numbers that the bounds of `like` are computed in."""
    return value.to(like.lower.dtype) if isinstance(value, Tensor) else float(value)
