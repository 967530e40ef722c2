"""Data sets: a few splits, their classes and where they came from."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from .._files import sha256
from ._split import Split
from ._stored import Stored, view


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each channel, in input units."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Train, validation and test split of one task.

    The validation split is cut from the training data; the test split is for evaluation alone.

    Attributes:
        name: What it is called.
        train, validation, test: The splits.
        bounds: Lowest and highest value an input may hold, in input units.
        licence: Terms of use, as far as known.
        citation: What to cite.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    bounds: tuple[float, float] = (0.0, 1.0)
    licence: str = ""
    citation: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return self.train.classes

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self.train.shape

    @functools.cached_property
    def statistics(self) -> Statistics:
        """Mean and standard deviation of the training inputs, per channel (first axis).

        Given to four digits, so that they do not depend on how a machine orders its sums.
        """
        count, total, squares = 0, torch.zeros(1), torch.zeros(1)
        for part in self.train.parts():
            channels = part.transpose(0, 1).flatten(1) if part.ndim > 2 else part.reshape(1, -1)
            values = channels.double() / self.train.scale
            count += values.shape[1]
            total, squares = total + values.sum(1), squares + (values**2).sum(1)
        mean = total / max(count, 1)
        std = (squares / max(count, 1) - mean**2).clamp(min=0).sqrt()
        return Statistics(
            tuple(float(f"{value:.4g}") for value in mean),
            tuple(float(f"{value:.4g}") for value in std),
        )

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of all splits and the class names."""
        splits = (self.train.sha256, self.validation.sha256, self.test.sha256)
        return sha256("\n".join((*splits, *self.classes)).encode())

    @classmethod
    def from_tensors(
        cls,
        name: str,
        train: tuple[Tensor, Tensor],
        test: tuple[Tensor, Tensor],
        *,
        validation: tuple[Tensor, Tensor] | float | int = 0.1,
        classes: tuple[str, ...] | None = None,
        bounds: tuple[float, float] = (0.0, 1.0),
        scale: float | None = None,
        licence: str = "",
        citation: str = "",
    ) -> Dataset:
        """Makes a data set of your own tensors.

        Args:
            name: What it is called.
            train, test: Inputs `(n, ...)` and labels `(n,)`.
            validation: The same, or the part of the training data to set aside (chosen by a fixed
                permutation; a tenth by default).
            classes: Class names; None: "0", "1", ... up to the highest label.
            bounds: Lowest and highest value, after scaling.
            scale: Divisor of the stored inputs; None: 255 for uint8, else 1.

        Raises:
            ValueError: Shapes, labels or values do not fit each other or the bounds.

        Example:
            >>> import torch, brolly
            >>> x, y = torch.rand(100, 1, 8, 8), torch.randint(10, (100,))
            >>> data = brolly.Dataset.from_tensors("mine", (x, y), (x, y))
            >>> len(data.train), len(data.validation)
            (90, 10)
        """
        parts: dict[str, Part] = {"train": Part(*train), "test": Part(*test)}
        if not isinstance(validation, float | int):
            parts["validation"], validation = Part(*validation), 0
        if classes is None:
            highest = max(int(y.max()) for _, y in parts.values() if len(y))
            classes = tuple(str(label) for label in range(highest + 1))
        if scale is None:
            scale = 255.0 if train[0].dtype == torch.uint8 else 1.0
        source = Source(name, parts, classes, scale, bounds, licence, citation)
        return source.dataset(validation=float(validation))


class Part(NamedTuple):
    """Inputs and labels of one split."""

    inputs: Tensor | Stored
    labels: Tensor


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set as its makers cut it, before anything is set aside: what a reader gives.

    Attributes:
        name: What it is called.
        parts: `train`, and where there are such, `validation` and `test`.
        classes: Class names.
        scale: Divisor of the stored inputs.
        bounds: Lowest and highest value, after scaling.
        licence: Terms of use, as far as known.
        citation: What to cite.
    """

    name: str
    parts: Mapping[str, Part]
    classes: tuple[str, ...]
    scale: float = 255.0
    bounds: tuple[float, float] = (0.0, 1.0)
    licence: str = ""
    citation: str = ""

    def dataset(
        self, *, validation: float = 0.1, test: float = 0.2, bounded: bool = True
    ) -> Dataset:
        """Cuts what is missing from the training data, by fixed permutations.

        Args:
            validation: Part of the training data for validation, where the makers have set none
                aside.
            test: Part of all data for the test split, where the makers have set none aside.
            bounded: Whether inputs out of bounds are refused; `check_data` names them instead.

        Raises:
            ValueError: A part is out of range, or inputs do not fit labels, classes or bounds.
        """
        parts = dict(self.parts)
        if "test" not in parts:
            parts["train"], parts["test"] = _set_aside(parts["train"], test, "test", seed=1)
        if "validation" not in parts:
            parts["train"], parts["validation"] = _set_aside(
                parts["train"], validation, "validation", seed=0
            )
        splits = {
            name: Split(*parts[name], self.scale, name, self.name, self.classes)
            for name in ("train", "validation", "test")
        }
        for split in splits.values() if bounded else ():
            check_bounds(split, self.bounds)
        return Dataset(
            self.name, **splits, bounds=self.bounds, licence=self.licence, citation=self.citation
        )


def _set_aside(whole: Part, part: float, name: str, seed: int) -> tuple[Part, Part]:
    if not 0 <= part < 1:
        raise ValueError(f"{name} is {part}; expected a part of the training data in [0, 1)")
    inputs, labels = whole
    if len(inputs) != len(labels):
        raise ValueError(
            f"there are {len(inputs)} training inputs, but {len(labels)} labels; expected one each"
        )
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    cut = len(labels) - round(part * len(labels))
    kept, aside = order[:cut].sort().values, order[cut:].sort().values
    return Part(view(inputs, kept), labels[kept]), Part(view(inputs, aside), labels[aside])


def check_bounds(split: Split, bounds: tuple[float, float]) -> None:
    """Raises a ValueError where inputs, after scaling, lie outside the bounds."""
    if split.dtype == torch.uint8 and bounds[0] <= 0 and bounds[1] >= 255 / split.scale:
        return  # any 8-bit value is inside, so nothing need be read
    ranges = [(float(part.min()), float(part.max())) for part in split.parts() if part.numel()]
    if not ranges:
        return
    low = min(low for low, _ in ranges) / split.scale
    high = max(high for _, high in ranges) / split.scale
    if not bounds[0] <= low <= high <= bounds[1]:
        raise ValueError(
            f"inputs of {split.dataset}/{split.name} span [{low:.4g}, {high:.4g}] after division "
            f"by {split.scale:g}; expected values in {list(bounds)}. Pass scale=... or bounds=..."
        )
