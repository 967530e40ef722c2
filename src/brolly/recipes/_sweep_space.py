"""What a sweep varies: keys of a recipe and the values they take."""

from __future__ import annotations

import dataclasses
import math
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from .._names import parse_number, suggest
from ._errors import owners
from ._recipe import Recipe

#: Keys and their values, as an override writes them.
Values = dict[str, str]

_KEY = re.compile(r"[A-Za-z_]\w*(\.\w+)*")
_RANGE = re.compile(r"([^\s{}\[\]'\"]+?)\.\.([^\s{}\[\]'\":]+)(?::(\w*))?")

#: Keys that decide by what, or on which examples, configurations are compared.
_COMPARED_BY = ("name", "threat", "select_by", "validation", "data.name", "data.validation")


@dataclasses.dataclass(frozen=True)
class Choices:
    """Values that are named one by one."""

    path: str
    values: tuple[str, ...]

    @property
    def ends(self) -> tuple[str, str]:
        return self.values[0], self.values[-1]

    def grid(self) -> tuple[str, ...]:
        return self.values

    def draw(self, generator: random.Random) -> str:
        return generator.choice(self.values)

    def __str__(self) -> str:
        return f"{self.path}={','.join(self.values)}"


@dataclasses.dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`, both included; with `log`, every factor is as likely."""

    path: str
    low: float
    high: float
    integer: bool = False
    log: bool = False

    @property
    def ends(self) -> tuple[str, str]:
        return self.text(self.low), self.text(self.high)

    def grid(self) -> tuple[str, ...] | None:
        """Its values, if they can be counted."""
        if not self.integer or self.log:
            return None
        return tuple(str(value) for value in range(int(self.low), int(self.high) + 1))

    def draw(self, generator: random.Random) -> str:
        """One of its values; an integer has the part of the line that rounds to it."""
        margin = 0.5 if self.integer else 0.0
        low, high = self.low - margin, self.high + margin
        if self.log:
            return self.text(math.exp(generator.uniform(math.log(low), math.log(high))))
        return self.text(generator.uniform(low, high))

    def text(self, value: float) -> str:
        """A value as an override writes it, to four digits."""
        if self.integer:
            return str(min(max(round(value), int(self.low)), int(self.high)))
        return _text(min(max(float(f"{value:.4g}"), self.low), self.high))

    def __str__(self) -> str:
        ends = (self.low, self.high) if not self.integer else (int(self.low), int(self.high))
        return f"{self.path}={ends[0]}..{ends[1]}{':log' if self.log else ''}"


Dimension = Choices | Range


def read_space(
    text: str, source: str, grid: Mapping[str, Any] | Sequence[str]
) -> tuple[Recipe, tuple[str, ...], tuple[Dimension, ...]]:
    """The recipe that all configurations share, the overrides that make it, and what varies.

    Args:
        text: The recipe, as YAML.
        source: What errors call it.
        grid: Texts `key=a,b,c`, `key=a..b` or `key=a..b:log`, or keys with their values. A key is
            a path in the recipe, or the end of exactly one.

    Raises:
        ValueError: With all that is wrong.
    """
    problems: list[str] = []
    found: list[Dimension] = []
    for spec in _specs(grid):
        try:
            found.append(parse_dimension(spec))
        except ValueError as error:
            problems.append(str(error))
    try:
        known = _known_paths(text, source, found)
    except ValueError as error:
        known, problems = [], problems + problem_lines(error)
    space: list[Dimension] = []
    for dimension in found if known else ():
        try:
            path = _resolve(dimension.path, known)
            space.append(_checked(dataclasses.replace(dimension, path=path), space))
        except ValueError as error:
            problems.append(str(error))
    space = sorted(space, key=lambda d: sum(_is_in(d.path, other.path) for other in space))
    problems += _problems_of_values(text, source, space)
    if problems:
        raise ValueError(told(problems))
    varied = [dimension for dimension in space if not _is_fixed(dimension)]
    # One value inside of what varies is set anew with each value of that.
    varied = [d for d in space if d in varied or any(_is_in(d.path, v.path) for v in varied)]
    fixed = tuple(_firsts(dimension for dimension in space if dimension not in varied))
    return Recipe.from_text(text, fixed, source), fixed, tuple(varied)


def parse_dimension(spec: str) -> Dimension:
    """Reads `key=a,b,c`, `key=a..b` or `key=a..b:log`.

    Raises:
        ValueError: It is none of them, or holds no value.
    """
    key, equals, text = spec.partition("=")
    if not equals or not _KEY.fullmatch(key):
        raise ValueError(
            f"{spec!r} names no key and values; write key=a,b,c or key=a..b, e.g. lr=0.01,0.1"
        )
    if match := _RANGE.fullmatch(text):
        return _range(key, *match.groups())
    values = tuple(dict.fromkeys(_split(text)))
    if "" in values:
        raise ValueError(f"{key}: {text!r} lacks a value; write {key}=a,b,c, with null for none")
    return Choices(key, values)


def _range(key: str, first: str, last: str, scale: str | None) -> Range:
    try:
        low, high = parse_number(first), parse_number(last)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
    if scale not in (None, "log"):
        raise ValueError(f"{key}: {scale!r} is no scale; write {key}={first}..{last}:log or no :")
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise ValueError(
            f"{key}: the range from {first} to {last} is empty; write the smaller end first"
        )
    if scale and low <= 0:
        raise ValueError(f"{key}: a :log range begins above 0, not at {first}")
    integer = all(re.fullmatch(r"[+-]?\d+", end) for end in (first, last))
    return Range(key, low, high, integer, scale == "log")


def _specs(grid: Mapping[str, Any] | Sequence[str]) -> Iterator[str]:
    if not isinstance(grid, Mapping):
        yield from grid
        return
    for key, given in grid.items():
        several = isinstance(given, Sequence) and not isinstance(given, str)
        values = [given] if not several else given
        yield f"{key}=" + ",".join(_text(value) for value in values)


def _text(value: Any) -> str:
    """A value in YAML; a text stays as it is, which makes ranges of `1..6`."""
    if isinstance(value, str):
        return value
    return yaml.safe_dump([value], default_flow_style=True, width=math.inf).strip()[1:-1]


def _split(text: str) -> Iterator[str]:
    """Parts between commas that are in no brackets or quotes."""
    depth, quote, start = 0, "", 0
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "[{":
            depth += 1
        elif letter in "]}":
            depth -= 1
        elif letter == "," and depth == 0:
            yield text[start:place].strip()
            start = place + 1
    yield text[start:].strip()


def told(problems: Iterable[str]) -> str:
    """All that is wrong with a sweep, each once."""
    return "\n".join(["the sweep has errors:", *(f"  {p}" for p in dict.fromkeys(problems))])


def problem_lines(error: ValueError) -> list[str]:
    """The problems in a recipe, without the line above them."""
    first, *rest = str(error).split("\n")
    return [line.strip() for line in rest] or [first]


def _known_paths(text: str, source: str, space: Sequence[Dimension]) -> list[str]:
    """The keys of the recipe, with those of parts that the sweep itself puts in."""
    plain = _paths(Recipe.from_text(text, (), source).model_dump(mode="json"))
    parts = [d for d in space if isinstance(plain.get(d.path, 0), Mapping | list | None)]
    shaped = Recipe.from_text(text, _firsts(parts), source)
    return list(_paths(shaped.model_dump(mode="json")))


def _problems_of_values(text: str, source: str, space: Sequence[Dimension]) -> list[str]:
    """What is wrong with each value, while the other keys have their first."""
    problems = []
    for dimension in space:
        for value in dimension.values if isinstance(dimension, Choices) else dimension.ends:
            try:
                Recipe.from_text(text, [*_firsts(space), f"{dimension.path}={value}"], source)
            except ValueError as error:
                problems += problem_lines(error)
    return problems


def _is_fixed(dimension: Dimension) -> bool:
    return dimension.ends[0] == dimension.ends[1]


def _firsts(dimensions: Iterable[Dimension]) -> list[str]:
    return [f"{dimension.path}={dimension.ends[0]}" for dimension in dimensions]


def _paths(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Every key of a recipe and what it holds, with the keys inside, also of parts in lists."""
    found = {}
    for key, value in tree.items():
        found[before + key] = value
        if isinstance(value, list):
            value = {str(at): part for at, part in enumerate(value) if isinstance(part, Mapping)}
        if isinstance(value, Mapping):
            found |= _paths(value, f"{before}{key}.")
    return found


def _is_in(path: str, part: str) -> bool:
    """Whether a key is inside a part."""
    return path.startswith(f"{part}.")


def _resolve(key: str, known: Sequence[str]) -> str:
    if key in known:
        return key
    ends = [path for path in known if path.endswith(f".{key}")]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise ValueError(f"{key}: may be {' or '.join(ends)}; write one of them")
    if key.partition(".")[0] in Recipe.model_fields:
        return key  # what is wrong with it is told with the recipe
    names = {name for path in known if _KEY.fullmatch(name := path.rpartition(".")[2])}
    others = f"{key} is for {', '.join(found)}" if (found := owners(key)) else ""
    raise ValueError(f"{key}: the recipe has no such key. {others or suggest(key, names)}")


def _checked(dimension: Dimension, before: Sequence[Dimension]) -> Dimension:
    path = dimension.path
    if any(other.path == path for other in before):
        raise ValueError(f"{path}: is given twice; write its values behind one another")
    if _is_fixed(dimension):
        return dimension
    if path == "seed":
        raise ValueError(
            "seed: every configuration is trained with several; write the first, such as seed=0, "
            "and how many (--seeds 3)"
        )
    if any(path == fixed or _is_in(path, fixed) for fixed in _COMPARED_BY):
        raise ValueError(
            f"{path}: configurations that differ in it do not compare; give it one value, and "
            "make a sweep for each"
        )
    return dimension
