"""Linear layers, convolutions and BatchNorm on bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._arithmetic import TINY
from .._certificate import Unsupported
from .._tensor import RULES, Interval, LinearLayer
from ._common import constant, register


def _batch_norm(
    input: Interval,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
) -> Interval:
    if training or running_mean is None or running_var is None:
        raise Unsupported(
            "batch_norm with statistics of the batch makes examples depend on each other; bounds "
            "need running statistics (track_running_stats=True and eval mode)"
        )
    shape = (-1, *[1] * (input.ndim - 2))
    mean, variance = (constant(part, input) for part in (running_mean, running_var))
    factor = (variance + eps).rsqrt()  # pyright: ignore
    factor = factor if weight is None else factor * constant(weight, input)
    offset = torch.zeros_like(factor) if bias is None else constant(bias, input)
    factor, mean, offset = (part.reshape(shape) for part in (factor, mean, offset))  # pyright: ignore
    reached = input.lower * factor, input.upper * factor
    shift = offset - mean * factor
    lower, upper = torch.minimum(*reached) + shift, torch.maximum(*reached) + shift
    size = (input.largest() + mean.abs()) * factor.abs() + offset.abs()
    slack = input.arithmetic.rounding(8) * size
    ball = input.ball and input.ball.scaled(factor, shift, slack + TINY)
    return input.widened(lower, upper, slack, ball)


def _batch_norm_of_aten(
    input: Interval, weight: Tensor | None, bias: Tensor | None, mean: Tensor | None,
    variance: Tensor | None, training: bool, momentum: float, eps: float, cudnn: bool,
) -> Interval:  # fmt: skip
    return _batch_norm(input, mean, variance, weight, bias, training, momentum, eps)


def _linear_layer(
    operation: Callable[..., Tensor], terms: Callable[[Tensor], int], ball: bool = True
) -> Callable[..., Interval]:
    """Of `operation(input, weight, bias, ...)`, linear in its input."""

    def rule(
        input: Interval, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Interval:
        arithmetic, dtype = input.arithmetic, input.lower.dtype
        weight, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
        size, offset = weight.abs(), None
        rounding = arithmetic.product(terms(weight))

        def apply(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            return operation(values, weight, bias, *args, **kwargs)

        center, spread = (input.lower + input.upper) / 2, (input.upper - input.lower) / 2
        noise = rounding * input.largest() if rounding else torch.zeros_like(spread)
        offset = None if bias is None else rounding * bias.abs()
        middle, reach = apply(center, weight, bias), apply(spread + noise, size, offset)
        lower, upper = arithmetic.widened(middle - reach, middle + reach, torch.zeros_like(reach))
        own = input.ball.reach(weight) if ball and input.ball else None
        if own is not None and input.ball is not None:
            middle = apply(input.ball.center, weight, bias)
            reach = apply(input.ball.error + noise, size, offset)
            reach = reach + own.reshape(-1, *[1] * (weight.ndim - 2))
            low, high = arithmetic.widened(middle - reach, middle + reach, torch.zeros_like(reach))
            lower, upper = torch.maximum(lower, low), torch.minimum(upper, high)
        result = input.like(lower, upper)
        if operation is F.linear and input.ndim == 2:
            result.origin = LinearLayer(input.lower, input.upper, input.ball, weight, bias)
        return result

    return rule


def _matmul(input: Any, other: Any) -> Interval:
    if isinstance(input, Interval) and isinstance(other, Interval):
        raise Unsupported("interval bounds do not understand products of two tensors (matmul) that "
                          "both depend on the input")  # fmt: skip
    if isinstance(other, Interval):  # A @ x = (x^T A^T)^T
        if other.ndim < 2 or input.ndim < 2:
            raise Unsupported("interval bounds do not understand matmul of vectors")
        turned = RULES["transpose"].function(other, -1, -2)
        return RULES["transpose"].function(_matmul(turned, input.transpose(-1, -2)), -1, -2)
    if other.ndim == 2:
        return RULES["linear"].function(input, other.T)
    if other.ndim < 2:
        raise Unsupported("interval bounds do not understand matmul of vectors")
    return _linear_layer(lambda x, w, _: x @ w, lambda w: w.shape[-2], False)(input, other)


def _outputs_first(weight: Tensor) -> int:
    return weight[0].numel()


def _outputs_second(weight: Tensor) -> int:
    return weight[:, 0].numel()


register(
    {
        "linear": _linear_layer(F.linear, _outputs_first),
        "conv1d": _linear_layer(F.conv1d, _outputs_first),
        "conv2d": _linear_layer(F.conv2d, _outputs_first),
        "conv3d": _linear_layer(F.conv3d, _outputs_first),
        "conv_transpose1d": _linear_layer(F.conv_transpose1d, _outputs_second, False),
        "conv_transpose2d": _linear_layer(F.conv_transpose2d, _outputs_second, False),
        "conv_transpose3d": _linear_layer(F.conv_transpose3d, _outputs_second, False),
    }
)
register({"matmul": _matmul, "mm": _matmul, "__rmatmul__": lambda b, a: _matmul(a, b)}, True)

register({"batch_norm": _batch_norm, "_aten_batch_norm": _batch_norm_of_aten})
