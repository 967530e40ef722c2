"""Data sets as tensors: a few splits, their classes and where they came from."""

from __future__ import annotations

import dataclasses
import functools

import torch
from torch import Tensor

from .._files import sha256


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each channel, in input units."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Split:
    """Some labelled inputs, kept whole as one tensor.

    Attributes:
        inputs: `(n, ...)`; 8-bit images as uint8, else floating point numbers.
        labels: Class of each input, int64, `(n,)`.
        scale: Inputs are divided by it on their way to the model: 255 for 8-bit images.
        name: `train`, `validation` or `test`.
        dataset: Name of the data set.
        classes: Class names.

    Raises:
        ValueError: Labels do not fit the inputs or the classes.
    """

    inputs: Tensor
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

    def scaled(self, inputs: Tensor) -> Tensor:
        """Stored inputs as the model wants them: floating point, in the declared bounds."""
        return inputs.float() / self.scale if self.scale != 1 else inputs.float()

    def first(self, count: int) -> Split:
        """The split cut to its first `count` examples."""
        return dataclasses.replace(self, inputs=self.inputs[:count], labels=self.labels[:count])

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of inputs and labels."""
        parts = (self.inputs.cpu().contiguous(), self.labels.cpu().contiguous())
        return sha256(*(part.numpy().data.cast("B") for part in parts if part.numel()))


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
        inputs = self.train.inputs
        channels = inputs.transpose(0, 1).flatten(1) if inputs.ndim > 2 else inputs.reshape(1, -1)
        values = channels.double() / self.train.scale
        return Statistics(
            tuple(float(f"{mean:.4g}") for mean in values.mean(1)),
            tuple(float(f"{std:.4g}") for std in values.std(1, correction=0)),
        )

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
        if isinstance(validation, float | int):
            train, validation = _set_aside(train, float(validation))
        if classes is None:
            highest = max(int(y.max()) for _, y in (train, validation, test) if len(y))
            classes = tuple(str(label) for label in range(highest + 1))
        if scale is None:
            scale = 255.0 if train[0].dtype == torch.uint8 else 1.0
        splits = {
            split: Split(x, y, scale, split, name, classes)
            for split, (x, y) in (("train", train), ("validation", validation), ("test", test))
        }
        for split in splits.values():
            _check_bounds(split, bounds)
        return cls(name, **splits, bounds=bounds, licence=licence, citation=citation)


def _set_aside(
    train: tuple[Tensor, Tensor], part: float
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    if not 0 <= part < 1:
        raise ValueError(f"validation is {part}; expected a part of the training data in [0, 1)")
    inputs, labels = train
    if len(inputs) != len(labels):
        raise ValueError(
            f"there are {len(inputs)} training inputs, but {len(labels)} labels; expected one each"
        )
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    cut = len(labels) - round(part * len(labels))
    kept, aside = order[:cut].sort().values, order[cut:].sort().values
    return (inputs[kept], labels[kept]), (inputs[aside], labels[aside])


def _check_bounds(split: Split, bounds: tuple[float, float]) -> None:
    if split.inputs.numel() == 0:
        return
    low, high = float(split.inputs.min()) / split.scale, float(split.inputs.max()) / split.scale
    if not bounds[0] <= low <= high <= bounds[1]:
        raise ValueError(
            f"inputs of {split.dataset}/{split.name} span [{low:.4g}, {high:.4g}] after division "
            f"by {split.scale:g}; expected values in {list(bounds)}. Pass scale=... or bounds=..."
        )
