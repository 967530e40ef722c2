"""Reading HDF5: any layout gives the same rows, foreign files are understood, damage is told."""

import multiprocessing
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from brolly.data import Damaged, Part, Reading, Source, load_data, pack, read_source, verify_hdf5
from brolly.data import _hdf5_inputs as inputs_module
from brolly.data._hdf5_inputs import ChunkedInputs, H5pyInputs, MappedInputs, stored_inputs

IMAGES = np.random.default_rng(0).integers(0, 256, (103, 3, 8, 6), dtype=np.uint8)
LABELS = np.arange(103) % 4

LAYOUTS = {
    "one piece": (MappedInputs, {}),
    "gzip": (ChunkedInputs, {"chunks": (10, 3, 8, 6), "compression": "gzip"}),
    "one row a chunk": (ChunkedInputs, {"chunks": (1, 3, 8, 6), "compression": "gzip"}),
    "chunks as they are": (ChunkedInputs, {"chunks": (10, 3, 8, 6)}),
    "chunks of parts": (H5pyInputs, {"chunks": (10, 3, 4, 6), "compression": "gzip"}),
    "lzf": (H5pyInputs, {"chunks": (10, 3, 8, 6), "compression": "lzf"}),
    "shuffled bytes": (H5pyInputs, {"chunks": (10, 3, 8, 6), "compression": "gzip",
                                    "shuffle": True}),
    "checksums": (H5pyInputs, {"chunks": (10, 3, 8, 6), "fletcher32": True}),
}  # fmt: skip


def opened(path: Path, name: str = "images"):
    with h5py.File(path) as file:
        return stored_inputs(file[name], path)


def written(path: Path, images: np.ndarray = IMAGES, **layout) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, **layout)
    return path


@pytest.fixture(params=LAYOUTS, ids=lambda name: name.replace(" ", "-"))
def stored(request, tmp_path):
    kind, layout = LAYOUTS[request.param]
    found = opened(written(tmp_path / "x.h5", **layout))
    assert type(found) is kind
    return found


def test_rows_in_any_order(stored):
    assert (stored.shape, stored.dtype, len(stored)) == (IMAGES.shape, torch.uint8, 103)
    generator = torch.Generator().manual_seed(0)
    for count in (0, 1, 7, 103, 500):
        rows = torch.randint(103, (count,), generator=generator)
        assert np.array_equal(stored.read(rows), IMAGES[rows.numpy()])
    assert np.array_equal(stored.read(torch.arange(103)), IMAGES)


def test_what_is_read_is_a_copy(stored):
    rows = torch.tensor([5, 6])
    stored.read(rows).zero_()
    assert np.array_equal(stored.read(rows), IMAGES[5:7])


@pytest.mark.parametrize("row", [-1, 103])
def test_rows_that_are_not_there(stored, row):
    with pytest.raises(IndexError, match="expected 0 to 102"):
        stored.read(torch.tensor([0, row]))


def test_threads_and_pickled_copies_read_the_same(stored):
    orders = [torch.randperm(103, generator=torch.Generator().manual_seed(k)) for k in range(20)]
    copy = pickle.loads(pickle.dumps(stored))
    with ThreadPoolExecutor(4) as pool:
        for inputs in (stored, copy):
            for rows, read in zip(orders, pool.map(inputs.read, orders), strict=True):
                assert np.array_equal(read, IMAGES[rows.numpy()])
    assert len(pickle.dumps(stored)) < 5000  # no rows among it


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_forked_processes_read_the_same(stored):
    rows = torch.tensor([100, 3, 50])
    stored.read(rows)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert np.array_equal(pool.apply(_sum, (stored, rows)), IMAGES[rows.numpy()].sum())


def _sum(stored, rows) -> int:
    return int(stored.read(rows).sum())


@pytest.mark.parametrize("cpus", [1, 3])
def test_few_chunks_are_kept_and_any_number_is_decoded(tmp_path, monkeypatch, cpus):
    monkeypatch.setattr(inputs_module, "_KEPT", 4 * 144 * 10)
    monkeypatch.setattr(inputs_module, "usable_cpus", lambda: cpus)
    stored = opened(written(tmp_path / "x.h5", chunks=(10, 3, 8, 6), compression="gzip"))
    for rows in (torch.arange(103), torch.arange(103).flip(0), torch.arange(95, 103)):
        assert np.array_equal(stored.read(rows), IMAGES[rows.numpy()])
        assert len(stored._kept) <= 4
    # The last ones used are at hand, so that they are read from a damaged file too.
    assert {9, 10} <= set(stored._kept)


@pytest.mark.parametrize("values", [">f4", "<f4", "f2", "f8"])
def test_floating_point_of_any_order_of_bytes(tmp_path, values):
    numbers = np.linspace(0, 1, 60).reshape(20, 3).astype(values)
    stored = opened(written(tmp_path / "x.h5", numbers))
    assert isinstance(stored, H5pyInputs if values[0] == ">" else MappedInputs)
    assert np.array_equal(stored.read(torch.arange(20)), numbers)


def test_places_in_files_with_a_preface_are_left_to_hdf5(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w", userblock_size=512) as file:
        file["images"] = IMAGES
    assert np.array_equal(opened(tmp_path / "x.h5").read(torch.arange(103)), IMAGES)


def test_chunks_that_were_never_written_are_left_to_hdf5(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("images", (30, 2), "u1", chunks=(10, 2), compression="gzip")
        data[:10] = 1
        file.create_dataset("none", (30, 2), "u1")
    assert opened(tmp_path / "x.h5").read(torch.tensor([0, 29])).tolist() == [[1, 1], [0, 0]]
    assert opened(tmp_path / "x.h5", "none").read(torch.tensor([29])).tolist() == [[0, 0]]


def test_a_file_that_was_replaced_since(tmp_path):
    path = written(tmp_path / "x.h5", chunks=(10, 3, 8, 6), compression="gzip")
    stored = opened(path)
    written(tmp_path / "y.h5", IMAGES[::-1], chunks=(5, 3, 8, 6)).replace(path)
    with pytest.raises(ValueError, match="has changed since it was opened; load it anew"):
        stored.read(torch.arange(3))


# Damage.


@pytest.fixture
def packed(tmp_path) -> Path:
    path = tmp_path / "x.h5"
    y = torch.from_numpy(LABELS)
    source = Source("x", {"train": Part(torch.from_numpy(IMAGES), y),
                          "test": Part(torch.from_numpy(IMAGES[:20]), y[:20])},
                    ("a", "b", "c", "d"))  # fmt: skip
    pack(source, path)
    return path


def flip(path: Path, at: int, count: int = 1) -> None:
    content = bytearray(path.read_bytes())
    for place in range(at, at + count):
        content[place] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("part", ["head", "middle", "checksum"])
def test_a_damaged_chunk_is_named(packed, part):
    with h5py.File(packed) as file:
        chunk = file["test/images"].id.get_chunk_info(0)
    at = {"head": 0, "middle": chunk.size // 2, "checksum": chunk.size - 1}[part]
    flip(packed, chunk.byte_offset + at)
    problems = verify_hdf5(packed)
    assert problems["train"] == ""
    assert "test/images is damaged in rows 0 to 19" in problems["test"]
    with pytest.raises(ValueError, match="test/images is damaged"):
        load_data(packed, in_memory=True)


def test_data_that_are_not_what_was_packed(packed):
    with h5py.File(packed, "r+") as file:
        file["train/images"][102, 0, 0, 0] ^= 1
        file["test/labels"][0] = 3
    problems = verify_hdf5(packed)
    assert all("its hash is" in problem for problem in problems.values())
    with h5py.File(packed, "r+") as file:
        file["train/images"][102, 0, 0, 0] ^= 1
        file["test/labels"][0] = 9
    problems = verify_hdf5(packed)
    assert problems["train"] == ""
    assert "span 0 to 9; expected 0 to 3" in problems["test"]


@pytest.mark.parametrize("name", ["name", "classes", "scale", "bounds", "licence", "version"])
def test_a_missing_attribute(packed, name):
    with h5py.File(packed, "r+") as file:
        del file.attrs[name]
    with pytest.raises(Damaged, match=f"no attribute {name!r}"):
        read_source(packed, Reading())


def test_missing_hashes_and_arrays(packed):
    with h5py.File(packed, "r+") as file:
        del file["train"].attrs["sha256"]
    with pytest.raises(Damaged, match="/train has no attribute 'sha256'"):
        verify_hdf5(packed)
    with h5py.File(packed, "r+") as file:
        del file["train/labels"]
    with pytest.raises(Damaged, match="labels"):
        read_source(packed, Reading())


@pytest.mark.parametrize("kept", [0, 100, 3000, -1])
def test_a_truncated_file(packed, kept):
    packed.write_bytes(packed.read_bytes()[:kept])
    for reads in (verify_hdf5, load_data):
        with pytest.raises(Damaged, match="is damaged or no HDF5 file") as caught:
            reads(packed)
        assert "\n" not in str(caught.value)


def test_no_flipped_byte_is_passed_over(packed):
    """Wherever it is: either the data are the same, or it is told."""
    content, sound = packed.read_bytes(), read_source(packed, Reading())
    for at in np.random.default_rng(0).integers(0, len(content), 40).tolist():
        packed.write_bytes(content)
        flip(packed, at)
        try:
            problems = verify_hdf5(packed)
        except ValueError:
            continue
        if any(problems.values()):
            continue
        found = read_source(packed, Reading())
        for split, (_, labels) in sound.parts.items():
            rows = torch.arange(len(labels))
            assert torch.equal(found.parts[split].inputs.read(rows), torch.from_numpy(IMAGES[rows]))
            assert torch.equal(found.parts[split].labels, labels)


def test_a_later_version_and_no_packed_file(packed, tmp_path):
    with h5py.File(packed, "r+") as file:
        file.attrs["version"] = 2
    with pytest.raises(ValueError, match=r"version 2; .* up to 1\. Install a newer brolly"):
        read_source(packed, Reading())
    with pytest.raises(ValueError, match="no hashes to verify"):
        verify_hdf5(written(tmp_path / "y.h5"))
    with pytest.raises(ValueError, match="does not exist"):
        verify_hdf5(tmp_path / "z.h5")


# Files of others.


def foreign(path: Path, **arrays) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name.replace("__", "/")] = array
    return path


def test_a_foreign_file_by_its_mapping(tmp_path):
    path = foreign(tmp_path / "x.h5", a=IMAGES, b=LABELS, c__d=IMAGES[:9], c__e=LABELS[:9])
    mapping = {"train/images": "a", "train/labels": "b", "test/images": "c/d", "test/labels": "c/e"}
    data = load_data(path, mapping=mapping, validation=0.0, in_memory=False)
    assert (data.name, data.train.scale, data.bounds) == ("x", 255, (0, 1))
    assert data.classes == ("0", "1", "2", "3")
    assert np.array_equal(data.train.read(), IMAGES)
    assert np.array_equal(data.test.labels, LABELS[:9])
    assert not isinstance(data.train.inputs, torch.Tensor)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (IMAGES.transpose(0, 2, 3, 1), IMAGES),
        (IMAGES[:, 0], IMAGES[:, :1]),
        (IMAGES[:, :1].transpose(0, 2, 3, 1), IMAGES[:, :1]),
        (IMAGES.reshape(103, -1), IMAGES.reshape(103, -1)),
    ],
    ids=["nhwc", "nhw", "nhw1", "features"],
)
def test_axes_become_ours(tmp_path, theirs, ours):
    path = foreign(tmp_path / "x.h5", x_train=theirs, y_train=LABELS)
    inputs = read_source(path, Reading()).parts["train"].inputs
    assert inputs.shape == ours.shape
    assert np.array_equal(inputs.read(torch.arange(103)), ours)
    assert inputs.read(torch.tensor([7, 5])).is_contiguous()


@pytest.mark.parametrize(
    "labels",
    [LABELS[:, None], np.eye(4)[LABELS], LABELS.astype(np.float32), LABELS.astype(np.uint8)],
    ids=["column", "one-hot", "float", "uint8"],
)
def test_labels_become_ours(tmp_path, labels):
    path = foreign(tmp_path / "x.h5", images=IMAGES, labels=labels)
    part = read_source(path, Reading()).parts["train"]
    assert np.array_equal(part.labels, LABELS)
    assert part.labels.dtype == torch.int64


def test_floating_point_images_and_features(tmp_path):
    path = foreign(tmp_path / "x.h5", images=(IMAGES / 255).astype("f4"), labels=LABELS)
    data = load_data(path)
    assert (data.train.scale, data.bounds) == (1, (0, 1))
    assert data.train.dtype == torch.float32
    path = foreign(tmp_path / "y.h5", images=IMAGES / 4.0, labels=LABELS)
    with pytest.raises(ValueError, match="or bounds="):
        load_data(path)
    assert load_data(path, bounds=(0.0, 64.0)).bounds == (0, 64)
    path = foreign(tmp_path / "z.h5", x=np.linspace(-3, 5, 206).reshape(103, 2), y=LABELS)
    assert load_data(path).bounds == (-3, 5)


def test_whole_numbers_are_pixels(tmp_path):
    path = foreign(tmp_path / "x.h5", images=IMAGES.astype(np.int64), labels=LABELS)
    source = read_source(path, Reading())
    assert (source.parts["train"].inputs.dtype, source.scale) == (torch.uint8, 255)


@pytest.mark.parametrize(
    ("arrays", "options", "told"),
    [
        ({"a": IMAGES, "b": LABELS}, {},
         r"no training images .*mapping=.* holds a \(103, 3, 8, 6\) uint8, b \(103,\) int64"),
        ({}, {}, "The file holds no arrays"),
        ({"images": IMAGES, "labels": LABELS}, {"mapping": {"train/images": "x"}},
         "train/images is 'x', but .* has images, labels"),
        ({"images": IMAGES, "labels": LABELS}, {"mapping": {"train/image_": "images"}},
         "Did you mean 'train/images'"),
        ({"images": IMAGES, "labels": LABELS[:9]}, {}, "103 .*inputs, but .*labels"),
        ({"images": IMAGES[..., None], "labels": LABELS}, {}, "expected images"),
        ({"images": IMAGES[:, [0, 1]], "labels": LABELS}, {}, "expected"),
        ({"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:, :1], "y_test": LABELS}, {},
         "splits differ in the shape"),
        ({"images": IMAGES, "labels": LABELS}, {"bounds": (0.0, 2.0)}, "bounds"),
        ({"images": IMAGES, "labels": LABELS}, {"size": 8}, "size is .* no use for it"),
        ({"images": IMAGES, "labels": LABELS}, {"colour": "rgb"}, "colour is .* no use for it"),
        ({"images": IMAGES, "labels": LABELS}, {"label": "y"}, "label is .* no use for it"),
    ],
)  # fmt: skip
def test_what_is_told_of_a_file_that_does_not_fit(tmp_path, arrays, options, told):
    with pytest.raises(ValueError, match=told):
        load_data(foreign(tmp_path / "x.h5", **arrays), **options)


def test_no_hdf5_at_all(tmp_path):
    (tmp_path / "x.h5").write_text("no such thing")
    with pytest.raises(Damaged, match="is damaged or no HDF5 file"):
        load_data(tmp_path / "x.h5")
    assert os.listdir(tmp_path) == ["x.h5"]
