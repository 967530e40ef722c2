"""Operations that only move values, on bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._certificate import Unsupported
from .._tensor import RULES, Interval
from ._common import ends, register, scaled


def _joined(function: Callable[..., Tensor]) -> Callable[..., Interval]:
    def rule(tensors: Sequence[Any], *args: Any, **kwargs: Any) -> Interval:
        one = next(tensor for tensor in tensors if isinstance(tensor, Interval))
        lowers, uppers = zip(*(ends(tensor, one) for tensor in tensors), strict=True)
        return one.like(function(lowers, *args, **kwargs), function(uppers, *args, **kwargs))

    return rule


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
    rounded = scaled(input, 1.0, 0.0)
    return Interval(rounded.lower, rounded.upper, input.arithmetic, target.dtype, rounded.ball)


def _dropout(input: Interval, p: float = 0.5, training: bool = True) -> Interval:
    if training and p:
        raise Unsupported("the model draws random numbers (dropout), so no output is certain")
    return input


for _name in ("flatten", "reshape", "unflatten", "squeeze", "unsqueeze", "contiguous", "detach"):
    register({_name: _rearranged(getattr(Tensor, _name), ordered=True)})
for _name in (
    "permute", "transpose", "swapaxes", "swapdims", "movedim", "expand",
    "select", "narrow", "chunk", "split", "unbind", "__getitem__",
):  # fmt: skip
    register({_name: _rearranged(getattr(Tensor, _name))})
for _name in ("flip", "roll", "repeat", "tile"):
    register({_name: _rearranged(getattr(Tensor, _name), copies=True)})
for _name in ("pad", "pixel_shuffle", "pixel_unshuffle"):
    register({_name: _rearranged(getattr(F, _name), copies=True)})
for _name in ("", "1d", "2d", "3d"):
    register({f"dropout{_name}": _dropout})
register({"alpha_dropout": _dropout, "feature_alpha_dropout": _dropout})
register(
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
register({"view_as": _view_as, "reshape_as": _view_as}, True)
register({"cat": _joined(torch.cat), "concat": _joined(torch.cat), "stack": _joined(torch.stack)},
          True)  # fmt: skip
