"""Inputs that stay where they are stored until they are read."""

from __future__ import annotations

import abc
import dataclasses

import torch
from torch import Tensor


class Stored(abc.ABC):
    """Inputs in a file or a folder; a few rows at a time are read into memory.

    Attributes:
        shape: Shape of all inputs, `(n, ...)`.
        dtype: uint8 for 8-bit images, else a floating point type.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype

    def __len__(self) -> int:
        return self.shape[0]

    @abc.abstractmethod
    def read(self, rows: Tensor) -> Tensor:
        """Copies of the inputs at `rows` (int64, any order, repeats allowed), in that order.

        May be called from several threads at once.
        """

    def nbytes(self) -> int:
        """What all inputs take in memory."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


@dataclasses.dataclass(frozen=True, eq=False)
class Rows(Stored):
    """Some rows of other stored inputs.

    Args:
        base: What they are rows of.
        rows: Which ones, int64.
    """

    base: Stored
    rows: Tensor

    @property
    def shape(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (len(self.rows), *self.base.shape[1:])

    @property
    def dtype(self) -> torch.dtype:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.base.dtype

    def read(self, rows: Tensor) -> Tensor:
        return self.base.read(self.rows[rows])


@dataclasses.dataclass(frozen=True, eq=False)
class Joined(Stored):
    """Inputs of several origins, one after the other; all have the same kind of input."""

    parts: tuple[Stored | Tensor, ...]

    @property
    def shape(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (sum(len(part) for part in self.parts), *self.parts[0].shape[1:])

    @property
    def dtype(self) -> torch.dtype:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.parts[0].dtype

    def read(self, rows: Tensor) -> Tensor:
        out = torch.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        first = 0
        for part in self.parts:
            at = ((rows >= first) & (rows < first + len(part))).nonzero()[:, 0]
            out[at] = take(part, rows[at] - first)
            first += len(part)
        return out


def take(inputs: Tensor | Stored, rows: Tensor) -> Tensor:
    """The inputs at `rows`."""
    if isinstance(inputs, Stored):
        return inputs.read(rows)
    return inputs.index_select(0, rows.to(inputs.device))  # several times as fast as inputs[rows]


def view(inputs: Tensor | Stored, rows: Tensor) -> Tensor | Stored:
    """The inputs at `rows`; what is stored is not read."""
    return Rows(inputs, rows) if isinstance(inputs, Stored) else take(inputs, rows)


def rows_at_once(inputs: Tensor | Stored, most: int = 1024) -> int:
    """How many inputs to read at a time: as many as take 64 MiB, but no more than `most`."""
    size = torch.Size(inputs.shape[1:]).numel() * inputs.dtype.itemsize
    return max(1, min(most, 2**26 // max(1, size)))
