"""How the examples of one split are written into HDF5."""

from __future__ import annotations

import abc
import array
import collections
import hashlib
import zlib
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ._split import Split
from ._threads import usable_cpus

if TYPE_CHECKING:
    import h5py

#: Bytes of a chunk, where a row is not larger: what must be decoded to read one row. Chunks of
#: 16 KiB make Fashion-MNIST 3 % smaller, those of 256 KiB no more.
CHUNK = 2**12
_TYPES = (torch.uint8, torch.float16, torch.float32, torch.float64)


class SplitOutput(abc.ABC):
    """Inputs and labels of one split on their way into a group.

    Args:
        group: Where they are written.
        like: Some examples of the kind to come.
        level: gzip level of the labels; 0: uncompressed.

    Raises:
        ValueError: Inputs are of a type that files do not hold.
    """

    def __init__(self, group: h5py.Group, like: Split, level: int) -> None:
        if like.dtype not in _TYPES:
            raise ValueError(f"inputs are {like.dtype}; expected uint8 or floating point")
        self.shape, self.dtype = like.shape, like.dtype
        self.values = like.read(torch.arange(0)).cpu().numpy().dtype
        self.count = 0
        self._split = like.name
        self._group, self._level = group, level
        self._digest = hashlib.sha256()
        # One piece that grows: many small ones would scatter the memory between larger ones.
        self._labels = array.array("q")
        self._name = "images" if len(self.shape) == 3 else "features"

    def append(self, inputs: Tensor, labels: Tensor) -> None:
        """Adds examples, `(k, ...)` and int64 `(k,)`."""
        rows = inputs.contiguous().numpy()
        if rows.size:
            self._digest.update(rows.data.cast("B"))
        self._labels.frombytes(labels.numpy().tobytes())
        self._write(rows)
        self.count += len(rows)

    def finish(self) -> None:
        """Writes what is still held back, the labels and the hash: that of `Split.sha256`."""
        self._end()
        labels = np.array(self._labels, dtype="<i8")
        self._digest.update(labels.tobytes())
        gzip = {"compression": "gzip", "compression_opts": self._level} if self._level else {}
        self._group.create_dataset("labels", data=labels, **(gzip if len(labels) else {}))
        self._group.attrs["sha256"] = self._digest.hexdigest()

    @abc.abstractmethod
    def _write(self, rows: np.ndarray) -> None:
        """Takes some rows after those before; `count` is not yet raised."""

    @abc.abstractmethod
    def _end(self) -> None:
        """Writes what is still held back."""


class MappedOutput(SplitOutput):
    """Inputs in one piece, uncompressed.

    Args:
        group, like: As `SplitOutput`.
        length: How many there will be.
    """

    def __init__(self, group: h5py.Group, like: Split, length: int) -> None:
        super().__init__(group, like, level=0)
        self._dataset = group.create_dataset(
            self._name, (length, *self.shape), self.values, fill_time="never"
        )

    def _write(self, rows: np.ndarray) -> None:
        if self.count + len(rows) > len(self._dataset):
            raise ValueError(
                f"{self._split} was to have {len(self._dataset)} examples, but "
                f"{self.count + len(rows)} were appended"
            )
        self._dataset[self.count : self.count + len(rows)] = rows

    def _end(self) -> None:
        pass


class CompressedOutput(SplitOutput):
    """Inputs in chunks of gzip, compressed by threads and written in their order.

    Args:
        group, like, level: As `SplitOutput`.
        pool: The threads.
    """

    def __init__(self, group: h5py.Group, like: Split, level: int, pool: Executor) -> None:
        super().__init__(group, like, level)
        self._pool = pool
        self._per = max(1, CHUNK // max(1, torch.Size(self.shape).numel() * self.values.itemsize))
        self._chunk = np.zeros((self._per, *self.shape), self.values)
        self._waiting: collections.deque[Future[bytes]] = collections.deque()
        self._written = 0
        self._dataset: Any = group.create_dataset(
            self._name, (0, *self.shape), self.values, maxshape=(None, *self.shape),
            chunks=self._chunk.shape, compression="gzip", compression_opts=level,
            fill_time="never",
        )  # fmt: skip

    def _write(self, rows: np.ndarray) -> None:
        first = self.count % self._per
        while len(rows):
            some, rows = rows[: self._per - first], rows[self._per - first :]
            self._chunk[first : first + len(some)] = some
            first = (first + len(some)) % self._per
            if first == 0:
                self._compress()

    def _compress(self) -> None:
        content = self._chunk.tobytes()
        self._chunk[:] = 0
        self._waiting.append(self._pool.submit(zlib.compress, content, self._level))
        if len(self._waiting) > 4 * usable_cpus():
            self._store()

    def _store(self) -> None:
        """Writes the oldest chunk that waits."""
        content = self._waiting.popleft().result()
        first = self._written * self._per
        self._dataset.resize(first + self._per, axis=0)
        self._dataset.id.write_direct_chunk((first, *(0 for _ in self.shape)), content)
        self._written += 1

    def _end(self) -> None:
        if self.count % self._per:
            self._compress()
        while self._waiting:
            self._store()
        self._dataset.resize(self.count, axis=0)
