"""Pydantic's errors, in the words of the recipe."""

from __future__ import annotations

import types
import typing
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Union

from pydantic import BaseModel, ValidationError

from .._names import suggest
from ._entries import KINDS

#: What to write, by the beginning of pydantic's name for the error.
_EXPECTED = {
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "string": "text",
    "tuple": "a list",
}

#: Why a component cannot have a key that others of its kind have.
_IMPOSSIBLE = {
    ("mart", "label_smoothing"): "MART looks at the probability of the one right class, which soft "
    "labels do not have",
}

#: A place in a recipe: keys, of any type that YAML has, and positions in lists.
_Place = tuple[Any, ...]


def describe_errors(error: ValidationError, recipe: type[BaseModel]) -> list[str]:
    """One line a mistake: where, what was given, what was expected."""
    at: dict[_Place, list[Any]] = {}
    for each in error.errors():
        at.setdefault(_locate(each["loc"], recipe)[0], []).append(each)
    return [
        f"{'.'.join(map(str, place)) or 'recipe'}: {line}"
        for place, errors in at.items()
        for line in _problem(errors, recipe).split("\n")
    ]


def without_errors(
    tree: Mapping[str, Any], error: ValidationError, recipe: type[BaseModel]
) -> dict[str, Any]:
    """A copy of `tree` without what is wrong in it; of a wrong component the name is left."""
    wrong = {_written(tree, _locate(each["loc"], recipe)[0]) for each in error.errors()}
    return _sound(dict(tree), (), wrong - {()})


def _sound(node: Any, place: _Place, wrong: set[_Place]) -> Any:
    if isinstance(node, list):
        parts = [(part, (*place, at)) for at, part in enumerate(node)]
        return [_sound(part, at, wrong) for part, at in parts if _stays(part, at, wrong)]
    if isinstance(node, dict):
        keys = {key: (*place, key) for key in (("name",) if place in wrong else node)}
        return {
            key: _sound(node[key], at, wrong)
            for key, at in keys.items()
            if _stays(node[key], at, wrong)
        }
    return node


def _stays(node: Any, place: _Place, wrong: set[_Place]) -> bool:
    return place not in wrong or (isinstance(node, dict) and {"name"} < set(node))


def _written(node: Any, place: _Place) -> _Place:
    """As much of a place as there is."""
    for depth, key in enumerate(place):
        if key not in _keys(node):
            return place[:depth]
        node = node[key]
    return place


def _keys(node: Any) -> Container[Any]:
    if isinstance(node, list):
        return range(len(node))
    return node if isinstance(node, Mapping) else ()


def _problem(errors: Sequence[Any], recipe: type[BaseModel]) -> str:
    """What is wrong in one place; there are several errors where several types are allowed."""
    if expected := [phrase for error in errors if (phrase := _expected(error))]:
        return f"is {errors[0]['input']!r}; expected {' or '.join(expected)}"
    error = errors[0]
    kind = error["type"]
    if kind == "extra_forbidden":
        return _unknown_key(error["loc"][-1], *_locate(error["loc"][:-1], recipe))
    if kind == "missing":
        return "missing; it has no default"
    if kind == "union_tag_invalid":
        known = [tag.strip(" '") for tag in error["ctx"]["expected_tags"].split(",")]
        return f"name {error['ctx']['tag']!r} is unknown. {suggest(error['ctx']['tag'], known)}"
    if kind == "value_error":
        return error["msg"].removeprefix("Value error, ")
    return f"is {error['input']!r}; {error['msg'][:1].lower()}{error['msg'][1:]}"


def _expected(error: Any) -> str | None:
    """What to write, where the type of what was given is wrong."""
    kind = error["type"]
    if kind == "literal_error":
        return f"one of {error['ctx']['expected'].replace(' or ', ', ')}"
    if kind in ("union_tag_not_found", "model_attributes_type", "model_type"):
        name = error["input"] if isinstance(error["input"], str) else "..."
        return f"keys, beginning with a name: {{name: {name}, ...}}"
    what, _, how = kind.partition("_")
    return _EXPECTED.get(what) if how in ("type", "parsing", "from_float") else None


def _unknown_key(key: str, place: _Place, model: Any) -> str:
    fields = getattr(model, "model_fields", {})
    if inside := [(*place, *part, key) for part in _parts_with(key, fields)]:
        return f"unknown key; write {' or '.join('.'.join(map(str, path)) for path in inside)}"
    others = owners(key, [kind for kind in KINDS if model in _members(kind)])
    elsewhere = f"{key} is for {', '.join(others)}"
    name = fields["name"].default if "name" in fields else None
    if isinstance(name, str) and (why := _IMPOSSIBLE.get((name.removesuffix("-published"), key))):
        return f"{why}; {elsewhere}"
    told = f"unknown key. {suggest(key, fields)}"
    return f"{told} {elsewhere}." if others else told


def owners(key: str, kinds: Iterable[Any] = KINDS) -> list[str]:
    """Names of the components that have a key."""
    members = (each for kind in kinds for each in _members(kind))
    return [each.model_fields["name"].default for each in members if key in each.model_fields]


def _parts_with(key: str, fields: Mapping[str, Any]) -> Iterator[_Place]:
    """The parts below these fields that may have a key; of a list, its first."""
    for name, field in fields.items():
        part = _plain(field.annotation)
        for place, kind in (((name,), part), ((name, 0), _inside(part, 0))):
            kinds = _members(kind) or (kind,)
            if any(key in getattr(each, "model_fields", ()) for each in kinds):
                yield place


def _locate(location: Sequence[str | int], annotation: Any) -> tuple[_Place, Any]:
    """The keys a user wrote, without what pydantic puts between, and what belongs there."""
    place: list[Any] = []
    for part in location:
        annotation = _plain(annotation)
        if members := _members(annotation):
            annotation = next((kind for kind in members if _is_named(kind, part)), None)
            continue
        place.append(part)
        annotation = _inside(annotation, part)
    return tuple(place), annotation


def _inside(annotation: Any, part: str | int) -> Any:
    """The type of what is behind a key, or a position in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(part))
        return field and field.annotation
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is tuple else None


def _members(annotation: Any) -> tuple[Any, ...]:
    """The types that are allowed, if there are several."""
    annotation = _plain(annotation)
    several = typing.get_origin(annotation) in (Union, types.UnionType)
    return typing.get_args(annotation) if several else ()


def _is_named(kind: Any, name: str | int) -> bool:
    is_model = isinstance(kind, type) and issubclass(kind, BaseModel)
    return is_model and kind.model_fields["name"].default == name


def _plain(annotation: Any) -> Any:
    """Without annotations, and without the None that may stand instead."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is Annotated:
        return _plain(arguments[0])
    if type(None) in arguments:
        return _plain(Union[tuple(a for a in arguments if a is not type(None))])  # noqa: UP007
    return annotation
