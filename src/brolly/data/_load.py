"""Data sets by name or path."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from .._names import suggest
from ._cifar import is_cifar, read_cifar
from ._dataset import Dataset, Source
from ._digits import read_digits
from ._find import locate, read_known
from ._folder import read_folder, read_tar, read_zip
from ._hdf5 import read_hdf5
from ._hugging_face import read_hugging_face
from ._idx import is_idx, read_idx
from ._known import KNOWN
from ._mat import read_mat
from ._npz import read_npz
from ._reading import Colour, Reading
from ._split import Split
from ._stored import Stored
from ._table import read_csv, read_parquet
from ._text import is_text_folder, read_text, read_text_folder

#: How each known set is read.
_NAMED: dict[str, Callable[[Reading], Source]] = {
    "digits": read_digits,
    **{name: functools.partial(read_known, known) for name, known in KNOWN.items()},
}

#: How files are read, by the end of their name; the empty one is a folder.
_READERS: dict[str, Callable[[Path, Reading], Source]] = {
    "": read_folder,
    ".zip": read_zip,
    **dict.fromkeys((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"), read_tar),
    ".npz": read_npz,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
    ".mat": read_mat,
    ".txt": read_text,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
}

DATASETS = tuple(_NAMED)


def load_data(
    name: str | Path,
    *,
    data_dir: str | Path | None = None,
    validation: float = 0.1,
    test: float = 0.2,
    size: int | tuple[int, int] | None = None,
    colour: Colour | None = None,
    skip_broken: bool = False,
    label: str | None = None,
    mapping: Mapping[str, str] | None = None,
    bounds: tuple[float, float] | None = None,
    in_memory: bool | None = None,
) -> Dataset:
    """Loads a data set by its name, or from a file or folder of your own.

    `docs/data.md` lists the names and the kinds of files. A known set is searched in `data_dir`,
    in `$BROLLY_DATA` and in the user's cache, is downloaded into the last where it is in none, and
    must have the content that is known of it.

    Args:
        name: A known name, the path of a file or folder, or `hf:` and the name of a data set of
            Hugging Face (`hf:NAME` or `hf:NAME:CONFIGURATION`). A relative path starts at the
            working folder, then at `data_dir`, then at `$BROLLY_DATA`.
        data_dir: First folder to search for a known data set.
        validation: Part of the training data for validation, where the files set none aside.
        test: Part of all data for the test split, where the files set none aside.
        size: Side, or height and width, that images are brought to; None: they must agree.
        colour: `grey` or `rgb`: what images are converted to; None: they must agree.
        skip_broken: Whether unreadable images are left out, with a warning; else they are errors.
        label: Column that holds the class, in tables and text files with columns.
        mapping: Our array names (`train/images`, `train/labels`, ...) to those in a foreign HDF5,
            `.npz` or `.mat` file.
        bounds: Lowest and highest value of features; None: what they span.
        in_memory: Whether inputs are read into memory at once; None: where they take at most a
            quarter of the memory that is free.

    Raises:
        ValueError: The name is unknown; a file is damaged or holds other data; an option does not
            fit the kind of file; or a known set is nowhere and cannot be downloaded.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> data.shape, len(data.train), len(data.validation), len(data.test)
        ((1, 8, 8), 1260, 140, 397)
    """
    reading = Reading(
        data_dir=None if data_dir is None else Path(data_dir),
        size=(size, size) if isinstance(size, int) else size,
        colour=colour, skip_broken=skip_broken, label=label, mapping=mapping, bounds=bounds,
    )  # fmt: skip
    data = read_source(name, reading).dataset(validation=validation, test=test)
    splits = {part: getattr(data, part) for part in ("train", "validation", "test")}
    if in_memory is None:
        in_memory = sum(_unread(split) for split in splits.values()) <= _free_memory() / 4
    if not in_memory:
        return data
    return dataclasses.replace(data, **{part: split.in_memory() for part, split in splits.items()})


def read_source(name: str | Path, reading: Reading) -> Source:
    """The data of that name or path, as its makers cut it.

    Raises:
        ValueError: As `load_data`.
    """
    if str(name) in _NAMED:
        return _NAMED[str(name)](reading)
    if str(name).startswith("hf:"):
        return read_hugging_face(str(name).removeprefix("hf:"), reading)
    path = find_path(name, reading.data_dir)
    if path is None and _looks_like_path(name):
        raise ValueError(
            f"{name} does not exist in the working folder, the folder of data or $BROLLY_DATA; "
            "expected a file or folder, or the name of a known set"
        )
    if path is None:
        raise ValueError(
            f"data set {str(name)!r} is unknown. {suggest(str(name), _NAMED)} No file or "
            "folder has that name either"
        )
    return reader_of(path)(path, reading)


def find_path(name: str | Path, data_dir: str | Path | None = None) -> Path | None:
    """The file or folder of that name in the working folder, `data_dir` or `$BROLLY_DATA`."""
    for folder in (".", data_dir, os.environ.get("BROLLY_DATA")):
        if folder and (path := Path(folder) / name).exists():
            return path
    return None


def may_be_data(name: str) -> bool:
    """Whether `load_data` may take it: a known name, `hf:` and a name, or a path, there or not."""
    is_name = name in _NAMED or name.startswith("hf:")
    return is_name or _looks_like_path(name) or find_path(name) is not None


def _looks_like_path(name: str | Path) -> bool:
    return isinstance(name, Path) or "/" in name or "." in name


def is_here(name: str, data_dir: str | Path | None = None) -> bool:
    """Whether a data set can be loaded without a download."""
    if name in KNOWN:
        return locate(KNOWN[name], data_dir) is not None
    return name in _NAMED or find_path(name, data_dir) is not None


def find_data(data_dir: str | Path | None = None) -> dict[str, str]:
    """Where each data set lies on this machine, in words; nothing is downloaded or read."""
    found = {name: locate(known, data_dir) for name, known in KNOWN.items()}
    return {
        "digits": "comes with scikit-learn",
        **{name: str(place or "not found; downloaded when used") for name, place in found.items()},
    }


def reader_of(path: Path) -> Callable[[Path, Reading], Source]:
    """What reads a file or folder.

    Raises:
        ValueError: It is of no kind that can be read.
    """
    if is_cifar(path):
        return read_cifar
    if is_idx(path):
        return read_idx
    if path.is_dir() and is_text_folder(path):
        return read_text_folder
    if path.is_dir() and "" in _READERS:
        return _READERS[""]
    # The longest that fits: `.tar.gz` before `.gz`.
    for suffix in sorted(_READERS, key=len, reverse=True):
        if suffix and path.name.lower().endswith(suffix):
            return _READERS[suffix]
    kinds = ", ".join(suffix for suffix in _READERS if suffix)
    raise ValueError(f"{path} is of no kind that can be read; expected a folder or one of {kinds}")


def _unread(split: Split) -> int:
    return split.inputs.nbytes() if isinstance(split.inputs, Stored) else 0


def _free_memory() -> float:
    """Bytes that programs may have: free ones, and those that only hold copies of files."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if "MemAvailable" in line)
    except (OSError, StopIteration):  # not known on this system
        return 8 * 2**30
