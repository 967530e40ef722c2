"""IDX files, the format of MNIST and its relatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ._content import Content, decompressed, read_contents
from ._dataset import Part, Source
from ._reading import Reading

#: Images and labels for training, then for the test.
IDX_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def is_idx(path: Path) -> bool:
    """Whether a folder holds training images as MNIST names them."""
    return any((path / f"{IDX_NAMES[0]}{end}").is_file() for end in ("", ".gz"))


def read_idx(path: Path, reading: Reading) -> Source:
    """Reads a folder with files named as MNIST's, gzipped or not; classes are "0", "1", ...

    Raises:
        ValueError: A file is missing or damaged, or labels do not fit images.
    """
    reading.refuse("a folder of IDX files", "size", "colour", "skip_broken", "label", "mapping",
                   "bounds")  # fmt: skip
    found = read_contents(path, [f"{name}{end}" for name in IDX_NAMES for end in ("", ".gz")])
    files = []
    for name in IDX_NAMES:
        if name in found:
            files.append(found[name])
        elif f"{name}.gz" in found:
            files.append(decompressed(found[f"{name}.gz"]))
        else:
            raise ValueError(f"{path} has no file {name} or {name}.gz; expected both splits")
    parts = idx_parts(files)
    highest = max(
        (int(part.labels.max()) for part in parts.values() if len(part.labels)), default=0
    )
    own = path.resolve()
    name = own.parent.name if own.name == "raw" else own.name
    return Source(name, parts, tuple(str(label) for label in range(highest + 1)))


def idx_parts(files: Sequence[Content]) -> dict[str, Part]:
    """The splits in four files: training images and labels, test images and labels.

    Raises:
        ValueError: One is damaged, or labels do not fit images.
    """
    train_images, train_labels, test_images, test_labels = files
    return {"train": _part(train_images, train_labels), "test": _part(test_images, test_labels)}


def emnist_parts(files: Sequence[Content], first: int = 0) -> dict[str, Part]:
    """As `idx_parts`, for EMNIST: its images lie on their side (transposed) and are set upright.

    Args:
        files: Training images and labels, test images and labels.
        first: Label of the first class in the files: 1 for its letters.
    """
    return {
        name: Part(inputs.transpose(2, 3).contiguous(), labels - first)
        for name, (inputs, labels) in idx_parts(files).items()
        if isinstance(inputs, Tensor)
    }


def parse_idx(content: bytes) -> Tensor:
    """Reads an IDX file of bytes: magic `0 0 8 ndim`, big-endian sizes, values.

    Raises:
        ValueError: The magic number is another, or the content is too short or too long.
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"magic number is {content[:4].hex()}; expected 000008 and the dimensions")
    ndim = content[3]
    sizes = np.frombuffer(content, dtype=">u4", count=ndim, offset=4).tolist()
    values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * ndim)
    if len(values) != math.prod(sizes):
        raise ValueError(f"holds {len(values)} values; its header promises {tuple(sizes)}")
    return torch.from_numpy(values.reshape(sizes).copy())


def _part(images: Content, labels: Content) -> Part:
    inputs, classes = _parsed(images, 3), _parsed(labels, 1)
    if len(inputs) != len(classes):
        raise ValueError(
            f"{images.where} holds {len(inputs)} images, but {labels.where} {len(classes)} labels; "
            "expected one each"
        )
    return Part(inputs[:, None], classes.long())


def _parsed(content: Content, ndim: int) -> Tensor:
    try:
        values = parse_idx(content.data)
    except ValueError as error:
        raise ValueError(f"{content.where}: {error}") from None
    if values.ndim != ndim:
        raise ValueError(
            f"{content.where} has {values.ndim} dimensions; expected {ndim}, as "
            + ("images have" if ndim == 3 else "labels have")
        )
    return values
