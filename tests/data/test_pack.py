"""Packed files: what is in them, what other tools read, and that they are complete or absent."""

import errno
import json
import os
import re
import resource
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from brolly.data import (
    Dataset,
    Packing,
    Part,
    Reading,
    Source,
    Split,
    Stored,
    load_data,
    pack,
    read_source,
    verify_hdf5,
)


def photos(count: int = 45, *, dtype: torch.dtype = torch.uint8) -> Source:
    """Images of three channels, with a validation part and an empty test part."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (count, 3, 20, 16), generator=generator, dtype=torch.uint8)
    y = torch.randint(3, (count,), generator=generator)
    scale = 255.0
    if dtype != torch.uint8:
        x, scale = (x / 255).to(dtype), 1.0
    parts = {"train": Part(x, y), "validation": Part(x[:7], y[:7]), "test": Part(x[:0], y[:0])}
    return Source(
        "photos", parts, ("cat", "dog", "Łoś"), scale, licence="CC0", citation="Nobody (2020)"
    )


def noise(count: int) -> Part:
    generator = torch.Generator().manual_seed(count)
    return Part(torch.rand(count, 1, 8, 8, generator=generator), torch.arange(count) % 2)


def same(one: Source, other: Source) -> bool:
    return (
        list(one.parts) == list(other.parts)
        and all(
            torch.equal(
                Split(*part, 1.0, split, "", one.classes).read(),
                Split(*other.parts[split], 1.0, split, "", one.classes).read(),
            )
            and torch.equal(part.labels, other.parts[split].labels)
            for split, part in one.parts.items()
        )
        and all(
            getattr(one, name) == getattr(other, name)
            for name in ("name", "classes", "scale", "bounds", "licence", "citation")
        )
    )


@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.float64])
def test_what_is_packed_is_read(tmp_path, level, dtype):
    source = photos(dtype=dtype)
    pack(source, tmp_path / "photos.h5", level=level)
    assert same(read_source(tmp_path / "photos.h5", Reading()), source)
    assert verify_hdf5(tmp_path / "photos.h5") == {"train": "", "validation": "", "test": ""}
    assert os.listdir(tmp_path) == ["photos.h5"]


def test_a_data_set_keeps_its_splits_and_its_hash(tmp_path):
    data = load_data("digits")
    pack(data, tmp_path / "digits.h5")
    again = load_data(tmp_path / "digits.h5")
    assert again.sha256 == data.sha256
    assert again.statistics == data.statistics
    assert load_data(tmp_path / "digits.h5", in_memory=False).sha256 == data.sha256


def test_what_its_makers_did_not_set_aside_is_cut_when_it_is_loaded(tmp_path):
    pack(read_source("digits", Reading()), tmp_path / "digits.h5")
    for part in (0.1, 0.5):
        packed = load_data(tmp_path / "digits.h5", validation=part)
        assert packed.sha256 == load_data("digits", validation=part).sha256


def test_features(tmp_path):
    x, y = torch.linspace(-2, 2, 60).reshape(20, 3), torch.arange(20) % 2
    data = Dataset.from_tensors("table", (x, y), (x, y), bounds=(-2.0, 2.0))
    pack(data, tmp_path / "table.h5")
    with h5py.File(tmp_path / "table.h5") as file:
        assert set(file["train"]) == {"features", "labels"}
    assert load_data(tmp_path / "table.h5").sha256 == data.sha256


def test_the_layout(tmp_path):
    source = photos()
    pack(source, tmp_path / "photos.h5")
    with h5py.File(tmp_path / "photos.h5") as file:
        assert set(file) == {"train", "validation", "test"}
        assert dict(file.attrs, classes=list(file.attrs["classes"]), bounds=0) == {
            "format": "brolly data", "version": 1, "name": "photos", "scale": 255, "bounds": 0,
            "classes": ["cat", "dog", "Łoś"], "licence": "CC0", "citation": "Nobody (2020)",
        }  # fmt: skip
        assert file.attrs["bounds"].tolist() == [0, 1]
        images, labels = file["train/images"], file["train/labels"]
        assert (images.dtype, images.shape) == (np.uint8, (45, 3, 20, 16))
        assert (images.compression, images.shuffle, images.fletcher32) == ("gzip", False, False)
        assert images.chunks == (2**12 // 960, 3, 20, 16)
        assert (labels.dtype, labels.shape) == (np.int64, (45,))
        assert np.array_equal(images[:], source.parts["train"].inputs.numpy())
        assert np.array_equal(labels[:], source.parts["train"].labels.numpy())
        split = Split(*source.parts["train"], 255.0, "train", "photos", source.classes)
        assert file["train"].attrs["sha256"] == split.sha256
        assert file["test/images"].shape == (0, 3, 20, 16)


def test_uncompressed_inputs_lie_in_one_piece(tmp_path):
    source = photos()
    pack(source, tmp_path / "photos.h5", level=0)
    with h5py.File(tmp_path / "photos.h5") as file:
        offset = file["train/images"].id.get_offset()
    mapped = np.memmap(tmp_path / "photos.h5", np.uint8, "r", offset, (45, 3, 20, 16))
    assert np.array_equal(mapped, source.parts["train"].inputs.numpy())


def test_more_class_names_than_a_plain_attribute_holds(tmp_path):
    classes = tuple(f"a class with the number {number}" for number in range(10_000))
    pack(Source("many", {"train": noise(10)}, classes, 1.0), tmp_path / "many.h5")
    assert read_source(tmp_path / "many.h5", Reading()).classes == classes


def test_appended_in_any_pieces_the_file_is_the_same(tmp_path):
    whole = photos().parts["train"]
    for name, sizes in (("one", [45]), ("many", [1, 0, 16, 20, 8])):
        with Packing(tmp_path / f"{name}.h5", name="photos", classes=["a", "b", "c"]) as out:
            for x, y in zip(whole.inputs.split(sizes), whole.labels.split(sizes), strict=True):
                out.append("train", x, y)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "many.h5").read_bytes()


class Counting(Stored):
    """Inputs made when they are read, so that only the packing takes memory."""

    def __init__(self, count: int) -> None:
        self.shape, self.dtype = (count, 1, 64, 64), torch.uint8

    def read(self, rows: torch.Tensor) -> torch.Tensor:
        kinds = (rows % 256).to(torch.uint8).numpy()
        return torch.from_numpy(np.broadcast_to(kinds[:, None, None, None], (len(rows), 1, 64, 64)))


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_memory_does_not_grow_with_the_set(tmp_path):
    def peak(count: int) -> int:
        tracemalloc.start()
        labels = torch.zeros(count, dtype=torch.int64)
        pack(Source("grey", {"train": Part(Counting(count), labels)}, ("a",)),
             tmp_path / f"{count}.h5", level=1)  # fmt: skip
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(100)  # imports
    assert peak(4096) < peak(1024) + 2**19 < 2**23


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"path": "x.zip"}, "would not be read as HDF5; write x.h5"),
        ({"level": 10}, "level is 10; expected 0"),
        ({"level": 0}, "lengths="),
    ],
)
def test_refused_arguments(tmp_path, arguments, told):
    path = tmp_path / arguments.pop("path", "x.h5")
    with pytest.raises(ValueError, match=told):
        Packing(path, classes=["a"], **arguments)


@pytest.mark.parametrize(
    ("split", "part", "told"),
    [
        ("training", noise(3), "'training'; expected one of train, validation, test"),
        ("train", Part(torch.rand(3, 1, 8, 9), torch.zeros(3).long()), "expected the same"),
        ("test", Part(torch.rand(3, 1, 8, 8).double(), torch.zeros(3).long()), "float64"),
        ("train", Part(torch.rand(3, 1, 8, 8), torch.zeros(2).long()), "has 3 inputs"),
        ("train", Part(torch.rand(3, 1, 8, 8), torch.full((3,), 2)), "expected 0 to 1"),
        ("train", Part(torch.rand(3, 1, 8, 8) + 1, torch.zeros(3).long()), "expected values in"),
    ],
)
@pytest.mark.parametrize("level", [0, 4])
def test_what_does_not_fit_leaves_no_file(tmp_path, split, part, told, level):
    def both() -> None:
        with Packing(path, classes=["a", "b"], level=level, lengths={"train": 9}) as out:
            out.append("train", *noise(5))
            out.append(split, *part)

    path = tmp_path / "new" / "x.h5"
    with pytest.raises(ValueError, match=told):
        both()
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize("level", [0, 4])
@pytest.mark.parametrize("count", [4, 6])
def test_another_number_of_examples_than_said(tmp_path, level, count):
    with (
        pytest.raises(ValueError, match=f"train was to have 5 examples, but {count} were appended"),
        Packing(tmp_path / "x.h5", classes=["a", "b"], level=level, lengths={"train": 5}) as out,
    ):
        out.append("train", *noise(count))
    assert os.listdir(tmp_path) == []


def test_integers_and_nothing_at_all_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"int32; expected uint8 or floating point"):
        pack(Source("x", {"train": Part(torch.zeros(2, 3, dtype=torch.int32),
                                        torch.zeros(2).long())}, ("a",), 1.0),
             tmp_path / "x.h5")  # fmt: skip
    with (
        pytest.raises(ValueError, match="no training examples"),
        Packing(tmp_path / "x.h5", classes=["a"]),
    ):
        pass
    assert os.listdir(tmp_path) == []


def interrupted(path: Path) -> None:
    with Packing(path, classes=["a", "b"], overwrite=True) as out:
        out.append("train", *noise(100))
        raise KeyboardInterrupt


def test_a_file_that_is_there_is_replaced_only_if_asked(tmp_path):
    path = tmp_path / "x.h5"
    path.write_text("mine")
    with pytest.raises(ValueError, match=r"is there already .*overwrite=True"):
        pack(photos(), path)
    assert path.read_text() == "mine"
    with pytest.raises(KeyboardInterrupt):
        interrupted(path)
    assert path.read_text() == "mine"
    pack(photos(), path, overwrite=True)
    assert same(read_source(path, Reading()), photos())
    assert os.listdir(tmp_path) == ["x.h5"]


@pytest.mark.parametrize("level", [0, 4])
@pytest.mark.parametrize("limit", [0, 5_000, 40_000])
def test_a_full_disk_leaves_no_file(tmp_path, level, limit):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            pack(photos(200), tmp_path / "x.h5", level=level)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(tmp_path / "x.h5"))
    assert os.listdir(tmp_path) == []


def test_no_space_left(tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        pack(photos(), tmp_path / "x.h5")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "x.h5"))
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"x\.h5"):
        pack(photos(), tmp_path / "file" / "x.h5")


def test_two_at_once_do_not_mix(tmp_path):
    first, second = photos(45), photos(90)
    path = tmp_path / "x.h5"
    with Packing(path, name="photos", classes=first.classes, scale=255.0) as out:
        out.append("train", *first.parts["train"])
        pack(second, path)
        assert same(read_source(path, Reading()), second)
    assert read_source(path, Reading()).parts["train"].inputs.shape[0] == 45
    assert verify_hdf5(path) == {"train": ""}
    assert os.listdir(tmp_path) == ["x.h5"]


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.mark.parametrize("level", [0, 4])
def test_h5dump_reads_each_pixel(tmp_path, level):
    program = _program("h5dump")
    source = photos()
    pack(source, tmp_path / "x.h5", level=level)
    subset = ["-s", "40,0,0,0", "-c", "1,3,20,16"]
    subprocess.run(
        [program, "-d", "/train/images", *subset, "-b", "LE", "-o", "image", "x.h5"],
        cwd=tmp_path, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    image = np.fromfile(tmp_path / "image", np.uint8).reshape(3, 20, 16)
    assert np.array_equal(image, source.parts["train"].inputs[40].numpy())


def _documented(language: str) -> str:
    """How the docs say that one image is read."""
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    (code,) = re.findall(rf"^\| {language} \| `(.*)` \|$", page, re.MULTILINE)
    return code


def test_python_reads_as_the_docs_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = photos()
    pack(source, "photos.h5")
    names = {"h5py": h5py, "i": 40}
    exec(_documented("Python"), names)
    names["f"].close()
    assert np.array_equal(names["image"], source.parts["train"].inputs[40].numpy())
    assert names["label"] == source.parts["train"].labels[40]


@pytest.mark.parametrize("level", [0, 4])
def test_octave_reads_each_pixel(tmp_path, level):
    program = _program("octave-cli")
    source = photos()
    pack(source, tmp_path / "photos.h5", level=level)
    script = (
        f"i = 41; {_documented('Octave')} "
        "printf('%s', jsonencode(struct('image', image, 'label', label)))"
    )
    told = subprocess.run(
        [program, "--norc", "--quiet", "--no-gui", "--eval", script],
        cwd=tmp_path, check=True, capture_output=True, timeout=60,
    ).stdout  # fmt: skip
    read = json.loads(told)
    expected = source.parts["train"].inputs[40].permute(1, 2, 0)
    assert read["image"] == expected.tolist()
    assert read["label"] == source.parts["train"].labels[40].item()
