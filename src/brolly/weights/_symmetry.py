"""Which changes of a network's hidden units leave its function the same."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, cast

from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node


class Freedom(enum.IntEnum):
    """What may be done to a group of units; each allows what is above it."""

    NOTHING = 0
    PERMUTE = 1  # an activation acts on each unit alone
    RESCALE = 2  # and commutes with positive factors: ReLU, max pooling, BatchNorm in eval mode
    ROTATE = 3  # there is no activation: any orthogonal matrix


#: How an axis of a tensor follows its units u -> M u: `out` as the units do (rows of the layer that
#: makes them), `in` inversely (columns of one that reads them), `order` by the permutation alone.
Role = Literal["out", "in", "order"]


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
    """An axis of a parameter or buffer, or of a part of one, with `block` entries for each unit."""

    tensor: Tensor
    axis: int
    block: int
    role: Role


@dataclasses.dataclass(eq=False)
class Units:
    """Hidden units, and where weights follow them.

    Units that have to be changed alike are merged into one; units that are split or joined, such as
    the gates of an LSTM, consist of others, and each of these is changed by itself.
    """

    count: int
    freedom: Freedom = Freedom.ROTATE
    places: list[Place] = dataclasses.field(default_factory=list)
    merged: Units | None = None
    parts: tuple[Units, ...] = ()

    def root(self) -> Units:
        return self if self.merged is None else self.merged.root()

    def leaves(self, start: int = 0) -> Iterator[tuple[int, Units]]:
        """What they consist of in the end, and where each begins."""
        root = self.root()
        if not root.parts:
            yield start, root
        for part in root.parts:
            yield from part.leaves(start)
            start += part.count


@dataclasses.dataclass(frozen=True)
class _Value:
    """A tensor on its way: `axis` holds the units, `block` neighbours for each."""

    units: Units
    axis: int
    block: int = 1


def find_units(
    program: ExportedProgram, tensors: Mapping[str, Tensor], pinned: Iterable[Tensor] = ()
) -> tuple[list[Units], set[str]]:
    """Groups of hidden units that may be changed, and the operations that keep others from it.

    Args:
        program: The network, traced.
        tensors: Parameters and buffers by their names in it.
        pinned: Those that have to stay as they are.
    """
    search = _Search(program, tensors)
    for node in program.graph.nodes:
        search.visit(node)
    search.pinned |= {id(tensor) for tensor in pinned}
    return search.found(), search.obstacles


class _Search:
    """Follows units through the graph; what it does not know stays fixed."""

    def __init__(self, program: ExportedProgram, tensors: Mapping[str, Tensor]) -> None:
        signature = program.graph_signature
        names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self._tensors = {node: tensors[name] for node, name in names.items() if name in tensors}
        self._values: dict[Node, Any] = {}  # a value, a tuple of them where a node has several
        self._places: dict[tuple[int, int], tuple[Place, Units]] = {}
        self._units: list[Units] = []
        self._added: dict[int, int] = {}
        self.pinned: set[int] = set()
        self.obstacles: set[str] = set()

    def found(self) -> list[Units]:
        for (tensor, axis), (place, units) in self._places.items():
            if tensor in self.pinned or self._added.get(tensor, axis) != axis:
                self._limit(units, Freedom.NOTHING)
            for start, leaf in units.leaves():
                span = start * place.block, leaf.count * place.block
                part = dataclasses.replace(place, tensor=place.tensor.narrow(axis, *span))
                leaf.places.append(part)
        leaves = {leaf for units in self._units for _, leaf in units.leaves()}
        order = [units for units in self._units if units in leaves]
        return [u for u in order if u.freedom > Freedom.NOTHING and u.count > 1 and u.places]

    def visit(self, node: Node) -> None:
        if node.op == "placeholder":
            return
        rule = _RULES.get(_name(node)) if node.op == "call_function" else None
        try:
            if rule is None:
                raise _UnknownError
            self._values[node] = rule(self, node)
        except _UnknownError:
            self._values[node] = None
            self._fix(node)

    def value(self, node: Any) -> Any:
        """Where the units of a node are; None where there are none that could change."""
        if not isinstance(node, Node):
            return None
        if node not in self._values:
            self._values[node] = self._parameter(node)
        return self._values[node]

    def new(
        self, count: int, freedom: Freedom = Freedom.ROTATE, parts: tuple[Units, ...] = ()
    ) -> Units:
        units = Units(count, freedom, parts=parts)
        self._units.append(units)
        return units

    def bind(self, node: Any, axis: int, role: Role, value: _Value) -> None:
        """An axis of a parameter follows the units of `value`."""
        if node is None:
            return
        tensor = self._tensors.get(node.name) if isinstance(node, Node) else None
        if tensor is None or tensor.shape[axis] != value.units.count * value.block:
            for one in (value, self.value(node)):  # a weight that is computed stays as it is
                self.limit(one, Freedom.NOTHING)
            return
        place = Place(tensor, axis, value.block, role)
        known = self._places.setdefault((id(tensor), axis), (place, value.units))
        if (known[0].block, known[0].role) == (place.block, place.role):
            self.join(known[1], value.units)
        else:
            self._limit(known[1], Freedom.NOTHING)
            self._limit(value.units, Freedom.NOTHING)

    def join(self, one: Units, other: Units) -> None:
        one, other = one.root(), other.root()
        if one is other:
            return
        counts = [part.count for part in one.parts or other.parts]
        if one.count != other.count or (other.parts and counts != [p.count for p in other.parts]):
            self._limit(one, Freedom.NOTHING)
            self._limit(other, Freedom.NOTHING)
            return
        if counts:
            for mine, theirs in zip(
                self.split(one, counts), self.split(other, counts), strict=True
            ):
                self.join(mine, theirs)
        self._limit(one, other.freedom)
        other.merged = one

    def split(self, units: Units, counts: Sequence[int]) -> tuple[Units, ...]:
        """Units as so many, so many, ... others."""
        root = units.root()
        if not root.parts:
            root.parts = tuple(self.new(count, root.freedom) for count in counts)
        if [part.count for part in root.parts] != [*counts]:
            raise _UnknownError
        return root.parts

    def limit(self, value: _Value | None, freedom: Freedom) -> None:
        if value is not None:
            self._limit(value.units, freedom)

    def _limit(self, units: Units, freedom: Freedom) -> None:
        root = units.root()
        root.freedom = min(root.freedom, freedom)
        for part in root.parts:
            self._limit(part, freedom)

    def _parameter(self, node: Node) -> _Value | None:
        """A parameter that is added to units: they lie along its one long axis, or the last."""
        tensor = self._tensors.get(node.name)
        if tensor is None or tensor.ndim == 0 or not tensor.is_floating_point():
            return None
        long = [axis for axis, size in enumerate(tensor.shape) if size > 1]
        axis = long[0] if len(long) == 1 else tensor.ndim - 1
        self._added[id(tensor)] = axis
        value = _Value(self.new(tensor.shape[axis]), axis)
        self.bind(node, axis, "out", value)
        return value

    def _fix(self, node: Node) -> None:
        for argument in node.all_input_nodes:
            if (tensor := self._tensors.get(argument.name)) is not None:
                self.pinned.add(id(tensor))
            values = self._values.get(argument)
            for value in values if isinstance(values, tuple) else (values,):
                if value is not None:
                    self._limit(value.units, Freedom.NOTHING)
                    if node.op != "output":
                        self.obstacles.add(_name(node))


class _UnknownError(Exception):
    """An operation may do anything to the units it is given."""


_Rule = Callable[[_Search, Node], Any]


def _name(node: Node) -> str:
    schema = getattr(node.target, "_schema", None)
    name = str(getattr(node.target, "__name__", node.target)) if schema is None else schema.name
    return name.removeprefix("aten::").removesuffix("_")  # relu_ does what relu does


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def _argument(node: Node, position: int, name: str = "", default: Any = None) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def _linear(search: _Search, node: Node) -> _Value | None:
    x, weight = _argument(node, 0), _argument(node, 1)
    _read(search, x, weight, len(_shape(x)) - 1)
    return _make(search, weight, _argument(node, 2, "bias"), len(_shape(node)) - 1)


def _convolution(search: _Search, node: Node) -> _Value | None:
    x, weight = _argument(node, 0), _argument(node, 1)
    bias, groups = _argument(node, 2, "bias"), _argument(node, 6, "groups", 1)
    rows, columns, *kernel = _shape(weight)
    if len(_shape(x)) != 2 + len(kernel):
        raise _UnknownError  # no batch axis
    if groups == 1:
        _read(search, x, weight, 1)
        return _make(search, weight, bias, 1)
    value = search.value(x)
    if value is None or not (groups == rows and columns == 1 == value.block and value.axis == 1):
        raise _UnknownError
    search.limit(value, Freedom.RESCALE)  # depthwise: each unit by itself
    search.bind(weight, 0, "order", value)
    search.bind(bias, 0, "out", value)
    return value


def _read(search: _Search, x: Any, weight: Any, axis: int) -> None:
    """The columns of a weight follow the units of x along `axis`."""
    value = search.value(x)
    if value is None or value.axis != axis:
        search.limit(value, Freedom.NOTHING)
        value = _Value(search.new(_shape(weight)[1], Freedom.NOTHING), axis)
    search.bind(weight, 1, "in", value)


def _make(search: _Search, weight: Any, bias: Any, axis: int) -> _Value:
    value = _Value(search.new(_shape(weight)[0]), axis)
    search.bind(weight, 0, "out", value)
    search.bind(bias, 0, "out", value)
    return value


def _channel_norm(search: _Search, node: Node) -> _Value | None:
    """BatchNorm and InstanceNorm; with running statistics they are affine in each channel."""
    x, weight, bias, mean, variance, of_the_batch = node.args[:6]
    value = search.value(x)
    if value is None or value.axis != 1:
        raise _UnknownError
    search.limit(value, Freedom.PERMUTE if of_the_batch else Freedom.RESCALE)
    search.bind(weight, 0, "order", value)
    search.bind(variance, 0, "order", value)
    search.bind(bias, 0, "out", value)
    search.bind(mean, 0, "out", value)
    return value


def _layer_norm(search: _Search, node: Node) -> _Value | None:
    x, shape = _argument(node, 0), _argument(node, 1)
    value = search.value(x)
    if value is None or len(shape) != 1 or value.axis != len(_shape(node)) - 1:
        raise _UnknownError
    search.limit(value, Freedom.PERMUTE)
    search.bind(_argument(node, 2, "weight"), 0, "order", value)
    search.bind(_argument(node, 3, "bias"), 0, "order", value)
    return value


def _prelu(search: _Search, node: Node) -> _Value | None:
    x, slope = node.args
    value = search.value(x)
    search.limit(value, Freedom.RESCALE)
    if value is not None and math.prod(_shape(slope)) > 1:
        if value.axis != 1:
            raise _UnknownError
        search.bind(slope, 0, "order", value)
    return value


def _pointwise(freedom: Freedom) -> _Rule:
    """One tensor in, every entry by itself."""

    def rule(search: _Search, node: Node) -> _Value | None:
        if len(node.all_input_nodes) != 1 or not isinstance(node.args[0], Node):
            raise _UnknownError
        value = search.value(node.args[0])
        search.limit(value, freedom)
        return value

    return rule


def _pooling(freedom: Freedom, axes: int) -> _Rule:
    """Entries of the last axes among themselves."""

    def rule(search: _Search, node: Node) -> _Value | None:
        value = search.value(node.args[0])
        if value is not None and value.axis >= len(_shape(node)) - axes:
            raise _UnknownError
        search.limit(value, freedom)
        return value

    return rule


def _dropout(search: _Search, node: Node) -> _Value | None:
    if _argument(node, 2, "train"):
        raise _UnknownError
    return search.value(node.args[0])


def _sum(search: _Search, node: Node) -> _Value | None:
    """x + y and x - y: units that meet are the same; a number shifts each unit alike."""
    if not isinstance(node.args[0], Node) or not isinstance(node.args[1], Node):
        return _pointwise(Freedom.PERMUTE)(search, node)
    return _together(search, node, [*node.args[:2]])


def _multiple(search: _Search, node: Node) -> _Value | None:
    """Units times or over a number, or times others."""
    if node.kwargs:
        raise _UnknownError  # rounded
    if not isinstance(node.args[1], Node):
        return _pointwise(Freedom.ROTATE)(search, node)
    value = _together(search, node, [*node.args])
    search.limit(value, Freedom.PERMUTE)
    return value


def _concatenate(search: _Search, node: Node) -> _Value | None:
    axis = _argument(node, 1, "dim", 0) % len(_shape(node))
    parts = [part for part in _argument(node, 0) if _shape(part)[axis]]
    values = [search.value(part) for part in parts]
    if len(parts) == 1 or not all(value is not None and value.axis == axis for value in values):
        return _together(search, node, parts)
    units = tuple(value.units for value in values)
    if len({value.block for value in values}) != 1:
        raise _UnknownError
    whole = search.new(sum(one.count for one in units), parts=units)
    return _Value(whole, axis, values[0].block)


def _together(search: _Search, node: Node, parts: Any) -> _Value | None:
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
        raise _UnknownError
    for value in values[1:]:
        assert value is not None  # as there is one end
        search.join(first.units, value.units)
    return _Value(first.units, first.axis - len(_shape(parts[0])) + len(_shape(node)), first.block)


def _stack(search: _Search, node: Node) -> _Value | None:
    parts = _argument(node, 0)
    value = _together(search, parts[0], parts)
    if value is None:
        return None
    at = _argument(node, 1, "dim", 0) % len(_shape(node))
    return dataclasses.replace(value, axis=value.axis + (at <= value.axis))


def _reshape(search: _Search, node: Node) -> _Value | None:
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
                return _Value(value.units, axis, block)
    raise _UnknownError


def _reorder(search: _Search, node: Node) -> _Value | None:
    """`permute` and `transpose`."""
    value, given = search.value(node.args[0]), cast(Any, node.args[1:])
    axes = list(range(len(_shape(node))))
    if _name(node) == "permute":
        axes = [axes[axis] for axis in given[0]]
    else:
        one, two = axes[given[0]], axes[given[1]]
        axes[one], axes[two] = two, one
    return None if value is None else dataclasses.replace(value, axis=axes.index(value.axis))


def _expand(search: _Search, node: Node) -> _Value | None:
    value = search.value(node.args[0])
    if value is None:
        return None
    axis = value.axis + len(_shape(node)) - len(_shape(node.args[0]))
    if _shape(node)[axis] != value.units.count * value.block:
        raise _UnknownError
    return dataclasses.replace(value, axis=axis)


def _take(search: _Search, node: Node) -> _Value | None:
    """`select` and `unbind` take one entry of an axis, which is then gone; `slice` some."""
    x, gone = node.args[0], _name(node) != "slice"
    value = search.value(x)
    if value is None:
        return None
    axis = _argument(node, 1, "dim", 0) % len(_shape(x))
    if axis == value.axis:
        return _some(search, node, value)
    return dataclasses.replace(value, axis=value.axis - (gone and axis < value.axis))


def _some(search: _Search, node: Node, value: _Value) -> _Value | None:
    """A slice of the units."""
    size = value.units.count * value.block
    if _name(node) != "slice":
        raise _UnknownError
    start, end, step = slice(*node.args[2:5]).indices(size)
    if step != 1 or start % value.block or end % value.block:
        raise _UnknownError
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


def _cut(search: _Search, node: Node) -> Any:
    """`chunk` and `split`: several pieces."""
    value, sizes = search.value(node.args[0]), [piece.shape for piece in node.meta["val"]]
    if value is None:
        return None
    if _argument(node, 2, "dim", 0) % len(sizes[0]) != value.axis:
        return value
    counts = [size[value.axis] / value.block for size in sizes]
    if any(count % 1 for count in counts):
        raise _UnknownError
    units = search.split(value.units, [int(count) for count in counts])
    return tuple(dataclasses.replace(value, units=part) for part in units)


def _item(search: _Search, node: Node) -> _Value | None:
    """One of several pieces."""
    values = search.value(node.args[0])
    return values[_argument(node, 1)] if isinstance(values, tuple) else values


def _flip(search: _Search, node: Node) -> _Value | None:
    value = search.value(node.args[0])
    over = {axis % len(_shape(node)) for axis in _argument(node, 1)}
    if value is not None and value.axis in over:
        raise _UnknownError
    return value


def _reduce(freedom: Freedom) -> _Rule:
    """`mean`, `sum` or `amax` over some axes."""

    def rule(search: _Search, node: Node) -> _Value | None:
        value = search.value(node.args[0])
        size = len(_shape(node.args[0]))
        axes = _argument(node, 1, "dim") or ()
        over = {axis % size for axis in ([axes] if isinstance(axes, int) else axes)}
        if value is None:
            return None
        if not over or value.axis in over:
            raise _UnknownError
        search.limit(value, freedom)
        lost = 0 if _argument(node, 2, "keepdim", False) else sum(a < value.axis for a in over)
        return dataclasses.replace(value, axis=value.axis - lost)

    return rule


def _alike(names: Sequence[str], rule: _Rule) -> dict[str, _Rule]:
    return dict.fromkeys(names, rule)


_RULES: dict[str, _Rule] = {
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
