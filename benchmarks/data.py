"""How fast data are read, against torch's DataLoader, h5py read naively, and plain files.

    BROLLY_DATA=... python benchmarks/data.py [--part memory --part hdf5 ...] [--images 60000]

| part | what |
|---|---|
| `memory` | Fashion-MNIST in memory into batches of 256, shifted and mirrored |
| `folder` | 10,000 JPEGs (`cifar10-jpeg/cifar10-jpeg-test.zip`, unpacked) into batches of 256 |
| `hdf5` | packed Fashion-MNIST and more photos than are kept decoded, in any order |
| `first` | a fresh process to the first batch of Fashion-MNIST |
| `pack` | packing Fashion-MNIST, 70,000 images |
| `peak` | memory that packing and streaming synthetic images take, in processes of their own |

Each loader makes one pass to warm up (workers are kept), then the pass that counts. The others'
transforms are the usual ones, image by image: division by 255, a random crop of the padded image, a
random flip. Files are in the system's cache for all.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import brolly
from brolly._environment import describe_environment
from brolly.data import Batches, Split, pack

SIZE, SHIFT = 256, 2

FIRST = """
import time, brolly
from brolly import Batches, load_data
start = time.perf_counter()
next(iter(Batches(load_data("fashion-mnist").train, 256)))
print(time.perf_counter() - start)
"""

PEAK = r"""
import re, sys, torch
from pathlib import Path
from brolly.data import Batches, Packing, load_data
task, path, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
shape, part = (3, 64, 64), 1000
if task == "pack":
    some = torch.randint(256, (part, *shape), dtype=torch.uint8)
    with Packing(path, classes=("a", "b"), level=1) as out:
        for first in range(0, count, part):
            out.append("train", some.roll(first, -1), torch.arange(part) % 2)
elif task == "stream":
    data = load_data(path, in_memory=False, validation=0, test=0)
    for batch in Batches(data.train, 256, generator=torch.Generator().manual_seed(0)):
        pass
# Not getrusage, which counts what the parent took before this process became another program.
print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024)
"""

Row = tuple[str, str, str, str]


class PerImage(Dataset):
    """What most scripts do: one image at a time, transformed on its own."""

    def __init__(self, read: Callable[[int], Tensor], labels: Tensor, transform: bool) -> None:
        self.read, self.labels, self.transform = read, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        x = self.read(row).float() / 255
        if self.transform:
            top, left = torch.randint(2 * SHIFT + 1, (2,)).tolist()
            height, width = x.shape[1:]
            x = F.pad(x, [SHIFT] * 4)[:, top : top + height, left : left + width]
            if torch.rand(()) < 0.5:
                x = x.flip(-1)
        return x, int(self.labels[row])


class FromFiles:
    """Decodes one JPEG."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __call__(self, row: int) -> Tensor:
        with Image.open(self.paths[row]) as image:
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


class FromHDF5:
    """Indexes an HDF5 dataset, opened once in each process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.images: Any = None

    def __call__(self, row: int) -> Tensor:
        if self.images is None:
            self.images = h5py.File(self.path)["train/images"]
        return torch.from_numpy(self.images[row])


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast data are read")
    parser.add_argument("--part", action="append", choices=PARTS, help="default: all")
    parser.add_argument("--images", type=int, default=60_000, help="at most, in a pass")
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[1, 4], help="for peak")
    options = parser.parse_args()
    print(f"{os.cpu_count()} processors, batches of {SIZE}; {describe_environment()}\n")
    print("| what | brolly | other | ratio |\n|---|---|---|---|", flush=True)
    for part in options.part or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            for row in PARTS[part](Path(folder), options):
                print(f"| {' | '.join(row)} |", flush=True)


def memory(folder: Path, options: argparse.Namespace) -> Iterator[Row]:
    train = fashion_mnist(options).train
    assert isinstance(train.inputs, Tensor)
    path = folder / "fashion.h5"
    pack_split(train, path)
    for transform, how in ((True, "shifted, mirrored"), (False, "as they are")):
        ours = per_second(batches(train, transform))
        for workers in (0, 2):
            theirs = per_second(loader(train.inputs.__getitem__, train.labels, transform, workers))
            yield compare(f"in memory, {how}; DataLoader, {workers} workers", ours, theirs)
    yield compare(
        "in memory, as they are; h5py, image by image",
        ours,
        per_second(loader(FromHDF5(path), train.labels, False, 0)),
    )


def folder_of_images(folder: Path, options: argparse.Namespace) -> Iterator[Row]:
    archive = Path(os.environ["BROLLY_DATA"], "cifar10-jpeg", "cifar10-jpeg-test.zip")
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    root = folder / "test"
    data = brolly.load_data(root, in_memory=False, validation=0, test=0)
    train = data.train.first(options.images)
    paths = sorted(root.glob("*/*.jpg"))[: options.images]
    labels = torch.tensor([data.classes.index(path.parent.name) for path in paths])
    ours = per_second(batches(train, False))
    for workers in (0, 2):
        theirs = per_second(loader(FromFiles(paths), labels, False, workers))
        yield compare(f"{len(paths):,} JPEGs; DataLoader, {workers} workers", ours, theirs)


def hdf5(folder: Path, options: argparse.Namespace) -> Iterator[Row]:
    cifar = Path(os.environ["BROLLY_DATA"], "cifar10-jpeg", "cifar10-jpeg-test.zip")
    photos = brolly.load_data(cifar, validation=0, test=0).train
    photos = brolly.data.join(*[photos.select(torch.randperm(len(photos))) for _ in range(8)])
    photos = photos.first(options.images)
    sets = {"Fashion-MNIST": fashion_mnist(options).train, f"{len(photos):,} photos": photos}
    for (what, train), level in itertools.product(sets.items(), (4, 0)):
        kind = f"{what}, gzip {level}" if level else f"{what}, uncompressed"
        path = folder / f"{what}-{level}.h5"
        pack_split(train, path, level)
        stored = brolly.load_data(path, in_memory=False, validation=0, test=0).train
        naive = loader(FromHDF5(path), train.labels, False, 0)
        yield compare(
            f"HDF5, {kind}, random; h5py, image by image",
            per_second(batches(stored, False)),
            per_second(naive),
        )
        raw = folder / "raw"
        raw.write_bytes(train.read().numpy().tobytes())
        image = torch.Size(train.shape).numel()  # bytes
        yield compare(
            f"HDF5, {kind}, in order, 256 at a time; the same bytes from a plain file",
            per_second(Parts(stored)),
            per_second(Blocks(raw, SIZE * image)) / image,
        )


def first(folder: Path, options: argparse.Namespace) -> Iterator[Row]:
    command = [sys.executable, "-c", FIRST]
    subprocess.run(command, check=True, capture_output=True)
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    yield "first batch of Fashion-MNIST after import", f"{float(out):.2f} s", "", ""


def packing(folder: Path, options: argparse.Namespace) -> Iterator[Row]:
    data = brolly.load_data("fashion-mnist")
    start = time.perf_counter()
    pack(data, folder / "fashion.h5")
    seconds, size = time.perf_counter() - start, (folder / "fashion.h5").stat().st_size
    count = len(data.train) + len(data.validation) + len(data.test)
    yield f"packing {count:,} images ({size / 2**20:.0f} MiB)", f"{seconds:.1f} s", "", ""


def peak(folder: Path, options: argparse.Namespace) -> Iterator[Row]:
    def run(task: str, count: int) -> float:
        command = [sys.executable, "-c", PEAK, task, str(folder / f"{count}.h5"), str(count)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    counts = [max(round(size * 2**30 / (3 * 64 * 64 * 1000)), 1) * 1000
              for size in options.gigabytes]  # fmt: skip
    imports = run("imports", 0)
    for task in ("pack", "stream"):
        for size, count in zip(options.gigabytes, counts, strict=True):
            what = f"peak memory, {task}, {size:g} GiB; imports alone"
            taken = run(task, count)
            yield what, f"{taken:.0f} MiB", f"{imports:.0f} MiB", f"{taken / imports:.2f}"


PARTS: dict[str, Callable[[Path, argparse.Namespace], Iterator[Row]]] = {
    "memory": memory, "folder": folder_of_images, "hdf5": hdf5, "first": first, "pack": packing,
    "peak": peak,
}  # fmt: skip


class Parts:
    """All inputs of a split in their order, as they are stored."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __iter__(self) -> Iterator[Tensor]:
        return self.split.parts(SIZE)


class Blocks:
    """A plain file, so many bytes at a time."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size

    def __iter__(self) -> Iterator[bytes]:
        with self.path.open("rb", buffering=0) as file:
            while block := file.read(self.size):
                yield block


def fashion_mnist(options: argparse.Namespace) -> brolly.data.Dataset:
    data = brolly.load_data("fashion-mnist", validation=0)
    return brolly.data.Dataset(
        data.name, data.train.first(options.images), data.validation, data.test.first(SIZE)
    )


def pack_split(split: Split, path: Path, level: int = 4) -> None:
    parts = {"train": brolly.data.Part(split.inputs, split.labels)}
    pack(brolly.data.Source(split.dataset, parts, split.classes, split.scale), path, level=level)


def batches(split: Split, transform: bool) -> Batches:
    augment = [brolly.Shift(SHIFT), brolly.Flip()] if transform else []
    return Batches(split, SIZE, generator=torch.Generator().manual_seed(0), augment=augment)


def loader(
    read: Callable[[int], Tensor], labels: Tensor, transform: bool, workers: int
) -> DataLoader:
    return DataLoader(
        PerImage(read, labels, transform), SIZE, shuffle=True, num_workers=workers,
        persistent_workers=workers > 0,
    )  # fmt: skip


def per_second(source: Iterable[Any]) -> float:
    """Images (or bytes) in a second of the second pass."""
    for _ in source:
        pass
    count, start = 0, time.perf_counter()
    for part in source:
        count += len(part if isinstance(part, bytes | Tensor) else part[0])
    return count / (time.perf_counter() - start)


def compare(what: str, ours: float, theirs: float) -> Row:
    return what, f"{ours:,.0f} images/s", f"{theirs:,.0f} images/s", f"{ours / theirs:.2f}"


if __name__ == "__main__":
    main()
