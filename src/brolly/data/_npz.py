"""NumPy's archives of named arrays."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from ._arrays import find_roles, source_of_arrays
from ._dataset import Source
from ._reading import Reading


def read_npz(path: Path, reading: Reading) -> Source:
    """Reads the inputs and labels of an `.npz` file; nothing in it is run.

    The names of the arrays say what they are (`x_train` and `y_train`, as Keras writes them,
    `train_images` and `train_labels`, as MedMNIST does, or `images` and `labels`), or
    `reading.mapping` does.

    Raises:
        ValueError: The file is damaged, holds Python objects, or has no arrays that fit.
    """
    reading.refuse("an .npz file", "size", "colour", "skip_broken", "label")
    with path.open("rb") as content:
        try:
            file = np.load(content, allow_pickle=False)
        except (zipfile.BadZipFile, EOFError, ValueError):
            raise ValueError(f"{path} is damaged or no .npz file; replace it") from None
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError(f"{path} holds one array without a name; save it with np.savez")
        roles = find_roles(file.files, reading.mapping, str(path))
        arrays = {
            split: (_array(file, inputs, path), _array(file, labels, path))
            for split, (inputs, labels) in roles.items()
        }
    return source_of_arrays(path.stem, arrays, reading, str(path))


def _array(file: np.lib.npyio.NpzFile, name: str, path: Path) -> np.ndarray:
    try:
        return file[name]
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise ValueError(f"{path}: array {name} cannot be read ({error})") from None
