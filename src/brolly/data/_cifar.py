"""CIFAR-10 and CIFAR-100, in the python, binary and MATLAB form, as a folder or archive."""

from __future__ import annotations

import dataclasses
import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ._content import Content, first_names, is_archive, read_contents
from ._dataset import Part, Source
from ._reading import Reading
from ._svhn import load_mat

_PIXELS = 3 * 32 * 32


@dataclasses.dataclass(frozen=True)
class _Layout:
    """One set in one form.

    Attributes:
        set: CIFAR-10 or CIFAR-100.
        form: What file names end in: nothing for python.
        train, test: Files of images.
        names: File of class names for each kind of label; the first kind is the default.
    """

    set: str
    form: str
    train: tuple[str, ...]
    test: str
    names: Mapping[str, str]

    @property
    def images(self) -> tuple[str, ...]:
        return (*self.train, self.test)


def _layouts() -> list[_Layout]:
    batches = tuple(f"data_batch_{number}" for number in range(1, 6))
    names = {"": "", ".bin": ".txt", ".mat": ".mat"}
    layouts = []
    for form, end in names.items():
        ten = tuple(name + form for name in (*batches, "test_batch"))
        layouts.append(
            _Layout("cifar-10", form, ten[:-1], ten[-1], {"labels": f"batches.meta{end}"})
        )
        hundred = (
            {"fine_labels": "fine_label_names.txt", "coarse_labels": "coarse_label_names.txt"}
            if form == ".bin"
            else {"fine_labels": f"meta{end}", "coarse_labels": f"meta{end}"}
        )
        layouts.append(_Layout("cifar-100", form, (f"train{form}",), f"test{form}", hundred))
    return layouts


_LAYOUTS = _layouts()


def is_cifar(path: Path) -> bool:
    """Whether a folder, tar or zip holds CIFAR-10 or CIFAR-100 in one of its three forms."""
    return _layout(path) is not None


def read_cifar(path: Path, reading: Reading) -> Source:
    """Reads CIFAR-10 or CIFAR-100 from a folder, tar or zip, which is not unpacked.

    CIFAR-100 has two kinds of labels; `label` is `fine` (its default) or `coarse`.

    Raises:
        ValueError: A file is missing or damaged, labels do not fit images, or a pickle holds
            anything but data.
    """
    reading.refuse("CIFAR", "size", "colour", "skip_broken", "mapping", "bounds")
    layout = _layout(path)
    if layout is None:
        raise ValueError(f"{path} holds no CIFAR-10 or CIFAR-100 in any of its three forms")
    labels = next(iter(layout.names)) if reading.label is None else f"{reading.label}_labels"
    if labels not in layout.names:
        raise ValueError(
            f"label is {reading.label!r}; expected 'fine' or 'coarse' for CIFAR-100, nothing for "
            f"CIFAR-10, and {path} holds {layout.set.upper()}"
        )
    wanted = (*layout.images, layout.names[labels])
    found = read_contents(path, wanted)
    if missing := [name for name in wanted if name not in found]:
        raise ValueError(f"{path} lacks {', '.join(missing)}; expected {', '.join(wanted)}")
    parts = cifar_parts([found[name] for name in layout.images], labels, layout.form)
    return Source(layout.set, parts, _class_names(found[layout.names[labels]], labels, layout.form))


def cifar_parts(files: Sequence[Content], labels: str, form: str = "") -> dict[str, Part]:
    """The splits in files of images, of which the last is the test split.

    Args:
        files: As they are stored.
        labels: `labels` (CIFAR-10), `fine_labels` or `coarse_labels` (CIFAR-100).
        form: What the files' names end in: nothing for pickles, `.bin` or `.mat`.

    Raises:
        ValueError: A file is damaged, or labels do not fit images.
    """
    *train, test = (_part(file, labels, form) for file in files)
    inputs, classes = zip(*train, strict=True)
    return {"train": Part(torch.cat(inputs), torch.cat(classes)), "test": test}


def _layout(path: Path) -> _Layout | None:
    if not (path.is_dir() or is_archive(path)):
        return None
    names = first_names(path, 3)  # all files of an archive are CIFAR's, up to a text or two
    for layout in _LAYOUTS:
        # `train` and `test` alone say little in a folder; the names of the classes belong to them.
        known = {*layout.train, layout.test}
        if names & known and (layout.set == "cifar-10" or path.is_file() or
                              names & set(layout.names.values())):  # fmt: skip
            return layout
    return None


def _part(content: Content, labels: str, form: str) -> Part:
    batch = _batch(content, labels, form)
    images, classes = batch.get("data"), batch.get(labels)
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or classes is None:
        raise ValueError(f"{content.where} holds {sorted(batch)}; expected uint8 data and {labels}")
    if images.ndim != 2 or images.shape[1] != _PIXELS:
        raise ValueError(
            f"{content.where} holds data of shape {images.shape}; expected (n, {_PIXELS})"
        )
    numbers = np.array(classes).astype(np.int64).ravel()
    if len(numbers) != len(images):
        raise ValueError(
            f"{content.where} holds {len(images)} images, but {len(numbers)} labels; expected one "
            "each"
        )
    return Part(torch.from_numpy(images.reshape(-1, 3, 32, 32).copy()), torch.from_numpy(numbers))


def _batch(content: Content, labels: str, form: str) -> Mapping[str, Any]:
    if form == ".mat":
        return load_mat(content)
    if form == ".bin":
        return _records(content, ("labels",) if labels == "labels" else
                        ("coarse_labels", "fine_labels"))  # fmt: skip
    return _unpickled(content)


def _records(content: Content, kinds: tuple[str, ...]) -> Mapping[str, Any]:
    """One byte for each kind of label, then the pixels, for each image."""
    length = len(kinds) + _PIXELS
    if len(content.data) % length:
        raise ValueError(
            f"{content.where} holds {len(content.data)} bytes; expected a multiple of {length}"
        )
    records = np.frombuffer(content.data, dtype=np.uint8).reshape(-1, length)
    columns = {kind: records[:, column] for column, kind in enumerate(kinds)}
    return {"data": records[:, len(kinds) :], **columns}


def _class_names(content: Content, labels: str, form: str) -> tuple[str, ...]:
    if form == ".bin":
        return tuple(content.data.decode("utf-8").split())
    key = labels.replace("labels", "label_names")
    names = (load_mat(content) if form == ".mat" else _unpickled(content)).get(key)
    if names is None:
        raise ValueError(f"{content.where} has no {key}, the names of the classes")
    if form == ".mat":
        return tuple(str(cell.item()) for cell in np.ravel(names))
    return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names)


def _unpickled(content: Content) -> dict[str, Any]:
    try:
        held = _DataUnpickler(io.BytesIO(content.data), encoding="latin1").load()
    except _Forbidden as error:
        raise ValueError(
            f"{content.where} refers to {error}; a pickle of CIFAR holds arrays, lists, numbers "
            "and text alone, and nothing else is loaded from one"
        ) from None
    except Exception as error:  # a damaged pickle raises anything
        raise ValueError(f"{content.where} is damaged or no pickle ({error})") from None
    if not isinstance(held, dict):
        raise ValueError(f"{content.where} holds a {type(held).__name__}; expected a dict")
    return {key.decode() if isinstance(key, bytes) else str(key): held[key] for key in held}


class _Forbidden(Exception):
    """A pickle refers to something that is not data."""


class _DataUnpickler(pickle.Unpickler):
    """Loads arrays, and what pickles hold without a reference to any code.

    What arrays refer to is replaced by functions of ours, so that no code that a pickle names is
    ever called.
    """

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy._core", "numpy.core")  # numpy 2's name of it
        allowed = {
            ("numpy", "dtype"): np.dtype,
            ("numpy", "ndarray"): None,
            ("numpy.core.multiarray", "_reconstruct"): _empty,
            ("numpy.core.numeric", "_frombuffer"): _from_buffer,
            ("_codecs", "encode"): _latin1,
        }
        if (module, name) not in allowed:
            raise _Forbidden(f"{module}.{name}")
        return allowed[module, name]


def _empty(kind: None, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return np.empty(0, np.uint8)  # its state follows and says the rest


def _from_buffer(values: Any, dtype: np.dtype, shape: tuple[int, ...], order: Any) -> np.ndarray:
    return np.frombuffer(values, dtype).reshape(shape, order=order)


def _latin1(text: str, encoding: str) -> bytes:
    return text.encode("latin1")
