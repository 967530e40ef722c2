"""SVHN's cropped digits, which come as MATLAB files."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch

from ._content import Content
from ._dataset import Part


def svhn_parts(files: Sequence[Content]) -> dict[str, Part]:
    """The splits in two files, training and test: `X` `(h, w, 3, n)` and `y` `(n, 1)`.

    The digit 0 has the label 10 there, and 0 here.

    Raises:
        ValueError: A file is damaged or holds other arrays.
    """
    train, test = files
    return {"train": _part(train), "test": _part(test)}


def load_mat(content: Content) -> dict[str, np.ndarray]:
    """The arrays in a MATLAB file of version 4 to 7.

    Raises:
        ValueError: It is damaged or of another version.
    """
    from scipy.io import loadmat

    try:
        held = loadmat(io.BytesIO(content.data))
    except Exception as error:  # a damaged file raises anything
        raise ValueError(f"{content.where} is damaged or no MATLAB file ({error})") from None
    return {name: array for name, array in held.items() if not name.startswith("__")}


def _part(content: Content) -> Part:
    arrays = load_mat(content)
    images, labels = arrays.get("X"), arrays.get("y")
    if images is None or labels is None or images.ndim != 4 or images.dtype != np.uint8:
        found = {name: f"{array.dtype} {array.shape}" for name, array in arrays.items()}
        raise ValueError(
            f"{content.where} holds {found}; expected uint8 X of shape (h, w, 3, n) and y (n, 1)"
        )
    if labels.size != images.shape[3]:
        raise ValueError(
            f"{content.where} holds {images.shape[3]} images, but {labels.size} labels; expected "
            "one each"
        )
    upright = np.ascontiguousarray(images.transpose(3, 2, 0, 1))
    return Part(torch.from_numpy(upright), torch.from_numpy(labels.astype(np.int64).ravel() % 10))
