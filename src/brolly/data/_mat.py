"""MATLAB's files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ._arrays import find_roles, source_of_arrays
from ._dataset import Source
from ._reading import Reading


def read_mat(path: Path, reading: Reading) -> Source:
    """Reads the inputs and labels of a `.mat` file of any version.

    Names are taken as in `read_npz`. Examples are counted along the first axis or, where that does
    not fit the labels, along the last: MATLAB keeps colour images as `(h, w, c, n)`.

    Raises:
        ValueError: The file is damaged or has no arrays that fit.
    """
    reading.refuse("a .mat file", "size", "colour", "skip_broken", "label")
    import h5py

    # Version 7.3 is HDF5.
    arrays = _read_hdf5(path, reading) if h5py.is_hdf5(path) else _read_old(path, reading)
    return source_of_arrays(path.stem, arrays, reading, str(path))


Pairs = dict[str, tuple[np.ndarray, np.ndarray]]


def _read_old(path: Path, reading: Reading) -> Pairs:
    import scipy.io

    with _readable(path):
        names = [name for name, *_ in scipy.io.whosmat(path)]
    roles = find_roles(names, reading.mapping, str(path))
    with _readable(path):
        arrays = scipy.io.loadmat(path, variable_names=[n for pair in roles.values() for n in pair])
    return {
        split: _examples_first(arrays[inputs], _without_cells(arrays[labels]))
        for split, (inputs, labels) in roles.items()
    }


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the reader has no common base for its errors
        raise ValueError(f"{path} is damaged or no .mat file ({error}); replace it") from None


def _read_hdf5(path: Path, reading: Reading) -> Pairs:
    import h5py

    with _readable(path):
        file = h5py.File(path)
    with file:
        arrays = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
        roles = find_roles(arrays, reading.mapping, str(path))
        with _readable(path):
            # HDF5 counts axes from the other end than MATLAB.
            return {
                split: _examples_first(arrays[inputs][()].T, arrays[labels][()].T)
                for split, (inputs, labels) in roles.items()
            }


def _examples_first(inputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    count = max(labels.shape)
    if inputs.shape[0] != count == inputs.shape[-1]:
        inputs = np.moveaxis(inputs, -1, 0)
    return inputs, labels


def _without_cells(labels: np.ndarray) -> np.ndarray:
    """Strings, in MATLAB's cells or padded to one length, as strings alone."""
    if labels.dtype.kind == "O":
        labels = np.array([cell.item() for cell in labels.flat])
    return np.char.rstrip(labels) if labels.dtype.kind == "U" else labels
