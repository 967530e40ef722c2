"""Pydantic's errors, in the words of the recipe."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Any

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


def describe_errors(error: ValidationError, recipe: type[BaseModel]) -> list[str]:
    """One line an error: where, what was given, what was expected."""
    return [f"  {_path(e)}: {_problem(e, recipe)}" for e in error.errors()]


def _path(error: Any) -> str:
    """The keys a user wrote, without the names of components that pydantic puts between."""
    if not error["loc"]:
        return "recipe"
    *parents, last = error["loc"]
    keys = [str(part) for part in parents if not _is_tag(part)]
    if not _is_tag(last) or error["type"] == "extra_forbidden":
        keys.append(str(last))
    return ".".join(keys)


def _is_tag(part: str | int) -> bool:
    names = {
        kind.model_fields["name"].default for kinds in KINDS for kind in _members(kinds) or [kinds]
    }
    return part in names


def _problem(error: Any, recipe: type[BaseModel]) -> str:
    given, kind = error.get("input"), error["type"]
    if kind == "extra_forbidden":
        known = _known_keys(recipe, error["loc"][:-1])
        return f"unknown key. {suggest(str(error['loc'][-1]), known)}"
    if kind == "missing":
        return "missing; it has no default"
    if kind == "union_tag_invalid":
        known = [tag.strip(" '") for tag in error["ctx"]["expected_tags"].split(",")]
        return f"name {error['ctx']['tag']!r} is unknown. {suggest(error['ctx']['tag'], known)}"
    if kind in ("union_tag_not_found", "model_attributes_type", "model_type"):
        return f"is {given!r}; expected keys, beginning with a name: {{name: ..., ...}}"
    what, _, how = kind.partition("_")
    if what in _EXPECTED and how in ("type", "parsing", "from_float"):
        return f"is {given!r}; expected {_EXPECTED[what]}"
    message = error["msg"].removeprefix("Value error, ")
    return message if kind == "value_error" else f"is {given!r}; {message[:1].lower()}{message[1:]}"


def _known_keys(model: Any, location: Sequence[str | int]) -> list[str]:
    for part in location:
        model = _descend(model, part)
    fields = getattr(model, "model_fields", {})
    return list(fields)


def _descend(model: Any, part: str | int) -> Any:
    """The model behind a key, a position in a list, or a component's name."""
    if isinstance(part, int):
        return typing.get_args(model)[0]
    if isinstance(model, type) and issubclass(model, BaseModel):
        field = model.model_fields.get(part)
        return None if field is None else _without_none(field.annotation)
    for kind in _members(model):
        if kind.model_fields["name"].default == part:
            return kind
    return None


def _members(annotation: Any) -> list[Any]:
    found = []
    for argument in typing.get_args(annotation):
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            found.append(argument)
        else:
            found += _members(argument)
    return found


def _without_none(annotation: Any) -> Any:
    members = [a for a in typing.get_args(annotation) if a is not type(None)]
    return members[0] if type(None) in typing.get_args(annotation) else annotation
