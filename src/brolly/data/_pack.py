"""Writing data sets into HDF5."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._files import replacing
from ._dataset import Dataset, Part, Source, check_bounds
from ._hdf5 import FORMAT, SPLITS, VERSION
from ._hdf5_outputs import CompressedOutput, MappedOutput, SplitOutput
from ._split import Split
from ._stored import rows_at_once, take
from ._threads import usable_cpus

#: gzip level: on Fashion-MNIST 4 makes files 2 % smaller than 1, and 6 another 1 % in 1.4 times
#: the time.
LEVEL = 4


def pack(
    data: Source | Dataset, path: str | Path, *, level: int = LEVEL, overwrite: bool = False
) -> None:
    """Writes a data set into an HDF5 file, a part at a time, in the layout `docs/data.md` shows.

    Args:
        data: What to write: each of its splits, as it is cut.
        path: File to make, `.h5`. It is complete or absent, whatever happens.
        level: Of gzip, 1 (fast) to 9 (small); 0 leaves inputs as they are, in one piece, so that
            they can be mapped into memory.
        overwrite: Whether a file that is there is replaced.

    Raises:
        ValueError: The file is there already, or the level is out of range.
        OSError: It cannot be written there, for example because the disk is full.

    Example:
        >>> import tempfile, brolly
        >>> file = Path(tempfile.mkdtemp()) / "digits.h5"
        >>> brolly.data.pack(brolly.load_data("digits"), file)
        >>> brolly.load_data(file).shape
        (1, 8, 8)
    """
    parts = _parts(data)
    with Packing(
        path, name=data.name, classes=data.classes, scale=_scale(data), bounds=data.bounds,
        licence=data.licence, citation=data.citation, level=level, overwrite=overwrite,
        lengths={split: len(part.labels) for split, part in parts.items()},
    ) as out:  # fmt: skip
        for split, (inputs, labels) in parts.items():
            for rows in torch.arange(len(labels)).split(rows_at_once(inputs)):
                out.append(split, take(inputs, rows), labels[rows])


def _parts(data: Source | Dataset) -> Mapping[str, Part]:
    if isinstance(data, Source):
        return data.parts
    splits = (data.train, data.validation, data.test)
    return {split.name: Part(split.inputs, split.labels) for split in splits}


def _scale(data: Source | Dataset) -> float:
    return data.scale if isinstance(data, Source) else data.train.scale


class Packing:
    """Writes a data set larger than memory into an HDF5 file, a few examples at a time.

    A context manager: the file appears when it ends, complete; after an exception there is none.

    Args:
        path: File to make, `.h5`.
        classes: Class names.
        name: What the data set is called; None: as the file.
        scale: Divisor of the stored inputs; None: 255 for uint8, else 1.
        bounds: Lowest and highest value, after scaling.
        licence: Terms of use.
        citation: What to cite.
        level: Of gzip, 1 to 9; 0: inputs in one piece, uncompressed, which needs `lengths`.
        lengths: Examples that each split will have, where known.
        overwrite: Whether a file that is there is replaced.

    Raises:
        ValueError: The file is there already, or an argument is out of range.

    Example:
        >>> import tempfile, torch, brolly
        >>> file = Path(tempfile.mkdtemp()) / "noise.h5"
        >>> with brolly.data.Packing(file, classes=["even", "odd"]) as out:
        ...     for _ in range(3):
        ...         out.append("train", torch.rand(10, 3, 8, 8), torch.arange(10) % 2)
        >>> len(brolly.load_data(file, validation=0, test=0).train)
        30
    """

    def __init__(
        self,
        path: str | Path,
        *,
        classes: Sequence[str],
        name: str | None = None,
        scale: float | None = None,
        bounds: tuple[float, float] = (0.0, 1.0),
        licence: str = "",
        citation: str = "",
        level: int = LEVEL,
        lengths: Mapping[str, int] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        self.classes = tuple(classes)
        self.name = self.path.stem if name is None else name
        self.scale = scale
        self.bounds = bounds
        self.licence = licence
        self.citation = citation
        self.level = level
        self.lengths = dict(lengths or {})
        self.overwrite = overwrite
        self._outputs: dict[str, SplitOutput] = {}
        if self.path.suffix.lower() not in (".h5", ".hdf5"):
            raise ValueError(f"{path} would not be read as HDF5; write {self.path.stem}.h5")
        if not 0 <= level <= 9:
            raise ValueError(f"level is {level}; expected 0 (uncompressed), or 1 to 9")
        if level == 0 and lengths is None:
            raise ValueError(
                "level 0 keeps inputs in one piece, whose size must be known: write "
                "lengths={'train': ...}"
            )
        if self.path.exists() and not overwrite:
            raise ValueError(
                f"{path} is there already and was left as it is. To replace it write --force "
                "(overwrite=True)"
            )

    def __enter__(self) -> Packing:
        import h5py

        with _naming(self.path), contextlib.ExitStack() as stack:
            temporary = stack.enter_context(replacing(self.path))
            self._pool = stack.enter_context(ThreadPoolExecutor(usable_cpus()))
            # The format of 2008: any reader knows it, and its headers have checksums.
            self._sink = stack.enter_context(_Sink(temporary, "w+"))
            self._file = stack.enter_context(h5py.File(self._sink, "w", libver="v108"))
            self._stack = stack.pop_all()
        return self

    def append(self, split: str, inputs: Tensor, labels: Tensor) -> None:
        """Adds some examples at the end of `train`, `validation` or `test`.

        Args:
            split: Which one.
            inputs: Images uint8 or floating point `(k, c, h, w)`, or other inputs `(k, ...)`.
            labels: int64, `(k,)`.

        Raises:
            ValueError: Inputs or labels do not fit each other, those before, the classes or the
                bounds.
        """
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")
        if self.scale is None:
            self.scale = 255.0 if inputs.dtype == torch.uint8 else 1.0
        some = Split(inputs, labels, self.scale, split, self.name, self.classes)
        check_bounds(some, self.bounds)
        for name, output in self._outputs.items():
            if (output.shape, output.dtype) != (some.shape, some.dtype):
                raise ValueError(
                    f"inputs of {split} are {some.shape} {some.dtype}, those of {name} "
                    f"{output.shape} {output.dtype}; expected the same"
                )
        with _naming(self.path):
            try:
                if split not in self._outputs:
                    self._outputs[split] = self._begin(some)
                self._outputs[split].append(inputs.cpu(), labels.cpu())
            finally:
                self._sink.check()

    def _begin(self, split: Split) -> SplitOutput:
        group = self._file.create_group(split.name)
        if self.level:
            return CompressedOutput(group, split, self.level, self._pool)
        return MappedOutput(group, split, self.lengths.get(split.name, 0))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with _naming(self.path):
            if error is not None:
                self._stack.__exit__(kind, error, trace)
                return
            with self._stack:
                try:
                    self._finish()
                    self._file.close()
                finally:  # what HDF5 says of lost bytes matters less than why they are lost
                    self._sink.check()

    def _finish(self) -> None:
        counts = {split: output.count for split, output in self._outputs.items()}
        if "train" not in counts:
            raise ValueError(f"{self.path} would hold no training examples; append some")
        for split, length in self.lengths.items():
            if counts.get(split, 0) != length:
                raise ValueError(
                    f"{split} was to have {length} examples, but {counts.get(split, 0)} were "
                    "appended"
                )
        for output in self._outputs.values():
            output.finish()
        attributes = self._file.attrs
        attributes["format"], attributes["version"] = FORMAT, VERSION
        attributes["name"] = self.name
        attributes["classes"] = list(self.classes)
        attributes["scale"] = self.scale
        attributes["bounds"] = np.array(self.bounds, dtype=np.float64)
        attributes["licence"], attributes["citation"] = self.licence, self.citation


class _Sink(io.FileIO):
    """A file whose writes seem to succeed; `check` raises the first error there was.

    HDF5 crashes the process if a write fails while it closes a file.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            if self.error is None:
                rest = memoryview(data).cast("B")
                while rest:
                    rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        try:
            if self.error is None:
                return super().truncate(size)
        except OSError as error:
            self.error = error
        return size or 0

    def check(self) -> None:
        if self.error is not None:
            raise self.error


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors of the system say which file was to be written."""
    try:
        yield
    except OSError as error:
        what = error.strerror or str(error)
        raise OSError(error.errno, what, str(path)) from error
