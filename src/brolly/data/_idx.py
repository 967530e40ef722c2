"""MNIST and Fashion-MNIST: gzipped IDX files, searched for, verified, downloaded."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ._dataset import Part, Source


@dataclasses.dataclass(frozen=True)
class IdxFile:
    """One file of a set: md5 of the official .gz, and of the content, which is what decides."""

    name: str
    md5_gz: str
    md5: str


@dataclasses.dataclass(frozen=True)
class IdxSet:
    """A data set in the layout torchvision uses: `<folder>/raw/<file>.gz`."""

    name: str
    folder: str
    mirrors: tuple[str, ...]
    files: tuple[IdxFile, IdxFile, IdxFile, IdxFile]  # train inputs, labels; test inputs, labels
    classes: tuple[str, ...]
    licence: str
    citation: str


MNIST = IdxSet(
    name="mnist",
    folder="MNIST",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    files=(
        IdxFile("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "6bbc9ace898e44ae57da46a324031adb"),
        IdxFile("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432",
                "a25bea736e30d166cdddb491f175f624"),
        IdxFile("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3",
                "2646ac647ad5339dbf082846283269ea"),
        IdxFile("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c",
                "27ae3e4e09519cfbb04c329615203637"),
    ),
    classes=tuple("0123456789"),
    licence="unknown (Yann LeCun, Corinna Cortes, Christopher Burges)",
    citation="LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document "
    "recognition. Proceedings of the IEEE 86 (1998)",
)  # fmt: skip

FASHION_MNIST = IdxSet(
    name="fashion-mnist",
    folder="FashionMNIST",
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    files=(
        IdxFile("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
        IdxFile("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe",
                "9018921c3c673c538a1fc5bad174d6f9"),
        IdxFile("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79",
                "8181f5470baa50b63fa0f6fddb340f0a"),
        IdxFile("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310",
                "15d484375f8d13e6eb1aabb0c3f46965"),
    ),
    classes=("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker",
             "bag", "ankle boot"),
    licence="MIT (Zalando SE)",
    citation="Xiao, Rasul, Vollgraf: Fashion-MNIST: a novel image dataset for benchmarking "
    "machine learning algorithms. arXiv:1708.07747 (2017)",
)  # fmt: skip


def load_idx_set(source: IdxSet, data_dir: str | Path | None = None) -> Source:
    """Finds, verifies and reads the four files of a set."""
    contents = [_read_verified(_find(source, file, data_dir), file.md5) for file in source.files]
    train_x, train_y, test_x, test_y = (parse_idx(content) for content in contents)
    return Source(
        source.name,
        {
            "train": Part(train_x[:, None], train_y.long()),
            "test": Part(test_x[:, None], test_y.long()),
        },
        source.classes,
        licence=source.licence,
        citation=source.citation,
    )


def locate(source: IdxSet, data_dir: str | Path | None = None) -> Path | None:
    """The first folder that holds all four files of a set."""
    for folder in _folders(data_dir):
        place = folder / source.folder / "raw"
        if all((place / file.name).is_file() for file in source.files):
            return place
    return None


def parse_idx(content: bytes) -> Tensor:
    """Reads an IDX file of bytes: magic `0 0 8 ndim`, big-endian sizes, values.

    Raises:
        ValueError: The magic number is another, or the content is too short or too long.
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"magic number is {content[:4].hex()}; expected 000008 and the dimensions")
    ndim = content[3]
    sizes = np.frombuffer(content, dtype=">u4", count=ndim, offset=4).astype(int)
    body = content[4 + 4 * ndim :]
    if len(body) != sizes.prod():
        raise ValueError(f"holds {len(body)} values; its header promises {tuple(sizes.tolist())}")
    return torch.from_numpy(np.frombuffer(bytearray(body), dtype=np.uint8).reshape(sizes))


def _find(source: IdxSet, file: IdxFile, data_dir: str | Path | None) -> Path:
    tried = [folder / source.folder / "raw" / file.name for folder in _folders(data_dir)]
    for path in tried:
        if path.is_file():
            return path
    return _download(source, file, tried)


def _folders(data_dir: str | Path | None) -> list[Path]:
    import pooch

    named = [data_dir, os.environ.get("BROLLY_DATA")]
    return [*(Path(folder) for folder in named if folder), Path(pooch.os_cache("brolly"))]


def _download(source: IdxSet, file: IdxFile, tried: Sequence[Path]) -> Path:
    import pooch

    target = tried[-1]
    failures = []
    for mirror in source.mirrors:
        try:
            pooch.retrieve(
                mirror + file.name,
                known_hash=f"md5:{file.md5_gz}",
                fname=target.name,
                path=target.parent,
            )
            return target
        except Exception as error:  # whatever the network stack raises
            failures.append(f"{mirror}: {type(error).__name__}")
    places = "\n".join(f"  {path}" for path in tried)
    raise ValueError(
        f"{source.name} is not on this machine and could not be downloaded "
        f"({'; '.join(failures)}). Put {file.name} (md5 of the content {file.md5}) at one of\n"
        f"{places}\nor name its folder with --data-dir or the variable BROLLY_DATA"
    )


def _read_verified(path: Path, md5: str) -> bytes:
    try:
        content = gzip.decompress(path.read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{path} is truncated or no gzip file ({error}); expected content with md5 {md5}. "
            "It was left as it is: replace it, or remove it to have it downloaded"
        ) from None
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise ValueError(
            f"{path} holds other data than expected: md5 of its content is {found}, expected "
            f"{md5}. It was left as it is: replace it, or remove it to have it downloaded"
        )
    return content
