"""Hidden units of a traced network, and which axes of which weights follow them."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

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
class Value:
    """A tensor on its way: `axis` holds the units, `block` neighbours for each."""

    units: Units
    axis: int
    block: int = 1


class UnknownOperationError(Exception):
    """An operation may do anything to the units it is given."""


#: What an operation does to the units of its inputs; gives those of its output.
Rule = Callable[["Search", Node], Any]


class Search:
    """Follows units through the graph; what it does not know stays fixed."""

    def __init__(
        self, program: ExportedProgram, tensors: Mapping[str, Tensor], rules: Mapping[str, Rule]
    ) -> None:
        signature = program.graph_signature
        names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self._rules = rules
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
        rule = self._rules.get(operation_of(node)) if node.op == "call_function" else None
        try:
            if rule is None:
                raise UnknownOperationError
            self._values[node] = rule(self, node)
        except UnknownOperationError:
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

    def bind(self, node: Any, axis: int, role: Role, value: Value) -> None:
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
            raise UnknownOperationError
        return root.parts

    def limit(self, value: Value | None, freedom: Freedom) -> None:
        if value is not None:
            self._limit(value.units, freedom)

    def _limit(self, units: Units, freedom: Freedom) -> None:
        root = units.root()
        root.freedom = min(root.freedom, freedom)
        for part in root.parts:
            self._limit(part, freedom)

    def _parameter(self, node: Node) -> Value | None:
        """A parameter that is added to units: they lie along its one long axis, or the last."""
        tensor = self._tensors.get(node.name)
        if tensor is None or tensor.ndim == 0 or not tensor.is_floating_point():
            return None
        long = [axis for axis, size in enumerate(tensor.shape) if size > 1]
        axis = long[0] if len(long) == 1 else tensor.ndim - 1
        self._added[id(tensor)] = axis
        value = Value(self.new(tensor.shape[axis]), axis)
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
                        self.obstacles.add(operation_of(node))


def operation_of(node: Node) -> str:
    """The name of what a node computes, such as `relu`, whatever overload of it."""
    schema = getattr(node.target, "_schema", None)
    name = str(getattr(node.target, "__name__", node.target)) if schema is None else schema.name
    return name.removeprefix("aten::").removesuffix("_")  # relu_ does what relu does
