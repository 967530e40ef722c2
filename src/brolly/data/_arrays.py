"""Arrays by other libraries' names and conventions, as a source of ours."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import Tensor

from .._names import suggest
from ._dataset import Part, Source
from ._reading import Reading

_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}
_INPUTS = ("images", "image", "x", "data", "inputs", "features")
_LABELS = ("labels", "label", "y", "target", "targets")


def split_called(word: str) -> str | None:
    """Which of `train`, `validation` and `test` a word means; None: none of them."""
    return next((split for split, words in _SPLITS.items() if word.lower() in words), None)


def find_roles(
    names: Collection[str], mapping: Mapping[str, str] | None, where: str
) -> dict[str, tuple[str, str]]:
    """Which arrays of a file are inputs and labels of `train`, `validation` and `test`.

    Without a mapping the names decide, in any case: `x_train`, `train_images`, `train/images` and
    the like, or `images`, `x`, `data`, ... for a file with one split.

    Args:
        names: The arrays that the file has.
        mapping: Our names (`train/images`, `train/labels`, `test/images`, ...) to theirs.
        where: What errors call the file.

    Raises:
        ValueError: The mapping has a key that is none of ours or names an array that is not there,
            no or several arrays fit, or inputs lack labels.

    Example:
        >>> find_roles(["x_train", "y_train", "x_test", "y_test"], None, "mnist.npz")
        {'train': ('x_train', 'y_train'), 'test': ('x_test', 'y_test')}
    """
    found = _guessed(names, where) if mapping is None else _mapped(names, mapping, where)
    roles = {}
    for split in _SPLITS:
        inputs, labels = found.get(f"{split}/images"), found.get(f"{split}/labels")
        if inputs is not None and labels is not None:
            roles[split] = (inputs, labels)
        elif inputs is not None or labels is not None:
            given, lacking = ("images", "labels") if labels is None else ("labels", "images")
            raise ValueError(
                f"{where} has {split}/{given} ({found[f'{split}/{given}']}), but no {split}/"
                f"{lacking} among {_listed(names)}. {_HINT}"
            )
    if "train" not in roles:
        raise ValueError(f"{where} has no training images among {_listed(names)}. {_HINT}")
    return roles


_HINT = "Say which are which: mapping={'train/images': ..., 'train/labels': ..., ...}"


def _guessed(names: Collection[str], where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for split, words in _SPLITS.items():
        for role, kinds in (("images", _INPUTS), ("labels", _LABELS)):
            forms = {
                form
                for word in words
                for kind in kinds
                for form in (f"{word}_{kind}", f"{kind}_{word}", f"{word}/{kind}")
            }
            fitting = [name for name in names if name.lower() in forms]
            if not fitting and split == "train":
                fitting = [name for name in names if name.lower() in kinds]
            if len(fitting) > 1:
                raise ValueError(
                    f"{' and '.join(fitting)} of {where} may both be {split}/{role}. {_HINT}"
                )
            if fitting:
                found[f"{split}/{role}"] = fitting[0]
    return found


def _mapped(names: Collection[str], mapping: Mapping[str, str], where: str) -> dict[str, str]:
    ours = {
        f"{word}/{kind}": f"{split}/{role}"
        for split, words in _SPLITS.items()
        for role, kinds in (("images", _INPUTS), ("labels", _LABELS))
        for word in words
        for kind in kinds
    }
    for key, name in mapping.items():
        if key not in ours:
            known = [f"{split}/{role}" for split in _SPLITS for role in ("images", "labels")]
            raise ValueError(f"mapping has a key {key!r}. {suggest(key, known)}")
        if name not in names:
            raise ValueError(
                f"mapping says that {key} is {name!r}, but {where} has {_listed(names)}"
            )
    return {ours[key]: name for key, name in mapping.items()}


def _listed(names: Collection[str]) -> str:
    return ", ".join(names) or "no arrays"


def encode_labels(
    labels: Mapping[str, np.ndarray], where: str, classes: tuple[str, ...] | None = None
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Labels of some splits as positions in the sorted class names they have in common.

    Args:
        labels: Of each split: integers, whole numbers in floating point, or strings, of shape
            `(n,)`, `(n, 1)` or `(1, n)`; or one-hot rows `(n, classes)`.
        where: What errors call the file.
        classes: Class names, where labels are positions in them already.

    Returns:
        Labels of each split, int64 `(n,)`, and class names.

    Raises:
        ValueError: Labels are none of these.

    Example:
        >>> encode_labels({"train": np.array(["dog", "cat", "dog"])}, "pets.npz")
        ({'train': tensor([1, 0, 1])}, ('cat', 'dog'))
    """
    flat = {split: _flat(given, f"{where}: {split}/labels") for split, given in labels.items()}
    if classes is not None:
        return {split: torch.from_numpy(values) for split, values in flat.items()}, classes
    widths = {given.shape[1] for given in labels.values() if _is_one_hot(given)}
    # One-hot rows say how many classes there are, even if one has no examples.
    found = np.unique(np.arange(max(widths)) if widths else np.concatenate(list(flat.values())))
    places = {
        split: torch.from_numpy(np.searchsorted(found, values)) for split, values in flat.items()
    }
    return places, tuple(str(name) for name in found)


def _flat(given: np.ndarray, where: str) -> np.ndarray:
    if _is_one_hot(given):
        rows = given.astype(np.float64)
        if not (((rows == 0) | (rows == 1)).all() and (rows.sum(1) == 1).all()):
            raise ValueError(
                f"{where} has shape {given.shape}, but rows that are not one-hot; expected one "
                "class for each example"
            )
        return given.argmax(1)
    if given.ndim == 0 or given.size != max(given.shape):
        raise ValueError(f"{where} has shape {given.shape}; expected (n,) or one-hot (n, classes)")
    values = given.reshape(-1)
    if values.dtype.kind == "O":
        values = np.array([_decoded(value) for value in values])
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    if values.dtype.kind == "f":
        wrong = np.flatnonzero(~np.isfinite(values) | (values != np.round(values)))
        if len(wrong):
            raise ValueError(
                f"{where} holds {values[wrong[0]]} (example {wrong[0]}); expected classes: whole "
                "numbers or strings"
            )
        values = values.astype(np.int64)
    if values.dtype.kind not in "biuU":
        raise ValueError(f"{where} is of type {given.dtype}; expected whole numbers or strings")
    return values.astype(np.int64) if values.dtype.kind in "biu" else values


def _is_one_hot(given: np.ndarray) -> bool:
    return given.ndim == 2 and min(given.shape) > 1 and given.dtype.kind in "biuf"


def _decoded(value: object) -> object:
    return value.decode() if isinstance(value, bytes) else value


def image_axes(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The order of axes that makes images `(n, c, h, w)` of images `(n, h, w, c)`.

    Returns:
        None where they are in our order already. Both may fit where the height is 1 or 3; then it
        is taken for the channels.

    Raises:
        ValueError: Neither the second nor the last axis has 1 or 3 entries.
    """
    if shape[1] in (1, 3):
        return None
    if shape[3] in (1, 3):
        return (0, 3, 1, 2)
    raise ValueError(
        f"images have shape {shape}; expected (n, h, w), (n, h, w, c) or (n, c, h, w) with c 1 or "
        "3. For other numbers of channels write Dataset.from_tensors(...)"
    )


def source_of_arrays(
    name: str,
    arrays: Mapping[str, tuple[np.ndarray, np.ndarray]],
    reading: Reading,
    where: str,
    classes: tuple[str, ...] | None = None,
) -> Source:
    """Makes a source of inputs and labels in memory.

    Images, `(n, h, w)`, `(n, h, w, c)` or `(n, c, h, w)`, become `(n, c, h, w)`. Whole numbers
    from 0 to 255 become uint8 with scale 255; floating point images must lie in [0, 1] or in the
    bounds given. Features, `(n, d)`, become float32 in the bounds given, or in what they span;
    those that are uint8 are taken for pixels.

    Args:
        name: Of the data set.
        arrays: Inputs and labels of `train`, and where there are such, `validation` and `test`.
        reading: Of it, `bounds`.
        where: What errors call the file.
        classes: Class names, where labels are positions in them already.

    Raises:
        ValueError: Inputs and labels differ in number, splits in shape or type, values are not
            finite or out of bounds.

    Example:
        >>> images = np.zeros((6, 28, 28, 3), np.uint8)
        >>> source = source_of_arrays("mine", {"train": (images, np.arange(6))}, Reading(), "mine")
        >>> source.parts["train"].inputs.shape, source.scale
        (torch.Size([6, 3, 28, 28]), 255.0)
    """
    given = {split: pair[1] for split, pair in arrays.items()}
    labels, classes = encode_labels(given, where, classes)
    inputs = {
        split: _as_inputs(pair[0], f"{where}: {split}/images") for split, pair in arrays.items()
    }
    first = inputs["train"]
    for split, values in inputs.items():
        if values.shape[1:] != first.shape[1:]:
            raise ValueError(
                f"{where}: inputs of {split} have shape {tuple(values.shape[1:])}, those of train "
                f"{tuple(first.shape[1:])}; expected the same"
            )
        if len(values) != len(labels[split]):
            raise ValueError(
                f"{where}: {split} has {len(values)} inputs, but {len(labels[split])} labels; "
                "expected one each"
            )
    if not all(values.dtype == torch.uint8 for values in inputs.values()):
        inputs = {split: values.float() for split, values in inputs.items()}
        scale, bounds = 1.0, reading.bounds or _bounds(inputs, where)
    else:
        reading.refuse("8-bit images", "bounds")
        brightest = max((int(values.max()) for values in inputs.values() if len(values)), default=0)
        scale, bounds = (1.0 if brightest == 1 else 255.0), (0.0, 1.0)  # 1: black and white
    parts = {split: Part(inputs[split], labels[split]) for split in inputs}
    return Source(name, parts, classes, scale, bounds)


def _as_inputs(array: np.ndarray, where: str) -> Tensor:
    if array.dtype.kind not in "buif":
        raise ValueError(f"{where} is of type {array.dtype}; expected numbers")
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4:
        try:
            axes = image_axes(array.shape)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        array = array if axes is None else array.transpose(axes)
    elif array.ndim != 2:
        raise ValueError(
            f"{where} has shape {array.shape}; expected images (n, h, w), (n, h, w, c) or "
            "(n, c, h, w), or features (n, d)"
        )
    if array.dtype != np.uint8:
        is_pixels = array.ndim == 4 and array.dtype.kind in "ui" and array.size > 0
        fits = is_pixels and array.min() >= 0 and array.max() <= 255
        array = array.astype(np.uint8) if fits else single(array)
    if array.dtype != np.uint8 and not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0, 0])
        raise ValueError(f"{where} holds NaN or infinity (example {row}); expected finite numbers")
    return torch.from_numpy(np.ascontiguousarray(array))


def single(values: np.ndarray) -> np.ndarray:
    """Values in single precision; infinite where they are too large for it."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _bounds(inputs: Mapping[str, Tensor], where: str) -> tuple[float, float]:
    filled = [values for values in inputs.values() if values.numel()]
    low = min((float(values.min()) for values in filled), default=0.0)
    high = max((float(values.max()) for values in filled), default=1.0)
    if inputs["train"].ndim == 2:
        return low, high
    if not 0 <= low <= high <= 1:
        raise ValueError(
            f"{where}: images span [{low:.4g}, {high:.4g}]; expected 8-bit images, or values in "
            f"[0, 1]. If these are right, write bounds=({low:.4g}, {high:.4g})"
        )
    return 0.0, 1.0
