"""Data sets of PyTorch and torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._arrays import source_of_arrays
from ._dataset import Dataset
from ._reading import Reading

#: So many items are read twice, to see whether a transform is random.
_TRIED = 8


def from_torch(
    train: Any,
    test: Any = None,
    *,
    validation: Any = 0.1,
    name: str = "mine",
    classes: Sequence[str] | None = None,
    bounds: tuple[float, float] | None = None,
) -> Dataset:
    """Makes a data set of `torch.utils.data.Dataset`s, such as those of torchvision.

    Every item is read once and kept in memory. An item is an input and its class: a Pillow image,
    an array (images with channels first or last) or a tensor, uint8 or floating point in [0, 1];
    and a whole number. Transforms that resize belong in the data set; random ones and `Normalize`
    do not: augmentation works on batches, and normalisation is the model's first layer.

    Args:
        train: Training data, with a length and items by position.
        test: Test data; None: a fifth of the training data, by a fixed permutation.
        validation: Validation data, or the part of the training data to set aside.
        name: What to call it.
        classes: Class names; None: those that `train.classes` has, else the labels.
        bounds: Lowest and highest value of floating point inputs; None: [0, 1] for images, what
            they span for features.

    Raises:
        ValueError: An item is none of these, items differ in shape or type, values are out of
            bounds, or a transform is random.

    Example:
        >>> import torch, brolly
        >>> x, y = torch.rand(50, 1, 8, 8), torch.arange(50) % 2
        >>> data = brolly.data.from_torch(torch.utils.data.TensorDataset(x, y))
        >>> data.shape, data.classes, len(data.train), len(data.validation), len(data.test)
        ((1, 8, 8), ('0', '1'), 36, 4, 10)
    """
    given = {"train": train, "test": test}
    if not isinstance(validation, int | float):
        given["validation"], validation = validation, 0.0
    names = getattr(train, "classes", None) if classes is None else classes
    arrays = {
        split: _gathered(dataset, f"{name}/{split}")
        for split, dataset in given.items()
        if dataset is not None
    }
    for split, (inputs, _) in arrays.items():
        if inputs.ndim > 2 and inputs.dtype.kind == "f" and bounds is None:
            _check_range(inputs, f"{name}/{split}")
    source = source_of_arrays(
        name, arrays, Reading(bounds=bounds), name, None if names is None else tuple(names)
    )
    return source.dataset(validation=validation)


def _gathered(dataset: Any, where: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        count = len(dataset)
        dataset.__getitem__  # noqa: B018
    except (TypeError, AttributeError, NotImplementedError):
        raise ValueError(
            f"{where} is a {type(dataset).__name__} without a length or items; expected a data set "
            "with both, as torchvision's are"
        ) from None
    if not count:
        raise ValueError(f"{where} has no items")
    first, _ = _item(dataset, 0, where)
    inputs = np.empty((count, *first.shape), first.dtype)
    labels = np.empty(count, np.int64)
    for row in range(count):
        value, labels[row] = _item(dataset, row, where)
        if value.shape != first.shape or value.dtype != first.dtype:
            raise ValueError(
                f"{where}: item {row} has shape {value.shape} and type {value.dtype}, item 0 "
                f"{first.shape} and {first.dtype}; bring them to one, for example with "
                "transforms.Resize((32, 32))"
            )
        inputs[row] = value
    for row in range(min(count, _TRIED)):
        if not np.array_equal(_item(dataset, row, where)[0], inputs[row]):
            raise ValueError(
                f"{where}: item {row} is another when it is read again. Leave random transforms "
                "out, and give augmentations to the training instead"
            )
    return inputs, labels


def _item(dataset: Any, row: int, where: str) -> tuple[np.ndarray, int]:
    item = dataset[row]
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise ValueError(f"{where}: item {row} is {_words(item)}; expected an input and its class")
    value, label = item
    return _array(value, f"{where}: input {row}"), _class(label, f"{where}: class {row}")


def _array(value: Any, where: str) -> np.ndarray:
    from PIL import Image

    if isinstance(value, Image.Image):
        if value.mode not in ("L", "RGB"):
            raise ValueError(
                f"{where} is an image of mode {value.mode}; expected L or RGB: convert it with "
                "image.convert('RGB') in a transform"
            )
        value = np.asarray(value)
    elif isinstance(value, Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{where} is {_words(value)}; expected a Pillow image, array or tensor")
    return value


def _class(label: Any, where: str) -> int:
    if isinstance(label, Tensor | np.ndarray) and label.ndim == 0:
        label = label.item()
    if isinstance(label, bool) or not isinstance(label, int | np.integer):
        raise ValueError(f"{where} is {_words(label)}; expected a whole number")
    return int(label)


def _check_range(inputs: np.ndarray, where: str) -> None:
    low, high = float(inputs.min()), float(inputs.max())
    if not 0 <= low <= high <= 1:
        raise ValueError(
            f"{where}: images span [{low:.4g}, {high:.4g}]; expected [0, 1]. Leave Normalize out "
            "of the transform; normalisation is the model's first layer"
        )


def _words(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return f"a {type(value).__name__}" + ("" if shape is None else f" of shape {tuple(shape)}")
