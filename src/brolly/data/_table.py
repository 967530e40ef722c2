"""Tables: a column with the class, and columns of pixels, features or text."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._arrays import single, source_of_arrays, split_called
from ._dataset import Source
from ._reading import Reading
from ._text import LABEL_COLUMNS, TEXT_COLUMNS, decoded, source_of_sentences

_PIXEL = re.compile(r"(pixel|px)?[ _]?\d+([x_]\d+)?", re.IGNORECASE)
_SURELY_PIXELS = 64  # so many columns of bytes are pixels, whatever they are called
_INDEX = re.compile(r"\s*|Unnamed: \d+|__index_level_\d+__")  # what pandas calls row numbers


def read_csv(path: Path, reading: Reading) -> Source:
    """Reads a `.csv` or `.tsv` file, UTF-8, whose first line names the columns.

    One column holds the class: `reading.label`, or the one called label, class, target or y. A
    column called split says train, validation or test. A column called text or sentence holds the
    inputs if there is one; the other columns are left out then. Else they are the inputs: an image
    where they hold whole numbers from 0 to 255, are a square or three squares (all red, all green,
    all blue), and are numbered (`pixel0`, `1x1`) or at least 64; otherwise features.

    Raises:
        ValueError: A column is missing, unnamed or there twice, a line has more or fewer cells
            than there are columns, or a cell is empty or no number. The place is named.
    """
    reading.refuse("a table", *_UNUSED)
    rows = _rows(path)
    names = [name.strip() for name in next(rows, (1, []))[1]]
    if names and all(_number(name) is not None for name in names):
        raise ValueError(
            f"{path} begins with numbers; expected names of columns: write a first line such as "
            "label,pixel0,pixel1,... before them"
        )
    columns = _Columns.of(names, reading, path)
    special = [name for name in (columns.label, columns.split, columns.text) if name is not None]
    at = {name: names.index(name) for name in special}
    table = _Table(columns, [], [], [])
    for line, cells in rows:
        where = f"{path}, line {line}"
        _check(cells, len(names), at, where)
        table.labels.append(cells[at[columns.label]].strip())
        if columns.split is not None:
            table.splits.append(_split(cells[at[columns.split]], where))
        if columns.text is not None:
            table.inputs.append(cells[at[columns.text]])
            continue
        for place in sorted(at.values(), reverse=True):
            del cells[place]
        table.inputs.append(_numbers(cells, columns.features, where))
    return table.source(path, reading)


def read_parquet(path: Path, reading: Reading) -> Source:
    """Reads a `.parquet` file; columns as in `read_csv`. Needs `pip install 'brolly[parquet]'`.

    Raises:
        ValueError: As `read_csv`; or pyarrow is not installed.
    """
    reading.refuse("a table", *_UNUSED)
    try:
        import pyarrow
        import pyarrow.parquet
    except Exception as error:  # a broken installation raises anything
        raise ValueError(
            f"reading {path} needs pyarrow ({error}). Install it with: "
            "pip install 'brolly[parquet]'"
        ) from None
    try:
        arrow = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is damaged or no Parquet file ({error}); replace it") from None
    columns = _Columns.of(arrow.column_names, reading, path)
    wanted = [columns.label, columns.split, columns.text, *columns.features]
    for name in wanted:
        if name is not None and arrow[name].null_count:
            row = arrow[name].is_null().to_pylist().index(True)
            raise ValueError(f"{path}, row {row}, column {name} is empty")
    splits: list[str] = []
    if columns.split is not None:
        cells = arrow[columns.split].to_pylist()
        splits = [_split(str(cell), f"{path}, row {row}") for row, cell in enumerate(cells)]
    inputs: Any
    if columns.text is not None:
        inputs = [str(text) for text in arrow[columns.text].to_pylist()]
    else:
        inputs = np.empty((len(arrow), len(columns.features)), np.float32)
        for place, name in enumerate(columns.features):
            inputs[:, place] = _arrow_numbers(arrow[name], f"{path}, column {name}")
    return _Table(columns, inputs, arrow[columns.label].to_pylist(), splits).source(path, reading)


_UNUSED = ("size", "colour", "skip_broken", "mapping")


@dataclasses.dataclass(frozen=True)
class _Columns:
    """Which column is what."""

    label: str
    split: str | None
    text: str | None
    features: tuple[str, ...]

    @classmethod
    def of(cls, names: Sequence[str], reading: Reading, path: Path) -> _Columns:
        listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "") or "none"
        for place, name in enumerate(names):
            if _INDEX.fullmatch(name):
                raise ValueError(
                    f"{path}: column {place + 1} of {len(names)} has no name, or one for row "
                    f"numbers ({name!r}); name it or remove it, in pandas with index=False"
                )
            if names.index(name) < place:
                raise ValueError(f"{path} has two columns {name!r}; rename one of them")
        if reading.label is not None and reading.label not in names:
            raise ValueError(f"{path} has no column {reading.label!r}; its columns are {listed}")
        fitting = [name for name in names if name.lower() in LABEL_COLUMNS]
        if reading.label is None and len(fitting) != 1:
            found = f"the columns {' and '.join(fitting)}" if fitting else "no column"
            raise ValueError(
                f"{path} has {found} called {', '.join(LABEL_COLUMNS)}; its columns are {listed}. "
                "Say which one holds the class: label='...'"
            )
        label = reading.label or fitting[0]
        others = [name for name in names if name != label]
        split = next((name for name in others if name.lower() == "split"), None)
        text = next((name for name in others if name.lower() in TEXT_COLUMNS), None)
        features = () if text else tuple(name for name in others if name != split)
        if not text and not features:
            raise ValueError(f"{path} has no columns beside {listed}; expected inputs")
        return cls(label, split, text, features)


@dataclasses.dataclass(frozen=True)
class _Table:
    """What a table holds: for each row its inputs, label and split (none: all are train)."""

    columns: _Columns
    inputs: Any  # sentences, or rows of float32
    labels: list[Any]
    splits: list[str]

    def source(self, path: Path, reading: Reading) -> Source:
        if not self.labels:
            raise ValueError(f"{path} has no rows below the names of the columns")
        labels = _typed(self.labels)
        splits = np.array(self.splits or ["train"] * len(labels))
        rows = {str(split): np.flatnonzero(splits == split) for split in np.unique(splits)}
        if "train" not in rows:
            raise ValueError(f"{path} has no rows for training; its splits are {', '.join(rows)}")
        if self.columns.text is not None:
            reading.refuse("text", "bounds")
            texts = {
                split: ([self.inputs[row] for row in at], labels[at]) for split, at in rows.items()
            }
            return source_of_sentences(path.stem, texts, str(path))
        inputs = _as_images(np.asarray(self.inputs), self.columns.features)
        arrays = {split: (inputs[at], labels[at]) for split, at in rows.items()}
        return source_of_arrays(path.stem, arrays, reading, str(path))


def _as_images(values: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Pixels as uint8 `(n, c, h, w)`; other features as they are."""
    width = values.shape[1]
    channels = next((c for c in (1, 3) if math.isqrt(width // c) ** 2 * c == width), None)
    named = width >= _SURELY_PIXELS or all(_PIXEL.fullmatch(name) for name in names)
    if channels is None or not named:
        return values
    if values.min() < 0 or values.max() > 255 or not (values == np.round(values)).all():
        return values
    side = math.isqrt(width // channels)
    return values.astype(np.uint8).reshape(-1, channels, side, side)


def _typed(labels: list[Any]) -> np.ndarray:
    """Labels as whole numbers if all are, else as numbers if all are, else as they stand.

    They stay text where numbers would make one class of several, as of 1 and 01.
    """
    if all(isinstance(label, str) for label in labels):
        for kind in (int, float):
            try:
                numbers = [kind(label) for label in labels]
            except ValueError:
                continue
            if len(set(numbers)) == len(set(labels)):
                return np.array(numbers)
    return np.array(labels)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each line that is not blank."""
    text = io.StringIO(decoded(path), newline="")
    # Text separated by tabs knows no quotes: https://www.iana.org/assignments/media-types/text/tab-separated-values
    if path.suffix.lower() == ".tsv":
        reader = csv.reader(text, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(text, strict=True)
    try:
        yield from ((reader.line_num, cells) for cells in reader if cells)
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from None


def _check(cells: list[str], width: int, filled: Mapping[str, int], where: str) -> None:
    if len(cells) != width:
        raise ValueError(f"{where} has {len(cells)} cells; expected {width}, one for each column")
    for name, place in filled.items():
        if not cells[place].strip():
            raise ValueError(f"{where}, column {name} is empty")


def _split(cell: str, where: str) -> str:
    split = split_called(cell.strip())
    if split is None:
        raise ValueError(f"{where}: split is {cell!r}; expected train, validation or test")
    return split


def _numbers(cells: list[str], names: Sequence[str], where: str) -> np.ndarray:
    try:
        row = np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        row = np.array([_number(cell) if _number(cell) is not None else np.nan for cell in cells])
    row = single(row)
    if not np.isfinite(row).all():
        place = int(np.flatnonzero(~np.isfinite(row))[0])
        found = repr(cells[place]) if cells[place].strip() else "empty"
        raise ValueError(f"{where}, column {names[place]} is {found}; expected a number")
    return row


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _arrow_numbers(column: Any, where: str) -> np.ndarray:
    import pyarrow

    kinds = pyarrow.types
    if not (kinds.is_integer(column.type) or kinds.is_floating(column.type)
            or kinds.is_boolean(column.type)):  # fmt: skip
        raise ValueError(
            f"{where} holds {column.type}; expected numbers. For images in Parquet, load it with "
            "the library datasets and give it to brolly.data.from_hugging_face"
        )
    values = single(column.to_numpy())
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(f"{where}, row {row} is {values[row]}; expected a number")
    return values
