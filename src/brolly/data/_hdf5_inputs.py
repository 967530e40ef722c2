"""Inputs in an HDF5 file, read a few rows at a time."""

from __future__ import annotations

import abc
import dataclasses
import functools
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ._stored import Stored
from ._threads import spread, usable_cpus

if TYPE_CHECKING:
    import h5py

#: Bytes of decoded chunks that are kept for the next rows.
_KEPT = 2**26
#: Bytes of a chunk from which on several threads decode faster than one: in smaller ones they wait
#: for each other more than they decode.
_WORTH_THREADS = 2**14


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
        first, last = int(rows[0]), int(rows[-1])
        if last - first == len(rows) - 1 and (np.diff(rows) == 1).all():
            out[...] = self._map[first : last + 1]  # one piece, as a plain file is read
        else:
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
    def _kept(self) -> dict[int, bytes]:
        """Decoded chunks, the one used last at the end.

        Each step below is one operation of a dict, which threads cannot divide; a lock might be
        held by another thread when a process forks.
        """
        return {}

    def _fill(self, out: np.ndarray, rows: np.ndarray) -> None:
        order = np.argsort(rows, kind="stable")  # so that a chunk is decoded once
        wanted = list(zip(rows[order].tolist(), order.tolist(), strict=True))
        bytes_out, size = out.reshape(-1).view(np.uint8).data, self._row_bytes
        missing = set((rows // self.per).tolist()) - self._kept.keys()
        large = self.per * size >= _WORTH_THREADS and len(missing) > 1
        threads = usable_cpus() if large else 1
        share = -(-len(wanted) // threads)
        file = os.open(self.path, os.O_RDONLY)

        def fill(first: int) -> None:
            number, chunk = -1, memoryview(b"")
            for row, at in wanted[first : first + share]:
                if row // self.per != number:
                    number = row // self.per
                    chunk = memoryview(self._chunk(file, number))
                start = (row - number * self.per) * size
                bytes_out[at * size : (at + 1) * size] = chunk[start : start + size]

        try:
            if _identity(os.fstat(file)) != self.identity:
                raise ValueError(f"{self.path} has changed since it was opened; load it anew")
            spread(fill, range(0, len(wanted), share))
        finally:
            os.close(file)

    def _chunk(self, file: int, number: int) -> bytes:
        """A decoded chunk, and the chunks at hand cut back to half where there are too many."""
        kept, most = self._kept, _KEPT // (self.per * self._row_bytes)
        chunk = kept.pop(number, None) or self._decode(file, number)
        if len(kept) >= most:
            for old in list(kept)[: len(kept) - most // 2]:
                kept.pop(old, None)
        if most:
            kept[number] = chunk
        return chunk

    def _decode(self, file: int, number: int) -> bytes:
        offset, stored = self.places[number].tolist()
        size = self.per * self._row_bytes
        content = os.pread(file, stored, offset)
        if self.is_gzip:
            try:
                content = zlib.decompress(content, bufsize=size)
            except zlib.error as error:
                raise self._damaged(number, str(error)) from None
        if len(content) != size:
            raise self._damaged(number, f"{len(content)} bytes; expected {size}")
        return content

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


def _native(dtype: np.dtype) -> np.dtype:
    return dtype.newbyteorder("=")


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _fields(inputs: Any) -> dict[str, Any]:
    """What is pickled: neither the map nor the chunks at hand."""
    return {field.name: getattr(inputs, field.name) for field in dataclasses.fields(inputs)}
