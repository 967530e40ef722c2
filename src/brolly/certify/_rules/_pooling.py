"""Pooling on bounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._certificate import Unsupported
from .._tensor import Interval
from ._common import register, steps


def _maximum_of(function: Callable[..., Any]) -> Callable[..., Interval]:
    def rule(input: Interval, *args: Any, return_indices: bool = False, **kwargs: Any) -> Interval:
        if return_indices:
            raise Unsupported("interval bounds do not understand max pooling with return_indices")
        return steps(function)(input, *args, **kwargs)

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
    register({f"max_pool{_n}d": _maximum_of(getattr(F, f"max_pool{_n}d"))})
    register({f"adaptive_max_pool{_n}d": _maximum_of(getattr(F, f"adaptive_max_pool{_n}d"))})
    register({f"avg_pool{_n}d": _average(getattr(F, f"avg_pool{_n}d"), _in_kernel)})
    register({f"adaptive_avg_pool{_n}d": _average(getattr(F, f"adaptive_avg_pool{_n}d"), _in_bin)})
register({"sum": _average(torch.sum, _in_each), "mean": _average(torch.mean, _in_each)})
