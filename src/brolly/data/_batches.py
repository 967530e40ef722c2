"""Batches of a split, on the device, in a reproducible order."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from ._split import Split


class Batch(NamedTuple):
    """Inputs in input units, their labels, and their positions in the split."""

    x: Tensor
    y: Tensor
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]  # hides tuple.index


@runtime_checkable
class Augmentation(Protocol):
    """Changes a batch of images at random; randomness comes from `generator` alone."""

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor: ...


@dataclasses.dataclass(frozen=True)
class Batches:
    """Cuts a split into batches; the whole split lies on the device, as it is stored.

    Args:
        split: What to cut.
        size: Examples in a batch.
        device: Where batches are made.
        generator: Shuffles, anew on each pass, and feeds the augmentation; None: stored order.
        augment: Applied to each batch in turn; needs a generator.
        drop_last: Whether a last, smaller batch is left out.
    """

    split: Split
    size: int
    device: torch.device | str = "cpu"
    generator: torch.Generator | None = None
    augment: Sequence[Augmentation] = ()
    drop_last: bool = False

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"batch size is {self.size}; expected 1 or more")
        if self.augment and self.generator is None:
            raise ValueError("augmentation is random; pass a torch.Generator along with it")
        inputs = self.split.inputs
        moved = dataclasses.replace(
            self.split,
            inputs=inputs.to(self.device) if isinstance(inputs, Tensor) else inputs,
            labels=self.split.labels.to(self.device),
        )
        object.__setattr__(self, "split", moved)

    def __len__(self) -> int:
        count = len(self.split)
        return count // self.size if self.drop_last else -(-count // self.size)

    def __iter__(self) -> Iterator[Batch]:
        if self.generator is None:
            order = torch.arange(len(self.split), device=self.device)
        else:
            order = torch.randperm(len(self.split), generator=self.generator).to(self.device)
        for start in range(0, len(self) * self.size, self.size):
            rows = order[start : start + self.size]
            x = self.split.scaled(self.split.read(rows).to(self.device))
            for augment in self.augment:
                assert self.generator is not None
                x = augment(x, self.generator)
            yield Batch(x, self.split.labels[rows], rows)
