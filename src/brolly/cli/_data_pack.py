"""`brolly data pack`, `brolly data show` and `brolly data verify`."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ._reading import ReadingOptions

if TYPE_CHECKING:
    from ..data import Source, Split

_NO_OPTIONS = ReadingOptions()


def pack(
    name: str,
    out: Path,
    *,
    level: int | None = None,
    force: bool = False,
    options: ReadingOptions = _NO_OPTIONS,
) -> None:
    """Pack a data set into one HDF5 file that any language reads.

    Parameters
    ----------
    name
        Name of a data set, or the path of a file or folder.
    out
        File to make, such as photos.h5.
    level
        Compression: 1 (fast) to 9 (small), 0 for none; 4 by default.
    force
        Replace the file if it is there.
    """
    from ..data import pack as write
    from ..data import read_source

    if not force:
        _refuse_existing(out)
    start = time.monotonic()
    source = read_source(name, options.reading())
    write(source, out, **({} if level is None else {"level": level}), overwrite=force)
    count = sum(len(labels) for _, labels in source.parts.values())
    print(
        f"{out}: {count:,} examples, {_size(out.stat().st_size)}, "
        f"{time.monotonic() - start:.1f} s"
    )  # fmt: skip


def show(name: str, *, options: ReadingOptions = _NO_OPTIONS) -> None:
    """Show what a data set holds: splits, classes, bounds, licence, hashes and size.

    Parameters
    ----------
    name
        Name of a data set, or the path of a file or folder.
    """
    from ..data import packed_hashes, read_source

    reading = options.reading()
    source = read_source(name, reading)
    path = _place(name, reading.data_dir)
    is_hdf5 = path is not None and path.suffix.lower() in (".h5", ".hdf5")
    hashes = packed_hashes(path) if is_hdf5 and path is not None else {}
    splits = _splits(source)
    console = Console()
    console.print(_about(source, splits, path))
    console.print(_counts(splits))
    for split in splits:
        told = hashes.get(split.name)
        print(f"sha256 of {split.name}: {told or split.sha256}" + (" (as written)" * bool(told)))


def verify(file: Path) -> int:
    """Compare the splits of a packed file with the hashes in it; exits with 1 if one differs.

    Parameters
    ----------
    file
        File that `brolly data pack` wrote.
    """
    from ..data import Damaged, verify_hdf5

    try:
        problems = verify_hdf5(file)
    except Damaged as error:
        print(error)
        return 1
    for split, problem in problems.items():
        print(f"{split} differs: {problem}" if problem else f"{split} is what was packed")
    return 1 if any(problems.values()) else 0


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise ValueError(f"{path} is there already; it was left as it is. To replace it: --force")


def _place(name: str, data_dir: Path | None) -> Path | None:
    from ..data import DATASETS, find_data, find_path

    if name not in DATASETS:
        return find_path(name, data_dir)
    place = Path(find_data(data_dir)[name])
    return place if place.exists() else None


def _splits(source: Source) -> list[Split]:
    from ..data import Split

    return [
        Split(*part, source.scale, name, source.name, source.classes)
        for name, part in source.parts.items()
    ]


def _about(source: Source, splits: list[Split], path: Path | None) -> Table:
    shape = " × ".join(str(size) for size in splits[0].shape)
    numbers = sum(len(split) for split in splits) * math.prod(splits[0].shape)
    in_memory = _size(numbers * splits[0].dtype.itemsize)
    table = Table("", "", box=None, title=source.name, title_justify="left", show_header=False)
    table.add_row("shape", f"{shape}, {str(splits[0].dtype).removeprefix('torch.')}")
    table.add_row("bounds", f"{source.bounds[0]:g} to {source.bounds[1]:g}")
    table.add_row("licence", source.licence or "unknown")
    table.add_row("citation", source.citation or "none given")
    table.add_row("in memory", in_memory)
    if path is not None:
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        table.add_row("on disk", f"{_size(sum(f.stat().st_size for f in files))} at {path}")
    return table


def _counts(splits: list[Split]) -> Table:
    classes = splits[0].classes
    table = Table("class", *(split.name for split in splits), box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    counts = [split.labels.bincount(minlength=len(classes)).tolist() for split in splits]
    for number, name in enumerate(classes):
        table.add_row(name, *(f"{count[number]:,}" for count in counts))
    table.add_section()
    table.add_row("all", *(f"{len(split):,}" for split in splits))
    return table


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
