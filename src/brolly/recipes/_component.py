"""Recipe entries that name a constructor and its arguments, derived from its signature."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    create_model,
    model_validator,
)

from .._names import parse_number

T = TypeVar("T")

#: A number, also written as a fraction such as 8/255.
Number = Annotated[float, BeforeValidator(parse_number)]


class Component(BaseModel):
    """`{name: trades, beta: 6}`: a constructor's name and arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str

    _constructor: typing.ClassVar[Callable[..., Any]]
    _complete: typing.ClassVar[bool] = False

    @model_validator(mode="after")
    def _builds(self) -> Component:
        """Lets the constructor judge its arguments, where the recipe gives all of them."""
        if self._complete:
            self.build()
        return self

    def arguments(self) -> dict[str, Any]:
        """Arguments as the recipe gives them."""
        return {name: getattr(self, name) for name in type(self).model_fields if name != "name"}

    def build(self, **given: Any) -> Any:
        """Calls the constructor, with `given` arguments beside those of the recipe.

        Nested components are built with those of `given` that they know.
        """
        arguments = {
            name: value.build(**given) if isinstance(value, Component) else value
            for name, value in self.arguments().items()
        }
        known = inspect.signature(self._constructor).parameters
        return self._constructor(
            **arguments, **{name: value for name, value in given.items() if name in known}
        )


def components(
    constructors: Mapping[str, Callable[..., Any]],
    given: Iterable[str] = (),
    nested: Mapping[type, Any] | None = None,
) -> Any:
    """The type of an entry that names one of `constructors`.

    Args:
        constructors: By their name in recipes.
        given: Arguments that do not come from the recipe.
        nested: Types of arguments that are components themselves, and what to write for them.
    """
    kinds = tuple(
        _component(name, constructor, set(given), nested or {})
        for name, constructor in constructors.items()
    )
    if len(kinds) == 1:
        return kinds[0]
    return Annotated[Union[kinds], Field(discriminator="name")]  # noqa: UP007


def _component(
    name: str, constructor: Callable[..., Any], given: set[str], nested: Mapping[type, Any]
) -> type[Component]:
    hints = _hints(constructor)
    fields: dict[str, Any] = {"name": (Literal[name], name)}
    for parameter in inspect.signature(constructor).parameters.values():
        if parameter.name in given:
            continue
        annotation = _as_written(hints[parameter.name], nested)
        required = parameter.default is inspect.Parameter.empty
        fields[parameter.name] = (
            annotation,
            _default(annotation) if required else parameter.default,
        )
    kind = create_model(name, __base__=Component, **fields)
    kind._constructor = staticmethod(constructor)
    kind._complete = not given
    kind.__doc__ = inspect.getdoc(constructor)
    return kind


def named(name: str) -> Any:
    """An entry that need not be written: a component of that name, checked like a user's."""
    return Field(default={"name": name}, validate_default=True)


def _default(annotation: Any) -> Any:
    """Of an argument without one: a component, where there is one to name and no more to say."""
    if not (isinstance(annotation, type) and issubclass(annotation, Component)):
        return ...
    fields = annotation.model_fields
    needed = any(field.is_required() for field in fields.values())
    return ... if needed else named(fields["name"].default)


def _hints(constructor: Callable[..., Any]) -> dict[str, Any]:
    if inspect.isclass(constructor) and not dataclasses.is_dataclass(constructor):
        return typing.get_type_hints(constructor.__init__)
    return typing.get_type_hints(constructor)


def _as_written(annotation: Any, nested: Mapping[type, Any]) -> Any:
    """How an argument of this type is written in a recipe."""
    if annotation in nested:
        return nested[annotation]
    if annotation is float:
        return Number
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Sequence:
        return tuple[_as_written(arguments[0], nested), ...]
    if origin in (Union, types.UnionType):
        # A text stays a text where one is allowed: "500 steps" is no fraction.
        kept = arguments if str in arguments else [_as_written(a, nested) for a in arguments]
        return Union[tuple(kept)]  # noqa: UP007
    return annotation
