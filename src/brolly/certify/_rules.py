"""How each operation acts on bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ._arithmetic import TINY
from ._certificate import Unsupported
from ._tensor import RULES, Interval, LinearLayer, Rule

# Activations -------------------------------------------------------------------------------------

#: Roundings inside an activation function, relative to its argument, its value and 1.
_ACTIVATION = 16


def _activation(input: Interval, lower: Tensor, upper: Tensor, scale: float = 1.0) -> Interval:
    size = 1 + input.largest() + torch.maximum(lower.abs(), upper.abs())
    return input.widened(lower, upper, input.arithmetic.rounding(_ACTIVATION) * scale * size)


def _steps(function: Callable[..., Tensor]) -> Callable[..., Interval]:
    """Of a function that never falls and only chooses values, so that nothing rounds."""

    def rule(input: Interval, *args: Any, **kwargs: Any) -> Interval:
        return input.like(
            function(input.lower, *args, **kwargs), function(input.upper, *args, **kwargs)
        )

    return rule


def _clipped(function: Callable[..., Tensor]) -> Callable[..., Interval]:
    """Of a function that cuts values at numbers, which torch rounds first."""

    def rule(input: Interval, *args: Any, **kwargs: Any) -> Interval:
        clipped = _steps(function)(input, *args, **kwargs)
        return _rounded(clipped, clipped.lower, clipped.upper)

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
    return _rounded(input, least, torch.maximum(lower, upper))


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


def _register(functions: dict[str, Callable[..., Any]], several: bool = False) -> None:
    RULES.update({name: Rule(function, several) for name, function in functions.items()})


_register(
    {
        "relu": _steps(F.relu),
        "relu6": _steps(F.relu6),
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

# Sums and products of values ---------------------------------------------------------------------


def _constant(value: Tensor | float, like: Interval) -> Tensor | float:
    return value.to(like.lower.dtype) if isinstance(value, Tensor) else float(value)


def _scaled(input: Interval, factor: Tensor | float, shift: Tensor | float) -> Interval:
    """`factor * input + shift`, where one of them does nothing."""
    ends = input.lower * factor, input.upper * factor
    lower, upper = torch.minimum(*ends), torch.maximum(*ends)
    # The constant may be a Python number, which torch rounds first.
    size = torch.maximum(lower.abs(), upper.abs()) + abs(shift)
    lower, upper, slack = lower + shift, upper + shift, input.arithmetic.rounding(2) * size
    ball = input.ball and input.ball.scaled(factor, shift, slack + TINY)
    return input.widened(lower, upper, slack, ball)


def _add(input: Any, other: Any, *, alpha: float = 1) -> Interval:
    if alpha != 1:
        other = (
            RULES["mul"].function(other, alpha) if isinstance(other, Interval) else other * alpha
        )
    if not isinstance(other, Interval):
        return _scaled(input, 1.0, _constant(other, input))
    if not isinstance(input, Interval):
        return _scaled(other, 1.0, _constant(input, other))
    lower, upper = input.lower + other.lower, input.upper + other.upper
    return _rounded(input, lower, upper)


def _sub(input: Any, other: Any, *, alpha: float = 1) -> Interval:
    return _add(input, _neg(other) if isinstance(other, Interval) else -other, alpha=alpha)


def _neg(input: Interval) -> Interval:
    ball = input.ball and input.ball.scaled(-1.0, 0.0, torch.zeros_like(input.lower))
    return input.like(-input.upper, -input.lower, ball)


def _mul(input: Any, other: Any) -> Interval:
    if not isinstance(other, Interval):
        return _scaled(input, _constant(other, input), 0.0)
    if not isinstance(input, Interval):
        return _scaled(other, _constant(input, other), 0.0)
    corners = [a * b for a in (input.lower, input.upper) for b in (other.lower, other.upper)]
    low = torch.minimum(torch.minimum(corners[0], corners[1]), torch.minimum(*corners[2:]))
    high = torch.maximum(torch.maximum(corners[0], corners[1]), torch.maximum(*corners[2:]))
    return _rounded(input, low, high)


def _div(input: Interval, other: Tensor | float) -> Interval:
    return _scaled(input, 1 / _constant(other, input), 0.0)


def _rounded(like: Interval, lower: Tensor, upper: Tensor) -> Interval:
    """Bounds of what is computed from values like these and numbers, rounding at most twice."""
    slack = like.arithmetic.rounding(2) * torch.maximum(lower.abs(), upper.abs())
    return like.widened(lower, upper, slack)


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
    mean, variance = (_constant(part, input) for part in (running_mean, running_var))
    factor = (variance + eps).rsqrt()  # pyright: ignore
    factor = factor if weight is None else factor * _constant(weight, input)
    offset = torch.zeros_like(factor) if bias is None else _constant(bias, input)
    factor, mean, offset = (part.reshape(shape) for part in (factor, mean, offset))  # pyright: ignore
    ends = input.lower * factor, input.upper * factor
    shift = offset - mean * factor
    lower, upper = torch.minimum(*ends) + shift, torch.maximum(*ends) + shift
    size = (input.largest() + mean.abs()) * factor.abs() + offset.abs()
    slack = input.arithmetic.rounding(8) * size
    ball = input.ball and input.ball.scaled(factor, shift, slack + TINY)
    return input.widened(lower, upper, slack, ball)


def _batch_norm_of_aten(
    input: Interval, weight: Tensor | None, bias: Tensor | None, mean: Tensor | None,
    variance: Tensor | None, training: bool, momentum: float, eps: float, cudnn: bool,
) -> Interval:  # fmt: skip
    return _batch_norm(input, mean, variance, weight, bias, training, momentum, eps)


def _extreme(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Interval]:
    def rule(input: Any, other: Any) -> Interval:
        one = input if isinstance(input, Interval) else other
        (low, high), (other_low, other_high) = (_ends(value, one) for value in (input, other))
        return one.like(function(low, other_low), function(high, other_high))

    return rule


def _ends(value: Interval | Tensor, like: Interval) -> tuple[Tensor, Tensor]:
    if isinstance(value, Interval):
        return value.lower, value.upper
    known = value.to(like.lower.dtype)
    return known, known


def _joined(function: Callable[..., Tensor]) -> Callable[..., Interval]:
    def rule(tensors: Sequence[Any], *args: Any, **kwargs: Any) -> Interval:
        one = next(tensor for tensor in tensors if isinstance(tensor, Interval))
        lowers, uppers = zip(*(_ends(tensor, one) for tensor in tensors), strict=True)
        return one.like(function(lowers, *args, **kwargs), function(uppers, *args, **kwargs))

    return rule


_register({"add": _add, "sub": _sub, "mul": _mul, "__rsub__": lambda b, a: _sub(a, b)}, True)
_register({"subtract": _sub, "multiply": _mul, "rsub": lambda b, a: _sub(a, b)}, True)
_register({"maximum": _extreme(torch.maximum), "minimum": _extreme(torch.minimum)}, True)
_register({"cat": _joined(torch.cat), "concat": _joined(torch.cat), "stack": _joined(torch.stack)},
          True)  # fmt: skip
_register({"div": _div, "true_divide": _div, "divide": _div, "neg": _neg})
_register({"batch_norm": _batch_norm, "_aten_batch_norm": _batch_norm_of_aten})

# Linear layers -----------------------------------------------------------------------------------


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


_register(
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
_register({"matmul": _matmul, "mm": _matmul, "__rmatmul__": lambda b, a: _matmul(a, b)}, True)

# Pooling -----------------------------------------------------------------------------------------


def _maximum_of(function: Callable[..., Any]) -> Callable[..., Interval]:
    def rule(input: Interval, *args: Any, return_indices: bool = False, **kwargs: Any) -> Interval:
        if return_indices:
            raise Unsupported("interval bounds do not understand max pooling with return_indices")
        return _steps(function)(input, *args, **kwargs)

    return rule


def _average(function: Callable[..., Tensor], terms: Callable[..., int]) -> Callable[..., Interval]:
    """Of a sum of up to so many values, with weights that are not negative."""

    def rule(input: Interval, *args: Any, **kwargs: Any) -> Interval:
        if kwargs.get("divisor_override") or kwargs.get("dtype"):
            raise Unsupported("interval bounds do not understand divisor_override and dtype")
        lower, upper = (
            function(input.lower, *args, **kwargs),
            function(input.upper, *args, **kwargs),
        )
        size = function(input.largest(), *args, **kwargs)
        count = terms(input.lower.shape, size.shape, *args)
        return input.widened(lower, upper, input.arithmetic.rounding(count + 1) * size)

    return rule


def _in_each(shape: torch.Size, output: torch.Size, *args: Any) -> int:
    return math.prod(shape) // max(1, math.prod(output))


def _in_kernel(shape: torch.Size, output: torch.Size, kernel_size: Any, *args: Any) -> int:
    sizes = kernel_size if isinstance(kernel_size, (tuple, list)) else [kernel_size] * 3
    return math.prod(sizes)


def _in_bin(shape: torch.Size, output: torch.Size, *args: Any) -> int:
    """Bins of adaptive pooling overlap by up to one value at either end."""
    return math.prod(
        size // max(1, bins) + 2 for size, bins in zip(shape[1:], output[1:], strict=True)
    )


for _n in (1, 2, 3):
    _register({f"max_pool{_n}d": _maximum_of(getattr(F, f"max_pool{_n}d"))})
    _register({f"adaptive_max_pool{_n}d": _maximum_of(getattr(F, f"adaptive_max_pool{_n}d"))})
    _register({f"avg_pool{_n}d": _average(getattr(F, f"avg_pool{_n}d"), _in_kernel)})
    _register({f"adaptive_avg_pool{_n}d": _average(getattr(F, f"adaptive_avg_pool{_n}d"), _in_bin)})
_register({"sum": _average(torch.sum, _in_each), "mean": _average(torch.mean, _in_each)})

# Rearrangement -----------------------------------------------------------------------------------


def _rearranged(
    function: Callable[..., Any], *, ordered: bool = False, copies: bool = False
) -> Callable[..., Any]:
    """Of a function that only moves values.

    Args:
        function: What it does to a tensor.
        ordered: Whether the values of each example stay in their order, all of them.
        copies: Whether the result has memory of its own.
    """

    def rule(input: Interval, *args: Any, **kwargs: Any) -> Any:
        def move(values: Tensor) -> Any:
            return function(values, *args, **kwargs)

        lower, upper = move(input.lower), move(input.upper)
        if isinstance(lower, Tensor):
            ball = input.ball.moved(move) if ordered and input.ball else None
            results = [input.like(lower, upper, ball)]
        else:
            results = [input.like(low, high) for low, high in zip(lower, upper, strict=True)]
        if not copies:
            for tensor in (input, *results):
                tensor.shared = True
        return results[0] if isinstance(lower, Tensor) else tuple(results)

    return rule


def _view_as(input: Any, other: Tensor) -> Any:
    return RULES["reshape"].function(input, other.shape) if isinstance(input, Interval) else (
        input.reshape(other.shape)
    )  # fmt: skip


def _to(input: Interval, *args: Any, **kwargs: Any) -> Interval:
    kwargs.pop("memory_format", None)
    target = input.lower.new_empty(0, dtype=input.dtype).to(*args, **kwargs)
    if target.dtype not in (torch.float32, torch.float64) or target.device != input.device:
        raise Unsupported(
            f"the model converts values to {target.dtype} on {target.device}; interval bounds "
            "follow float32 and float64 on one device"
        )
    if target.dtype == torch.float32 and input.arithmetic.rounds_less_than_float32:
        raise Unsupported("the model converts values to float32, but is itself in float64")
    rounded = _scaled(input, 1.0, 0.0)
    return Interval(rounded.lower, rounded.upper, input.arithmetic, target.dtype, rounded.ball)


def _dropout(input: Interval, p: float = 0.5, training: bool = True) -> Interval:
    if training and p:
        raise Unsupported("the model draws random numbers (dropout), so no output is certain")
    return input


for _name in ("flatten", "reshape", "unflatten", "squeeze", "unsqueeze", "contiguous", "detach"):
    _register({_name: _rearranged(getattr(Tensor, _name), ordered=True)})
for _name in (
    "permute", "transpose", "swapaxes", "swapdims", "movedim", "expand",
    "select", "narrow", "chunk", "split", "unbind", "__getitem__",
):  # fmt: skip
    _register({_name: _rearranged(getattr(Tensor, _name))})
for _name in ("flip", "roll", "repeat", "tile"):
    _register({_name: _rearranged(getattr(Tensor, _name), copies=True)})
for _name in ("pad", "pixel_shuffle", "pixel_unshuffle"):
    _register({_name: _rearranged(getattr(F, _name), copies=True)})
for _name in ("", "1d", "2d", "3d"):
    _register({f"dropout{_name}": _dropout})
_register({"alpha_dropout": _dropout, "feature_alpha_dropout": _dropout})
_register(
    {
        "view": RULES["reshape"].function,
        "data": RULES["detach"].function,
        "clone": _rearranged(Tensor.clone, ordered=True, copies=True),
        "T": _rearranged(lambda values: values.T),
        "mT": _rearranged(lambda values: values.mT),
        "to": _to,
        "float": lambda input: _to(input, torch.float32),
        "double": lambda input: _to(input, torch.float64),
    }
)
_register({"view_as": _view_as, "reshape_as": _view_as}, True)
