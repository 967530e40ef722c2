"""Labelled inputs: whole in memory, or stored and read a few at a time."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor

from ._stored import Stored, rows_at_once, take, view


@dataclasses.dataclass(frozen=True)
class Split:
    """Some labelled inputs.

    Attributes:
        inputs: `(n, ...)`; 8-bit images as uint8, else floating point numbers. A tensor, or a
            `Stored` whose rows are read when they are wanted.
        labels: Class of each input, int64, `(n,)`.
        scale: Inputs are divided by it on their way to the model: 255 for 8-bit images.
        name: `train`, `validation` or `test`.
        dataset: Name of the data set.
        classes: Class names.

    Raises:
        ValueError: Labels do not fit the inputs or the classes.
    """

    inputs: Tensor | Stored
    labels: Tensor
    scale: float
    name: str
    dataset: str
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.labels) or self.labels.ndim != 1:
            raise ValueError(
                f"{self.dataset}/{self.name} has {len(self.inputs)} inputs, but labels of shape "
                f"{tuple(self.labels.shape)}; expected ({len(self.inputs)},)"
            )
        if self.labels.dtype != torch.int64:
            raise ValueError(f"labels are {self.labels.dtype}; expected int64: write y.long()")
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(
            self.classes
        ):
            raise ValueError(
                f"labels of {self.dataset}/{self.name} span {int(self.labels.min())} to "
                f"{int(self.labels.max())}; expected 0 to {len(self.classes) - 1} for "
                f"{len(self.classes)} classes"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.inputs.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """Type that inputs are stored in."""
        return self.inputs.dtype

    def read(self, rows: Tensor | None = None) -> Tensor:
        """Inputs at some positions (int64; None: all), as they are stored."""
        if rows is None and isinstance(self.inputs, Tensor):
            return self.inputs
        return take(self.inputs, torch.arange(len(self)) if rows is None else rows)

    def parts(self, size: int = 1024) -> Iterator[Tensor]:
        """All inputs in their order, as they are stored, at most `size` and 64 MiB at a time."""
        size = rows_at_once(self.inputs, size)
        return (self.read(rows) for rows in torch.arange(len(self)).split(size) if len(rows))

    def scaled(self, inputs: Tensor) -> Tensor:
        """Stored inputs as the model wants them: floating point, in the declared bounds."""
        if self.scale == 1:
            return inputs.float()
        return inputs.to(torch.float32, copy=True).div_(self.scale)

    def select(self, rows: Tensor) -> Split:
        """The examples at some positions (int64), in that order."""
        return dataclasses.replace(self, inputs=view(self.inputs, rows), labels=self.labels[rows])

    def first(self, count: int) -> Split:
        """The split cut to its first `count` examples."""
        if isinstance(self.inputs, Tensor):  # nothing is copied
            return dataclasses.replace(self, inputs=self.inputs[:count], labels=self.labels[:count])
        return self.select(torch.arange(len(self))[:count])

    def in_memory(self) -> Split:
        """The split with all of its inputs in memory."""
        if isinstance(self.inputs, Tensor):
            return self
        whole = torch.empty(self.inputs.shape, dtype=self.dtype)
        first = 0
        for part in self.parts():
            whole[first : first + len(part)] = part
            first += len(part)
        return dataclasses.replace(self, inputs=whole)

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of inputs and labels."""
        digest = hashlib.sha256()
        for part in (*self.parts(), self.labels):
            if part.numel():
                digest.update(part.cpu().contiguous().numpy().data.cast("B"))
        return digest.hexdigest()
