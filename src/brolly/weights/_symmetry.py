"""Which changes of a network's hidden units leave its function the same."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node

from ._units import Freedom, Rule, Search, Units, UnknownOperationError, Value, operation_of


def find_units(
    program: ExportedProgram, tensors: Mapping[str, Tensor], pinned: Iterable[Tensor] = ()
) -> tuple[list[Units], set[str]]:
    """Groups of hidden units that may be changed, and the operations that keep others from it.

    Args:
        program: The network, traced.
        tensors: Parameters and buffers by their names in it.
        pinned: Those that have to stay as they are.
    """
    search = Search(program, tensors, _RULES)
    for node in program.graph.nodes:
        search.visit(node)
    search.pinned |= {id(tensor) for tensor in pinned}
    return search.found(), search.obstacles


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def _argument(node: Node, position: int, name: str = "", default: Any = None) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def _linear(search: Search, node: Node) -> Value | None:
    x, weight = _argument(node, 0), _argument(node, 1)
    _read(search, x, weight, len(_shape(x)) - 1)
    return _make(search, weight, _argument(node, 2, "bias"), len(_shape(node)) - 1)


def _convolution(search: Search, node: Node) -> Value | None:
    x, weight = _argument(node, 0), _argument(node, 1)
    bias, groups = _argument(node, 2, "bias"), _argument(node, 6, "groups", 1)
    rows, columns, *kernel = _shape(weight)
    if len(_shape(x)) != 2 + len(kernel):
        raise UnknownOperationError  # no batch axis
    if groups == 1:
        _read(search, x, weight, 1)
        return _make(search, weight, bias, 1)
    value = search.value(x)
    if value is None or not (groups == rows and columns == 1 == value.block and value.axis == 1):
        raise UnknownOperationError
    search.limit(value, Freedom.RESCALE)  # depthwise: each unit by itself
    search.bind(weight, 0, "order", value)
    search.bind(bias, 0, "out", value)
    return value


def _read(search: Search, x: Any, weight: Any, axis: int) -> None:
    """The columns of a weight follow the units of x along `axis`."""
    value = search.value(x)
    if value is None or value.axis != axis:
        search.limit(value, Freedom.NOTHING)
        value = Value(search.new(_shape(weight)[1], Freedom.NOTHING), axis)
    search.bind(weight, 1, "in", value)


def _make(search: Search, weight: Any, bias: Any, axis: int) -> Value:
    value = Value(search.new(_shape(weight)[0]), axis)
    search.bind(weight, 0, "out", value)
    search.bind(bias, 0, "out", value)
    return value


def _channel_norm(search: Search, node: Node) -> Value | None:
    """BatchNorm and InstanceNorm; with running statistics they are affine in each channel."""
    x, weight, bias, mean, variance, of_the_batch = node.args[:6]
    value = search.value(x)
    if value is None or value.axis != 1:
        raise UnknownOperationError
    search.limit(value, Freedom.PERMUTE if of_the_batch else Freedom.RESCALE)
    search.bind(weight, 0, "order", value)
    search.bind(variance, 0, "order", value)
    search.bind(bias, 0, "out", value)
    search.bind(mean, 0, "out", value)
    return value


def _layer_norm(search: Search, node: Node) -> Value | None:
    x, shape = _argument(node, 0), _argument(node, 1)
    value = search.value(x)
    if value is None or len(shape) != 1 or value.axis != len(_shape(node)) - 1:
        raise UnknownOperationError
    search.limit(value, Freedom.PERMUTE)
    search.bind(_argument(node, 2, "weight"), 0, "order", value)
    search.bind(_argument(node, 3, "bias"), 0, "order", value)
    return value


def _prelu(search: Search, node: Node) -> Value | None:
    x, slope = node.args
    value = search.value(x)
    search.limit(value, Freedom.RESCALE)
    if value is not None and math.prod(_shape(slope)) > 1:
        if value.axis != 1:
            raise UnknownOperationError
        search.bind(slope, 0, "order", value)
    return value


def _pointwise(freedom: Freedom) -> Rule:
    """One tensor in, every entry by itself."""

    def rule(search: Search, node: Node) -> Value | None:
        if len(node.all_input_nodes) != 1 or not isinstance(node.args[0], Node):
            raise UnknownOperationError
        value = search.value(node.args[0])
        search.limit(value, freedom)
        return value

    return rule


def _pooling(freedom: Freedom, axes: int) -> Rule:
    """Entries of the last axes among themselves."""

    def rule(search: Search, node: Node) -> Value | None:
        value = search.value(node.args[0])
        if value is not None and value.axis >= len(_shape(node)) - axes:
            raise UnknownOperationError
        search.limit(value, freedom)
        return value

    return rule


def _dropout(search: Search, node: Node) -> Value | None:
    if _argument(node, 2, "train"):
        raise UnknownOperationError
    return search.value(node.args[0])


def _sum(search: Search, node: Node) -> Value | None:
    """x + y and x - y: units that meet are the same; a number shifts each unit alike."""
    if not isinstance(node.args[0], Node) or not isinstance(node.args[1], Node):
        return _pointwise(Freedom.PERMUTE)(search, node)
    return _together(search, node, [*node.args[:2]])


def _multiple(search: Search, node: Node) -> Value | None:
    """Units times or over a number, or times others."""
    if node.kwargs:
        raise UnknownOperationError  # rounded
    if not isinstance(node.args[1], Node):
        return _pointwise(Freedom.ROTATE)(search, node)
    value = _together(search, node, [*node.args])
    search.limit(value, Freedom.PERMUTE)
    return value


def _concatenate(search: Search, node: Node) -> Value | None:
    axis = _argument(node, 1, "dim", 0) % len(_shape(node))
    parts = [part for part in _argument(node, 0) if _shape(part)[axis]]
    values = [search.value(part) for part in parts]
    if len(parts) == 1 or not all(value is not None and value.axis == axis for value in values):
        return _together(search, node, parts)
    units = tuple(value.units for value in values)
    if len({value.block for value in values}) != 1:
        raise UnknownOperationError
    whole = search.new(sum(one.count for one in units), parts=units)
    return Value(whole, axis, values[0].block)


def _together(search: Search, node: Node, parts: Any) -> Value | None:
    """Tensors whose last axes lie on each other."""
    values = [search.value(part) for part in parts]
    if all(value is None for value in values):
        return None
    ends = {
        None if v is None else (v.axis - len(_shape(part)), v.block, v.units.count)
        for v, part in zip(values, parts, strict=True)
    }
    first = values[0]
    if first is None or len(ends) != 1:
        raise UnknownOperationError
    for value in values[1:]:
        assert value is not None  # as there is one end
        search.join(first.units, value.units)
    return Value(first.units, first.axis - len(_shape(parts[0])) + len(_shape(node)), first.block)


def _stack(search: Search, node: Node) -> Value | None:
    parts = _argument(node, 0)
    value = _together(search, parts[0], parts)
    if value is None:
        return None
    at = _argument(node, 1, "dim", 0) % len(_shape(node))
    return dataclasses.replace(value, axis=value.axis + (at <= value.axis))


def _reshape(search: Search, node: Node) -> Value | None:
    """Units stay together as long as the axes before theirs keep their product."""
    x = node.args[0]
    value = search.value(x)
    if value is None:
        return None
    old, new = _shape(x), _shape(node)
    for axis, size in enumerate(new):
        outer = math.prod(new[:axis]) == math.prod(old[: value.axis])
        if outer and size % old[value.axis] == 0 and size >= 1:
            block = value.block * (size // old[value.axis])
            if block * value.units.count == size:
                return Value(value.units, axis, block)
    raise UnknownOperationError


def _reorder(search: Search, node: Node) -> Value | None:
    """`permute` and `transpose`."""
    value, given = search.value(node.args[0]), cast(Any, node.args[1:])
    axes = list(range(len(_shape(node))))
    if operation_of(node) == "permute":
        axes = [axes[axis] for axis in given[0]]
    else:
        one, two = axes[given[0]], axes[given[1]]
        axes[one], axes[two] = two, one
    return None if value is None else dataclasses.replace(value, axis=axes.index(value.axis))


def _expand(search: Search, node: Node) -> Value | None:
    value = search.value(node.args[0])
    if value is None:
        return None
    axis = value.axis + len(_shape(node)) - len(_shape(node.args[0]))
    if _shape(node)[axis] != value.units.count * value.block:
        raise UnknownOperationError
    return dataclasses.replace(value, axis=axis)


def _take(search: Search, node: Node) -> Value | None:
    """`select` and `unbind` take one entry of an axis, which is then gone; `slice` some."""
    x, gone = node.args[0], operation_of(node) != "slice"
    value = search.value(x)
    if value is None:
        return None
    axis = _argument(node, 1, "dim", 0) % len(_shape(x))
    if axis == value.axis:
        return _some(search, node, value)
    return dataclasses.replace(value, axis=value.axis - (gone and axis < value.axis))


def _some(search: Search, node: Node, value: Value) -> Value | None:
    """A slice of the units."""
    size = value.units.count * value.block
    if operation_of(node) != "slice":
        raise UnknownOperationError
    start, end, step = slice(*node.args[2:5]).indices(size)
    if step != 1 or start % value.block or end % value.block:
        raise UnknownOperationError
    if start == end:
        return None
    start, end = start // value.block, end // value.block
    known, offset = value.units.root().parts, 0
    for part in known:
        if (offset, offset + part.count) == (start, end):
            return dataclasses.replace(value, units=part)
        offset += part.count
    counts = [count for count in (start, end - start, value.units.count - end) if count]
    units = search.split(value.units, counts)[start > 0] if len(counts) > 1 else value.units
    return dataclasses.replace(value, units=units)


def _cut(search: Search, node: Node) -> Any:
    """`chunk` and `split`: several pieces."""
    value, sizes = search.value(node.args[0]), [piece.shape for piece in node.meta["val"]]
    if value is None:
        return None
    if _argument(node, 2, "dim", 0) % len(sizes[0]) != value.axis:
        return value
    counts = [size[value.axis] / value.block for size in sizes]
    if any(count % 1 for count in counts):
        raise UnknownOperationError
    units = search.split(value.units, [int(count) for count in counts])
    return tuple(dataclasses.replace(value, units=part) for part in units)


def _item(search: Search, node: Node) -> Value | None:
    """One of several pieces."""
    values = search.value(node.args[0])
    return values[_argument(node, 1)] if isinstance(values, tuple) else values


def _flip(search: Search, node: Node) -> Value | None:
    value = search.value(node.args[0])
    over = {axis % len(_shape(node)) for axis in _argument(node, 1)}
    if value is not None and value.axis in over:
        raise UnknownOperationError
    return value


def _reduce(freedom: Freedom) -> Rule:
    """`mean`, `sum` or `amax` over some axes."""

    def rule(search: Search, node: Node) -> Value | None:
        value = search.value(node.args[0])
        size = len(_shape(node.args[0]))
        axes = _argument(node, 1, "dim") or ()
        over = {axis % size for axis in ([axes] if isinstance(axes, int) else axes)}
        if value is None:
            return None
        if not over or value.axis in over:
            raise UnknownOperationError
        search.limit(value, freedom)
        lost = 0 if _argument(node, 2, "keepdim", False) else sum(a < value.axis for a in over)
        return dataclasses.replace(value, axis=value.axis - lost)

    return rule


def _alike(names: Sequence[str], rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names, rule)


_RULES: dict[str, Rule] = {
    "linear": _linear,
    **_alike(["conv1d", "conv2d", "conv3d"], _convolution),
    **_alike(["batch_norm", "instance_norm"], _channel_norm),
    "layer_norm": _layer_norm,
    "prelu": _prelu,
    **_alike(["relu", "leaky_relu"], _pointwise(Freedom.RESCALE)),
    **_alike(
        ["tanh", "sigmoid", "gelu", "silu", "elu", "selu", "celu", "softplus", "mish"],
        _pointwise(Freedom.PERMUTE),
    ),
    **_alike(
        ["hardtanh", "hardswish", "hardsigmoid", "relu6", "clamp", "round", "exp", "abs"],
        _pointwise(Freedom.PERMUTE),
    ),
    **_alike(
        ["clone", "contiguous", "detach", "alias", "to", "_to_copy", "neg"],
        _pointwise(Freedom.ROTATE),
    ),
    **_alike(["dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"], _dropout),
    **{f"max_pool{n}d": _pooling(Freedom.RESCALE, n) for n in (1, 2, 3)},
    **{f"avg_pool{n}d": _pooling(Freedom.ROTATE, n) for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": _pooling(Freedom.ROTATE, n) for n in (1, 2, 3)},
    **_alike(["add", "sub"], _sum),
    **_alike(["mul", "div"], _multiple),
    "cat": _concatenate,
    "stack": _stack,
    **_alike(
        ["flatten", "view", "reshape", "_unsafe_view", "unflatten", "squeeze", "unsqueeze"],
        _reshape,
    ),
    **_alike(["permute", "transpose"], _reorder),
    "expand": _expand,
    **_alike(["select", "unbind", "slice"], _take),
    **_alike(["chunk", "split", "split_with_sizes"], _cut),
    "getitem": _item,
    "flip": _flip,
    **_alike(["mean", "sum"], _reduce(Freedom.ROTATE)),
    "amax": _reduce(Freedom.RESCALE),
}
