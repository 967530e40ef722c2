"""Inputs in an HDF5 file, read a few rows at a time."""

from __future__ import annotations

import abc
import dataclasses
import functools
import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ._stored import Stored

if TYPE_CHECKING:
    import h5py

#: Bytes of decoded chunks that are kept for the next rows, and that are decoded at a time.
_KEPT, _AT_ONCE = 2**26, 2**23
#: Fewer chunks than this are decoded sooner than threads have started.
_WORTH_THREADS = 8


class Damaged(ValueError):
    """A file whose content is not what was once written."""


def stored_inputs(dataset: h5py.Dataset, path: Path) -> Stored:
    """The rows of an HDF5 dataset, read in the fastest way that its layout allows.

    HDF5 says only where the bytes lie. Contiguous data are mapped into memory; chunks of whole
    rows, as they are or in gzip, are read past HDF5 and its lock; all else is left to h5py.
    """
    plain = H5pyInputs(path, str(dataset.name), dataset.shape, _native(dataset.dtype))
    is_simple = (
        dataset.dtype.isnative
        and dataset.file.userblock_size == 0
        and not dataset.is_virtual
        and not dataset.external
        and len(dataset) > 0
    )
    if not is_simple:
        return plain
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        if offset is None:
            return plain
        return MappedInputs(plain.path, plain.dataset, plain.shape, plain.values, offset)
    return _chunked(dataset, plain) or plain


def _chunked(dataset: Any, plain: H5pyInputs) -> ChunkedInputs | None:
    import h5py

    properties, chunks = dataset.id.get_create_plist(), dataset.chunks
    filters = [properties.get_filter(at)[0] for at in range(properties.get_nfilters())]
    count = -(-len(dataset) // chunks[0])
    if (
        filters not in ([], [h5py.h5z.FILTER_DEFLATE])
        or chunks[1:] != dataset.shape[1:]
        or dataset.id.get_num_chunks() != count
    ):
        return None
    places = np.zeros((count, 2), dtype=np.int64)
    masks = set()

    def note(chunk: Any) -> None:
        places[chunk.chunk_offset[0] // chunks[0]] = chunk.byte_offset, chunk.size
        masks.add(chunk.filter_mask)

    dataset.id.chunk_iter(note)
    if masks != {0}:  # a filter was left out for some chunk
        return None
    return ChunkedInputs(
        plain.path, plain.dataset, plain.shape, plain.values, chunks[0], places, bool(filters),
        _identity(os.stat(plain.path)),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class _Inputs(Stored):
    """What all ways of reading a dataset know of it."""

    path: Path
    dataset: str
    shape: tuple[int, ...]
    values: np.dtype

    @property
    def dtype(self) -> torch.dtype:  # pyright: ignore[reportIncompatibleVariableOverride]
        return torch.from_numpy(np.empty(0, self.values)).dtype

    def read(self, rows: Tensor) -> Tensor:
        wanted = rows.cpu().numpy()
        out = np.empty((len(wanted), *self.shape[1:]), self.values)
        if len(wanted):
            if wanted.min() < 0 or wanted.max() >= len(self):
                raise IndexError(f"rows reach to {wanted.max()}; expected 0 to {len(self) - 1}")
            self._fill(out, wanted)
        return torch.from_numpy(out)

    @abc.abstractmethod
    def _fill(self, out: np.ndarray, rows: np.ndarray) -> None:
        """Writes the inputs at `rows` into `out`."""


@dataclasses.dataclass(frozen=True, eq=False)
class MappedInputs(_Inputs):
    """Rows that lie one after another, mapped into memory.

    Args:
        offset: Of the first row in the file, in bytes.
    """

    offset: int

    @functools.cached_property
    def _map(self) -> np.ndarray:
        try:
            return np.memmap(self.path, self.values, "r", self.offset, self.shape)
        except ValueError as error:
            raise Damaged(f"{self.path} is truncated ({error}); replace it") from None

    def _fill(self, out: np.ndarray, rows: np.ndarray) -> None:
        np.take(self._map, rows, axis=0, out=out, mode="clip")

    def __getstate__(self) -> dict[str, Any]:
        return _fields(self)


@dataclasses.dataclass(frozen=True, eq=False)
class ChunkedInputs(_Inputs):
    """Rows in chunks of some rows each, plain or in gzip.

    The file is opened for each read, so that nothing is shared between threads and processes.

    Args:
        per: Rows in a chunk; the last one is filled up.
        places: Offset and size of each chunk in the file, in bytes.
        is_gzip: Whether chunks are compressed.
        identity: Of the file that the places are about.
    """

    per: int
    places: np.ndarray
    is_gzip: bool
    identity: tuple[int, int, int]

    @functools.cached_property
    def _kept(self) -> dict[int, np.ndarray]:
        """Decoded chunks, the one used last at the end.

        Each step below is one operation of a dict, which threads cannot divide; a lock might be
        held by another thread when a process forks.
        """
        return {}

    def _fill(self, out: np.ndarray, rows: np.ndarray) -> None:
        numbers = rows // self.per
        order = np.argsort(numbers, kind="stable")
        chunks, starts = np.unique(numbers[order], return_index=True)
        groups = np.split(order, starts[1:])
        for number, chunk, at in zip(chunks, self._decoded(chunks.tolist()), groups, strict=True):
            out[at] = chunk[rows[at] - number * self.per]

    def _decoded(self, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        size = self.per * self._row_bytes
        file = os.open(self.path, os.O_RDONLY)
        try:
            if _identity(os.fstat(file)) != self.identity:
                raise ValueError(f"{self.path} has changed since it was opened; load it anew")
            step = max(1, _AT_ONCE // size)
            for first in range(0, len(numbers), step):
                yield from self._block(file, numbers[first : first + step])
        finally:
            os.close(file)
        kept = self._kept
        for number in list(kept)[: max(0, len(kept) - _KEPT // size)]:
            kept.pop(number, None)

    def _block(self, file: int, numbers: Sequence[int]) -> list[np.ndarray]:
        found = {number: self._kept.pop(number, None) for number in numbers}
        missing = [number for number, chunk in found.items() if chunk is None]
        decode = functools.partial(self._decode, file)
        if len(missing) < _WORTH_THREADS or available_cpus() == 1:
            decoded = [decode(number) for number in missing]
        else:
            with ThreadPoolExecutor(available_cpus()) as pool:
                decoded = list(pool.map(decode, missing))
        chunks = {**found, **dict(zip(missing, decoded, strict=True))}
        self._kept.update(chunks)
        return list(chunks.values())

    def _decode(self, file: int, number: int) -> np.ndarray:
        offset, stored = self.places[number].tolist()
        size = self.per * self._row_bytes
        content = os.pread(file, stored, offset)
        if self.is_gzip:
            gzip = zlib.decompressobj()
            try:  # one byte more than expected, so that the end and its checksum are reached
                content = gzip.decompress(content, size + 1)
            except zlib.error as error:
                raise self._damaged(number, str(error)) from None
            if not gzip.eof:
                raise self._damaged(number, "its end is missing")
        if len(content) != size:
            raise self._damaged(number, f"{len(content)} bytes; expected {size}")
        rows = np.frombuffer(content, self.values).reshape(self.per, *self.shape[1:])
        return rows[: len(self) - number * self.per]

    def _damaged(self, number: int, what: str) -> Damaged:
        first, end = number * self.per, min(len(self), (number + 1) * self.per)
        return Damaged(
            f"{self.path}: {self.dataset.strip('/')} is damaged in rows {first} to {end - 1} "
            f"({what}). It was left as it is: replace it"
        )

    @property
    def _row_bytes(self) -> int:
        return torch.Size(self.shape[1:]).numel() * self.values.itemsize

    def __getstate__(self) -> dict[str, Any]:
        return _fields(self)


@dataclasses.dataclass(frozen=True, eq=False)
class H5pyInputs(_Inputs):
    """Rows in any layout, read by h5py; the file is opened for each read."""

    def _fill(self, out: np.ndarray, rows: np.ndarray) -> None:
        import h5py

        unique, places = np.unique(rows, return_inverse=True)
        # Neighbours are read at once.
        runs = np.split(unique, np.flatnonzero(np.diff(unique) > 1) + 1)
        try:
            with h5py.File(self.path, "r") as file:
                dataset: Any = file[self.dataset]
                read = [dataset[run[0] : run[-1] + 1] for run in runs]
        except (OSError, KeyError) as error:
            raise Damaged(f"{self.path}: {self.dataset} cannot be read ({error})") from None
        out[:] = np.concatenate(read)[places]


@dataclasses.dataclass(frozen=True, eq=False)
class Arranged(Stored):
    """Stored images of other axes as `(n, c, h, w)`.

    Args:
        base: Images `(n, h, w)`, or any others.
        axes: The order in which they become ours; None: `(n, h, w)`, which gain a channel.
    """

    base: Stored
    axes: tuple[int, ...] | None

    @property
    def shape(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        given = self.base.shape
        return (
            (given[0], 1, *given[1:])
            if self.axes is None
            else tuple(given[axis] for axis in self.axes)
        )

    @property
    def dtype(self) -> torch.dtype:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.base.dtype

    def read(self, rows: Tensor) -> Tensor:
        images = self.base.read(rows)
        return images[:, None] if self.axes is None else images.permute(self.axes).contiguous()


def available_cpus() -> int:
    """How many threads of this process can run at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _native(dtype: np.dtype) -> np.dtype:
    return dtype.newbyteorder("=")


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _fields(inputs: Any) -> dict[str, Any]:
    """What is pickled: neither the map nor the chunks at hand."""
    return {field.name: getattr(inputs, field.name) for field in dataclasses.fields(inputs)}
