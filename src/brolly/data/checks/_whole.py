"""The scans of all splits, one after the other."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import torch
from torch import Tensor

from .._images import ImageFiles
from .._stored import Joined, Rows, Stored
from ._finding import Example, Place
from ._scan import Scan


@dataclasses.dataclass(frozen=True)
class Whole:
    """All examples of a data set, in one row of numbers over the splits.

    Args:
        scans: Of train, validation and test.
    """

    scans: tuple[Scan, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(scan.split.name for scan in self.scans)

    @property
    def inputs(self) -> Stored:
        """All inputs."""
        return Joined(tuple(scan.split.inputs for scan in self.scans))

    @functools.cached_property
    def split_of(self) -> Tensor:
        """Which split each example is in."""
        return torch.cat([torch.full((len(scan),), at) for at, scan in enumerate(self.scans)])

    @functools.cached_property
    def labels(self) -> Tensor:
        """Label of each example."""
        return torch.cat([scan.split.labels.cpu() for scan in self.scans])

    def all(self, of: Callable[[Scan], Tensor]) -> Tensor:
        """What `of` gives of each scan that has examples, in one."""
        return torch.cat([of(scan) for scan in self.scans if len(scan)])

    def count(self, rows: Tensor) -> dict[str, int]:
        """How many of some examples each split holds."""
        counts = self.split_of[rows].bincount(minlength=len(self.scans))
        return dict(zip(self.names, counts.tolist(), strict=True))

    def place(self, row: int) -> Place:
        """Where an example is."""
        at = int(self.split_of[row])
        split = self.scans[at].split
        index = row - sum(len(scan) for scan in self.scans[:at])
        label = split.classes[int(split.labels[index])]
        return Place(split.name, index, label, _file(split.inputs, index))

    def example(self, *rows: int, note: str = "") -> Example:
        """An example of a finding."""
        return Example(tuple(map(self.place, rows)), note)


def _file(inputs: Tensor | Stored, row: int) -> str:
    """Which file an input is read from, if it is one by itself."""
    while isinstance(inputs, Rows):
        inputs, row = inputs.base, int(inputs.rows[row])
    return inputs.pictures[row].name if isinstance(inputs, ImageFiles) else ""
