"""Activation functions on bounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._certificate import Unsupported
from .._tensor import Interval
from ._common import register, rounded, steps

#: Roundings inside an activation function, relative to its argument, its value and 1.
_ACTIVATION = 16


def _activation(input: Interval, lower: Tensor, upper: Tensor, scale: float = 1.0) -> Interval:
    size = 1 + input.largest() + torch.maximum(lower.abs(), upper.abs())
    return input.widened(lower, upper, input.arithmetic.rounding(_ACTIVATION) * scale * size)


def _clipped(function: Callable[..., Tensor]) -> Callable[..., Interval]:
    """Of a function that cuts values at numbers, which torch rounds first."""

    def rule(input: Interval, *args: Any, **kwargs: Any) -> Interval:
        clipped = steps(function)(input, *args, **kwargs)
        return rounded(clipped, clipped.lower, clipped.upper)

    return rule


def _rising(function: Callable[..., Tensor]) -> Callable[..., Interval]:
    """Of a smooth function that never falls."""

    def rule(input: Interval, *args: Any, **kwargs: Any) -> Interval:
        lower, upper = (
            function(input.lower, *args, **kwargs),
            function(input.upper, *args, **kwargs),
        )
        return _activation(input, lower, upper)

    return rule


def _valley(function: Callable[..., Tensor], bottom: float) -> Callable[..., Interval]:
    """Of a function that falls up to `bottom` and never falls after it."""

    def rule(input: Interval, *args: Any, **kwargs: Any) -> Interval:
        lower, upper = (
            function(input.lower, *args, **kwargs),
            function(input.upper, *args, **kwargs),
        )
        deepest = function(input.lower.new_tensor(bottom), *args, **kwargs)
        around = (input.lower < bottom) & (bottom < input.upper)
        return _activation(
            input, torch.where(around, deepest, torch.minimum(lower, upper)),
            torch.maximum(lower, upper),
        )  # fmt: skip

    return rule


def _gelu(input: Interval, approximate: str = "none") -> Interval:
    bottom = -0.7517915246935645 if approximate == "none" else -0.7524614220710162
    return _valley(F.gelu, bottom)(input, approximate=approximate)


def _leaky_relu(input: Interval, negative_slope: float = 0.01) -> Interval:
    return _prelu(input, input.lower.new_tensor([negative_slope]))


def _prelu(input: Interval, weight: Tensor) -> Interval:
    slope = weight.to(input.lower.dtype)
    lower, upper = F.prelu(input.lower, slope), F.prelu(input.upper, slope)
    around = (input.lower < 0) & (input.upper > 0)  # where the least value may be at the kink
    least = torch.minimum(lower, upper)
    least = torch.where(around, least.clamp_max(0), least)
    return rounded(input, least, torch.maximum(lower, upper))


def _exponential(function: Callable[[Tensor, float], Tensor]) -> Callable[..., Interval]:
    """Of ELU and CELU."""

    def rule(input: Interval, alpha: float = 1.0) -> Interval:
        if alpha <= 0:
            raise Unsupported(f"alpha is {alpha}; interval bounds need a number above 0")
        lower, upper = function(input.lower, alpha), function(input.upper, alpha)
        return _activation(input, lower, upper, max(1.0, alpha, 1 / alpha))

    return rule


def _softplus(input: Interval, beta: float = 1.0, threshold: float = 20.0) -> Interval:
    zero = torch.zeros_like(input.lower)
    lower, upper = (torch.logaddexp(end * beta, zero) / beta for end in (input.lower, input.upper))
    # Beyond the threshold torch returns the argument itself, which is lower by that much.
    return _activation(input, lower - math.exp(-threshold) / abs(beta), upper)


def _abs(input: Interval) -> Interval:
    return input.like(F.relu(input.lower) + F.relu(-input.upper), input.largest())


register(
    {
        "relu": steps(F.relu),
        "relu6": steps(F.relu6),
        "hardtanh": _clipped(F.hardtanh),
        "clamp": _clipped(torch.clamp),
        "clip": _clipped(torch.clamp),
        "clamp_min": _clipped(torch.clamp_min),
        "clamp_max": _clipped(torch.clamp_max),
        "leaky_relu": _leaky_relu,
        "prelu": _prelu,
        "elu": _exponential(F.elu),
        "celu": _exponential(F.celu),
        "selu": _rising(F.selu),
        "sigmoid": _rising(torch.sigmoid),
        "log_sigmoid": _rising(F.logsigmoid),
        "tanh": _rising(torch.tanh),
        "softplus": _softplus,
        "softsign": _rising(F.softsign),
        "hardsigmoid": _rising(F.hardsigmoid),
        "gelu": _gelu,
        "silu": _valley(F.silu, -1.2784645427610738),
        "mish": _valley(F.mish, -1.1924312145154113),
        "hardswish": _valley(F.hardswish, -1.5),
        "abs": _abs,
    }
)
