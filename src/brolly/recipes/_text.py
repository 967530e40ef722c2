"""Recipes as text: where they are found, and changes to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from .._names import suggest

_SHIPPED = Path(__file__).parent / "shipped"

#: Names of the recipes that come with brolly.
SHIPPED = tuple(sorted(path.stem for path in _SHIPPED.glob("*.yaml")))


def recipe_text(source: str | Path) -> str:
    """The YAML of a shipped recipe, of a file, or of the recipe in a run folder.

    Raises:
        ValueError: There is no such recipe, or it is no text.
    """
    path = _SHIPPED / f"{source}.yaml" if str(source) in SHIPPED else Path(source)
    if (path / "recipe.yaml").is_file():
        path /= "recipe.yaml"
    if path.is_dir() or not path.exists():
        raise ValueError(
            f"recipe {str(source)!r} is neither a shipped recipe nor a file. "
            f"{suggest(str(source), SHIPPED)}"
        )
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not YAML: {error}") from None


def change(tree: dict[str, Any], override: str) -> None:
    """Sets what an override `key.path=value` says in a recipe that was read.

    Raises:
        ValueError: It is no override, or there is no such place.
    """
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ValueError(
            f"{override!r} is no override; write key.path=value, e.g. optimizer.lr=0.1"
        )
    *parents, last = path.split(".")
    node: Any = tree
    for depth, key in enumerate(parents):
        place = _place(override, parents[:depth], node, key)
        node = node.setdefault(place, {}) if isinstance(node, dict) else node[place]
    try:
        node[_place(override, parents, node, last)] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{override!r}: the value is not YAML: {reason}") from None


def _place(override: str, path: Sequence[str], node: Any, key: str) -> Any:
    """Where `key` is in the entry or list at `path`: the key itself, or a position."""
    if isinstance(node, dict):
        return key
    if not isinstance(node, list):
        raise ValueError(
            f"{override!r}: {path[-1]!r} holds no keys, so there is nothing to set in it"
        )
    if not (key.isdecimal() and int(key) < len(node)):
        raise ValueError(
            f"{override!r}: {path[-1]!r} is a list of length {len(node)}, numbered from 0, so "
            f"there is no {key!r} in it; write the whole list: {'.'.join(path)}=[...]"
        )
    return int(key)
