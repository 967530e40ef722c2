"""Folders of images, and archives of such folders."""

from __future__ import annotations

from pathlib import Path

import torch

from ._archive import open_tar, open_zip
from ._dataset import Part, Source
from ._images import open_images
from ._layout import arrange
from ._members import Members, open_folder
from ._reading import Reading
from ._stored import view


def read_folder(path: Path, reading: Reading) -> Source:
    """Reads a folder of images: `class/name.jpg` or `train/class/name.jpg`.

    Raises:
        ValueError: Its layout is another, or its images are broken or differ in kind.
    """
    return _read(path.resolve().name, open_folder(path), reading)


def read_zip(path: Path, reading: Reading) -> Source:
    """Reads a zip archive of such a folder; nothing is unpacked.

    Raises:
        ValueError: As `read_folder`; or the archive is damaged, or not to be trusted.
    """
    return _read(path.stem, open_zip(path), reading)


def read_tar(path: Path, reading: Reading) -> Source:
    """Reads a tar archive of such a folder; a compressed one is held in memory.

    Raises:
        ValueError: As `read_folder`; or the archive is damaged, or not to be trusted.
    """
    name = path.name.removesuffix(path.suffix).removesuffix(".tar")
    return _read(name, open_tar(path), reading)


def _read(name: str, members: Members, reading: Reading) -> Source:
    reading.refuse("a folder of images", "label", "mapping", "bounds")
    classes, parts = arrange(members)
    names = [image for images in parts.values() for image, _ in images]
    labels = torch.tensor([label for images in parts.values() for _, label in images])
    split_of = torch.tensor([at for at, images in enumerate(parts.values()) for _ in images])
    files, kept = open_images(members, names, reading)
    labels, split_of = labels[kept], split_of[kept]
    found = {}
    for at, split in enumerate(parts):
        rows = (split_of == at).nonzero()[:, 0]
        counts = labels[rows].bincount(minlength=len(classes))
        if not counts.all():
            raise ValueError(
                f"{members.place}: no image of class {classes[int(counts.argmin())]!r} of {split} "
                "can be read"
            )
        found[split] = Part(view(files, rows), labels[rows])
    return Source(name, found, classes)
