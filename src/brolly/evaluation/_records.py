"""Frozen dataclasses as JSON files with a schema version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from .._files import write_json

SCHEMA = 1

Record = TypeVar("Record")


def save_record(path: str | Path, record: Any) -> None:
    """Writes a record as JSON, whole or not at all."""
    from pydantic import TypeAdapter

    value = TypeAdapter(type(record)).dump_python(record, mode="json")
    write_json(path, {"schema": SCHEMA, **value})


def load_record(kind: type[Record], path: str | Path) -> Record:
    """Reads what `save_record` wrote.

    Raises:
        ValueError: The file holds something else, is damaged, or has a newer schema.
    """
    from pydantic import TypeAdapter, ValidationError

    name = kind.__name__
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
        schema = value["schema"]
        if schema <= SCHEMA:
            return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(
            f"{path} holds no {name}, or is damaged: {where}: {first['msg']}"
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no {name}, or is damaged: {error!r}") from None
    raise ValueError(
        f"{path} has schema {schema}; this version of brolly reads up to {SCHEMA}. Install a newer "
        "brolly, or measure again"
    )
