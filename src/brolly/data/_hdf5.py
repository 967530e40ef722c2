"""Data sets in HDF5: the packed layout, and arrays in files of others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ._arrays import encode_labels, find_roles, image_axes, source_of_arrays
from ._dataset import Part, Source
from ._hdf5_inputs import Arranged, Damaged, stored_inputs
from ._reading import Reading
from ._split import Split
from ._stored import Stored

if TYPE_CHECKING:
    import h5py

#: What the attributes `format` and `version` of a packed file say.
FORMAT, VERSION = "brolly data", 1
SPLITS = ("train", "validation", "test")


def read_hdf5(path: Path, reading: Reading) -> Source:
    """Reads a packed file, or the inputs and labels of another HDF5 file; inputs stay in it.

    In other files the names of the datasets say what they are (`train/images`, `x_train`, ...), or
    `reading.mapping` does. Images `(n, h, w, c)` and `(n, h, w)` become `(n, c, h, w)`; labels may
    be one-hot.

    Raises:
        ValueError: The file is damaged, or has no datasets that fit: they are listed.
    """
    reading.refuse("an HDF5 file", "size", "colour", "skip_broken", "label")
    with _opened(path) as file:
        if reading.mapping is None and _is_packed(file):
            reading.refuse("a packed file, which says itself what they are", "bounds")
            return _packed(file, path)
        return _foreign(file, path, reading)


def packed_hashes(path: Path) -> dict[str, str]:
    """The hash of each split that a packed file says it has; none in other HDF5 files.

    Raises:
        ValueError: The file is damaged.
    """
    with _opened(path) as file:
        if not _is_packed(file):
            return {}
        return {split: _attribute(file[split], "sha256") for split in SPLITS if split in file}


def verify_hdf5(path: str | Path) -> dict[str, str]:
    """Compares each split of a packed file with the hash written beside it.

    Returns:
        What is wrong with each split, in words; empty where nothing is.

    Raises:
        ValueError: It is no packed file, or so damaged that its splits cannot be told.

    Example:
        >>> import tempfile, brolly
        >>> file = Path(tempfile.mkdtemp()) / "digits.h5"
        >>> brolly.data.pack(brolly.load_data("digits"), file)
        >>> brolly.data.verify_hdf5(file)
        {'train': '', 'validation': '', 'test': ''}
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist; expected a file that `brolly data pack` wrote")
    hashes = packed_hashes(path)
    if not hashes:
        raise ValueError(
            f"{path} has no hashes to verify: it is not a packed file. `brolly data pack` makes one"
        )
    source = read_hdf5(path, Reading())
    return {split: _wrong(source, split, expected) for split, expected in hashes.items()}


def _wrong(source: Source, split: str, expected: str) -> str:
    try:
        part = Split(*source.parts[split], source.scale, split, source.name, source.classes)
        found = part.sha256
    except ValueError as error:
        return str(error)
    return "" if found == expected else f"its hash is {found}; expected {expected}"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, TypeError) as error:
        what = " ".join(str(error).split())
        raise Damaged(
            f"{path} is damaged or no HDF5 file ({what}). It was left as it is: replace it"
        ) from None


def _is_packed(file: h5py.File) -> bool:
    return file.attrs.get("format") == FORMAT


def _attribute(item: Any, name: str) -> Any:
    if name not in item.attrs:
        raise Damaged(f"{item.file.filename} is damaged: {item.name} has no attribute {name!r}")
    return item.attrs[name]


def _packed(file: h5py.File, path: Path) -> Source:
    version = int(_attribute(file, "version"))
    if version > VERSION:
        raise ValueError(
            f"{path} has format version {version}; this version of brolly reads up to {VERSION}. "
            "Install a newer brolly"
        )
    low, high = _attribute(file, "bounds").tolist()
    return Source(
        name=_attribute(file, "name"),
        parts={split: _part(file[split], path) for split in SPLITS if split in file},
        classes=tuple(_attribute(file, "classes").tolist()),
        scale=float(_attribute(file, "scale")),
        bounds=(low, high),
        licence=_attribute(file, "licence"),
        citation=_attribute(file, "citation"),
    )


def _part(group: Any, path: Path) -> Part:
    inputs = group["images" if "images" in group else "features"]
    return Part(stored_inputs(inputs, path), torch.from_numpy(group["labels"][:]))


def _foreign(file: h5py.File, path: Path, reading: Reading) -> Source:
    datasets = _datasets(file)
    listed = ", ".join(f"{name} {data.shape} {data.dtype}" for name, data in datasets.items())
    try:
        roles = find_roles(datasets, reading.mapping, str(path))
    except ValueError as error:
        raise ValueError(f"{error}. The file holds {listed or 'no arrays'}") from None
    pairs = {split: (datasets[x], datasets[y]) for split, (x, y) in roles.items()}
    if not all(
        inputs.dtype == np.uint8 or inputs.dtype.kind == "f" for inputs, _ in pairs.values()
    ):
        arrays = {split: (inputs[()], labels[()]) for split, (inputs, labels) in pairs.items()}
        return source_of_arrays(path.stem, arrays, reading, str(path))
    labels, classes = encode_labels({split: y[()] for split, (_, y) in pairs.items()}, str(path))
    inputs = {split: _arranged(x, path) for split, (x, _) in pairs.items()}
    kinds = {(values.shape[1:], values.dtype) for values in inputs.values()}
    if len(kinds) > 1:
        raise ValueError(f"{path}: splits differ in the shape or type of their inputs: {listed}")
    scale, bounds = 255.0, (0.0, 1.0)
    if inputs["train"].dtype == torch.uint8:
        reading.refuse("8-bit images", "bounds")
    else:
        scale, bounds = 1.0, reading.bounds or _spanned(inputs)
    parts = {split: Part(inputs[split], labels[split]) for split in inputs}
    return Source(path.stem, parts, classes, scale, bounds)


def _datasets(file: h5py.File) -> dict[str, Any]:
    import h5py

    found: dict[str, Any] = {}

    def note(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item

    file.visititems(note)
    return found


def _arranged(dataset: Any, path: Path) -> Stored:
    inputs = stored_inputs(dataset, path)
    if len(inputs.shape) == 3:
        return Arranged(inputs, None)
    if len(inputs.shape) == 4:
        axes = image_axes(inputs.shape)
        return inputs if axes is None else Arranged(inputs, axes)
    if len(inputs.shape) == 2:
        return inputs
    raise ValueError(
        f"{path}: {dataset.name} has shape {inputs.shape}; expected images (n, h, w), "
        "(n, h, w, c) or (n, c, h, w), or features (n, d)"
    )


def _spanned(inputs: Mapping[str, Stored]) -> tuple[float, float]:
    """Bounds of floating point inputs: [0, 1] for images, what they span for features."""
    if len(inputs["train"].shape) == 4:
        return 0.0, 1.0
    parts = (
        values.read(rows)
        for values in inputs.values()
        for rows in torch.arange(len(values)).split(1024)
        if len(rows)
    )
    lows, highs = zip(*((float(part.min()), float(part.max())) for part in parts), strict=True)
    return min(lows), max(highs)
