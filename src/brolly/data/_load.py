"""Data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .._names import suggest
from ._dataset import Dataset
from ._digits import load_digits
from ._idx import FASHION_MNIST, MNIST, load_idx_set, locate

_LOADERS: dict[str, Callable[[str | Path | None, float], Dataset]] = {
    "digits": lambda data_dir, validation: load_digits(validation),
    "mnist": lambda data_dir, validation: load_idx_set(MNIST, data_dir, validation),
    "fashion-mnist": lambda data_dir, validation: load_idx_set(FASHION_MNIST, data_dir, validation),
}

DATASETS = tuple(_LOADERS)


def load_data(name: str, *, data_dir: str | Path | None = None, validation: float = 0.1) -> Dataset:
    """Loads a data set, whole, as 8-bit images.

    `digits` comes with scikit-learn. `mnist` and `fashion-mnist` are searched as
    `FashionMNIST/raw/train-images-idx3-ubyte.gz` and so on in `data_dir`, in `$BROLLY_DATA` and
    in the user's cache, and are downloaded into the last where they are in none. The md5 of the
    decompressed content must be the official one.

    Args:
        name: `digits`, `mnist` or `fashion-mnist`.
        data_dir: First folder to search.
        validation: Part of the training data to set aside for validation.

    Raises:
        ValueError: The name is unknown; a file is damaged or holds other data; or it is nowhere
            and cannot be downloaded.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> data.shape, len(data.train), len(data.validation), len(data.test)
        ((1, 8, 8), 1260, 140, 397)
    """
    if name not in _LOADERS:
        raise ValueError(f"data set {name!r} is unknown. {suggest(name, _LOADERS)}")
    return _LOADERS[name](data_dir, validation)


def is_here(name: str, data_dir: str | Path | None = None) -> bool:
    """Whether a data set can be loaded without a download."""
    sources = {source.name: source for source in (MNIST, FASHION_MNIST)}
    if name in sources:
        return locate(sources[name], data_dir) is not None
    return name in _LOADERS


def find_data(data_dir: str | Path | None = None) -> dict[str, str]:
    """Where each data set lies on this machine, in words; nothing is downloaded or read."""
    found = {source.name: locate(source, data_dir) for source in (MNIST, FASHION_MNIST)}
    return {
        "digits": "comes with scikit-learn",
        **{name: str(place or "not found; downloaded when used") for name, place in found.items()},
    }
