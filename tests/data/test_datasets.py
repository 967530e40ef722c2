"""Data sets: what they hold, where they are found, and what is said when they are damaged."""

import dataclasses
import gzip
import hashlib
import shutil

import numpy as np
import pooch
import pytest
import torch
from sklearn.datasets import load_digits as sklearn_digits

import brolly
from brolly.data import DATASETS, Dataset, Split, find_data, load_data
from brolly.data._idx import FASHION_MNIST, MNIST, IdxFile, IdxSet, load_idx_set, locate, parse_idx


def test_digits_are_those_of_scikit_learn_cut_into_disjoint_splits():
    data, source = load_data("digits"), sklearn_digits()
    splits = (data.train, data.validation, data.test)
    assert [len(split) for split in splits] == [1260, 140, 397]
    assert data.shape == (1, 8, 8)
    assert data.classes == tuple("0123456789")
    assert data.train.inputs.dtype == torch.uint8
    joined = torch.cat([split.inputs.flatten(1) for split in splits]).numpy()
    labelled = np.column_stack([joined, torch.cat([split.labels for split in splits]).numpy()])
    expected = np.column_stack([source.images.reshape(-1, 64), source.target]).astype(np.int64)
    # As sets of rows they are equal, and no two rows of the source are, so no image is twice.
    assert len(np.unique(expected, axis=0)) == len(expected) == 1797
    assert np.array_equal(np.unique(labelled, axis=0), np.unique(expected, axis=0))
    values = data.train.scaled(data.train.inputs)
    assert values.unique().tolist() == [value / 16 for value in range(17)]


def test_the_splits_are_the_same_each_time_and_the_test_split_at_any_cut():
    first, again = load_data("digits"), load_data("digits")
    other = load_data("digits", validation=0.5)
    assert first.train.sha256 == again.train.sha256
    assert first.test.sha256 == other.test.sha256
    assert [len(other.train), len(other.validation)] == [700, 700]


@pytest.mark.parametrize("part", [0, 0.0])
def test_no_validation_split_keeps_the_stored_order(part):
    x = torch.arange(10.0)[:, None] / 10
    y = torch.arange(10) % 2
    data = Dataset.from_tensors("mine", (x, y), (x, y), validation=part)
    assert len(data.validation) == 0
    assert torch.equal(data.train.inputs, x)


@pytest.mark.parametrize(
    ("name", "shown", "train_labels", "test_labels"),
    [
        ("mnist", 5421, [5, 0, 4, 1, 9, 2, 1, 3, 1, 4], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]),
        ("fashion-mnist", 6000, [9, 0, 0, 3, 0, 2, 7, 2, 5, 5], [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]),
    ],
)
def test_the_real_files(data_folder, monkeypatch, name, shown, train_labels, test_labels):
    monkeypatch.setenv("BROLLY_DATA", str(data_folder))
    data = load_data(name)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [54_000, 6_000, 10_000]
    assert data.shape == (1, 28, 28)
    assert data.train.scale == 255
    counts = data.train.labels.bincount() + data.validation.labels.bincount()
    assert int(counts.sum()) == 60_000
    assert int(counts[5]) == shown
    if name == "fashion-mnist":
        assert counts.tolist() == [6000] * 10
    whole = load_data(name, validation=0.0)
    assert whole.train.labels[:10].tolist() == train_labels
    assert whole.test.labels[:10].tolist() == test_labels


def test_unknown_name():
    with pytest.raises(ValueError, match=r"'fashion_mnist' is unknown\. Did you mean"):
        load_data("fashion_mnist")


def idx(values: np.ndarray) -> bytes:
    sizes = b"".join(int(size).to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.astype(np.uint8).tobytes()


def test_parse_idx_reads_what_was_written():
    values = np.arange(24).reshape(2, 3, 4)
    parsed = parse_idx(idx(values))
    assert parsed.dtype == torch.uint8
    assert np.array_equal(parsed.numpy(), values)
    parsed[0, 0, 0] = 7  # it owns its memory


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "magic number"),
        (b"\0\0\x08", "magic number"),
        (b"\x08\0\0\x01" + b"\0\0\0\x01" + b"x", "magic number is 08000001"),
        (b"\0\0\x0d\x01" + b"\0\0\0\x01" + b"x", "magic number is 00000d01"),  # floats
        (b"\0\0\x08\x01" + b"\0\0\0\x03" + b"xy", r"holds 2 values; its header promises \(3,\)"),
        (b"\0\0\x08\x01" + b"\0\0\0\x01" + b"xy", r"holds 2 values; its header promises \(1,\)"),
        (b"\0\0\x08\x03" + b"\0\0\0\x01", "buffer"),
    ],
)
def test_what_is_no_idx_file(content, message):
    with pytest.raises(ValueError, match=message):
        parse_idx(content)


def small_set(values: int = 0) -> tuple[IdxSet, dict[str, bytes]]:
    """A set of six training and two test images, and the content of its files."""
    generator = np.random.default_rng(values)
    arrays = {
        "train-images.gz": generator.integers(256, size=(6, 3, 2)),
        "train-labels.gz": np.array([0, 1, 0, 1, 0, 1]),
        "test-images.gz": generator.integers(256, size=(2, 3, 2)),
        "test-labels.gz": np.array([1, 0]),
    }
    contents = {name: idx(array) for name, array in arrays.items()}
    files = tuple(
        IdxFile(name, md5_gz="0" * 32, md5=hashlib.md5(content).hexdigest())
        for name, content in contents.items()
    )
    source = IdxSet("small", "Small", ("http://a/", "http://b/"), files, ("no", "yes"), "", "")
    return source, contents


def put(folder, contents):
    raw = folder / "Small" / "raw"
    raw.mkdir(parents=True)
    for name, content in contents.items():
        (raw / name).write_bytes(gzip.compress(content))
    return raw


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, no BROLLY_DATA and no network."""
    monkeypatch.delenv("BROLLY_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)

    def offline(url, **kwargs):
        raise ConnectionError(f"no network: {url}")

    monkeypatch.setattr(pooch, "retrieve", offline)
    return tmp_path / "cache" / "brolly"


def test_the_content_decides_not_its_gzip_wrapper(tmp_path, cache):
    source, contents = small_set()
    raw = put(tmp_path, contents)
    name = source.files[0].name
    again = gzip.compress(contents[name], compresslevel=1, mtime=12345)
    assert again != (raw / name).read_bytes()
    (raw / name).write_bytes(again)
    data = load_idx_set(source, tmp_path).dataset(validation=0.0)
    assert data.train.inputs.shape == (6, 1, 3, 2)
    assert data.train.inputs.flatten().numpy().tobytes() == contents[name][16:]
    assert data.test.labels.tolist() == [1, 0]


def test_tampered_content_is_named_and_left_alone(tmp_path, cache):
    source, contents = small_set()
    raw = put(tmp_path, contents)
    path = raw / source.files[1].name
    changed = contents[path.name][:-1] + b"\0"
    path.write_bytes(gzip.compress(changed))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="holds other data than expected") as caught:
        load_idx_set(source, tmp_path)
    for part in (str(path), source.files[1].md5, hashlib.md5(changed).hexdigest()):
        assert part in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("cut", [5, 12, 30, -1])
def test_truncated_gzip_is_named_and_left_alone(tmp_path, cache, cut):
    source, contents = small_set()
    path = put(tmp_path, contents) / source.files[2].name
    path.write_bytes(path.read_bytes()[:cut])
    before = path.read_bytes()
    with pytest.raises(ValueError, match="truncated or no gzip file") as caught:
        load_idx_set(source, tmp_path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"not gzip at all", b"\x1f\x8b\x08\0\0\0\0\0\0\0garbage"])
def test_garbage_is_named(tmp_path, cache, content):
    source, contents = small_set()
    path = put(tmp_path, contents) / source.files[0].name
    path.write_bytes(content)
    with pytest.raises(ValueError, match="truncated or no gzip file"):
        load_idx_set(source, tmp_path)


def test_search_order_is_the_argument_the_variable_the_cache(tmp_path, cache, monkeypatch):
    source, contents = small_set()
    named, variable = tmp_path / "named", tmp_path / "variable"
    for folder in (named, variable, cache):
        put(folder, contents)
    monkeypatch.setenv("BROLLY_DATA", str(variable))
    for folder in (named, variable, cache):
        assert locate(source, named) == folder / "Small" / "raw"
        # A damaged file in the first place is an error, so the read one is known.
        (folder / "Small" / "raw" / source.files[0].name).write_bytes(b"damaged")
        with pytest.raises(ValueError, match="truncated") as caught:
            load_idx_set(source, named)
        assert str(folder) in str(caught.value)
        shutil.rmtree(folder)
    assert locate(source, named) is None


def test_failed_download_names_the_file_and_the_places(tmp_path, cache, monkeypatch):
    source, _ = small_set()
    monkeypatch.setenv("BROLLY_DATA", str(tmp_path / "variable"))
    with pytest.raises(ValueError, match="could not be downloaded") as caught:
        load_idx_set(source, tmp_path / "named")
    message = str(caught.value)
    for folder in (tmp_path / "named", tmp_path / "variable", cache):
        assert str(folder / "Small" / "raw" / "train-images.gz") in message
    for part in ("http://a/: ConnectionError", "http://b/: ConnectionError", source.files[0].md5):
        assert part in message
    assert "--data-dir" in message
    assert "BROLLY_DATA" in message


def test_download_goes_to_the_cache_and_takes_the_second_mirror(cache, monkeypatch):
    source, contents = small_set()
    asked = []

    def retrieve(url, *, known_hash, fname, path):
        asked.append((url, known_hash))
        if url.startswith("http://a/"):
            raise ConnectionError
        path.mkdir(parents=True, exist_ok=True)
        (path / fname).write_bytes(gzip.compress(contents[fname]))

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    data = load_idx_set(source).dataset()
    assert len(data.train) + len(data.validation) == 6
    assert locate(source) == cache / "Small" / "raw"
    names = [file.name for file in source.files]
    assert [url for url, _ in asked] == [m + n for n in names for m in source.mirrors]
    assert {known for _, known in asked} == {"md5:" + "0" * 32}


def test_find_data_reads_nothing(tmp_path, cache):
    for source in (MNIST, FASHION_MNIST):
        raw = tmp_path / source.folder / "raw"
        raw.mkdir(parents=True)
        for file in source.files[: 4 if source is MNIST else 3]:
            (raw / file.name).touch()
    found = find_data(tmp_path)
    assert tuple(found) == DATASETS
    assert found["mnist"] == str(tmp_path / "MNIST" / "raw")
    assert found["fashion-mnist"].startswith("not found")


def tensors(count=20, classes=4, shape=(3, 5, 4), seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, *shape, generator=generator)
    return x, torch.arange(count) % classes


def test_from_tensors_sets_aside_disjoint_examples():
    x, y = tensors(50)
    data = Dataset.from_tensors("mine", (x, y), tensors(8, seed=1), validation=0.2)
    assert (len(data.train), len(data.validation), len(data.test)) == (40, 10, 8)
    joined = torch.cat([data.train.inputs, data.validation.inputs])
    rows = [{tuple(row) for row in inputs.flatten(1).tolist()} for inputs in (joined, x)]
    assert rows[0] == rows[1]
    for split in (data.train, data.validation):
        for image, label in zip(split.inputs, split.labels, strict=True):
            assert y[(x == image).flatten(1).all(1)].tolist() == [int(label)]
    assert data.classes == ("0", "1", "2", "3")
    assert data.train.scale == 1


def test_from_tensors_takes_a_validation_split():
    x, y = tensors(6)
    data = Dataset.from_tensors("mine", (x, y), (x, y), validation=(x[:2], y[:2]))
    assert torch.equal(data.train.inputs, x)
    assert torch.equal(data.validation.inputs, x[:2])
    assert data.validation.name == "validation"


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        ((torch.rand(4, 2) + 0.5, torch.zeros(4).long()), {}, "expected values in"),
        ((torch.full((4, 2), torch.nan), torch.zeros(4).long()), {}, "expected values in"),
        ((torch.rand(4, 2), torch.zeros(3).long()), {}, "has 4 inputs, but labels"),
        ((torch.rand(4, 2), torch.zeros(3).long()), {"validation": 0.0}, "inputs, but 3 labels"),
        ((torch.rand(4, 2), torch.zeros(5).long()), {"validation": 0.0}, "inputs, but 5 labels"),
        ((torch.rand(4, 2), torch.zeros(4, 1).long()), {"validation": 0.0}, "but labels of shape"),
        ((torch.rand(4, 2), torch.zeros(4)), {"classes": ("a",)}, r"write y\.long\(\)"),
        ((torch.rand(4, 2), torch.tensor([0, 1, 2, 1])), {"classes": ("a", "b")}, "span 0 to 2"),
        ((torch.rand(4, 2), torch.tensor([0, -1, 1, 1])), {}, "span -1 to 1"),
        ((torch.rand(4, 2), torch.zeros(4).long()), {"validation": 1.0}, r"in \[0, 1\)"),
        ((torch.full((4, 2), 200, dtype=torch.uint8), torch.zeros(4).long()), {"scale": 16.0},
         r"\[12\.5, 12\.5\] after division by 16"),
    ],
)  # fmt: skip
def test_what_from_tensors_refuses(train, options, message):
    # Everything is in the training part, and the rest is in order.
    options = {"validation": (torch.rand(1, 2), torch.zeros(1).long()), **options}
    with pytest.raises(ValueError, match=message):
        Dataset.from_tensors("mine", train, (torch.rand(1, 2), torch.zeros(1).long()), **options)


def test_the_test_split_is_checked_too():
    x, y = tensors(8)
    with pytest.raises(ValueError, match=r"mine/test span"):
        Dataset.from_tensors("mine", (x, y), (x + 1, y))


def test_bounds_and_scale_are_free():
    x, y = tensors(8)
    data = Dataset.from_tensors("mine", (4 * x - 2, y), (4 * x - 2, y), bounds=(-2.0, 2.0))
    assert data.bounds == (-2, 2)
    bytes_ = (x * 255).to(torch.uint8)
    assert Dataset.from_tensors("mine", (bytes_, y), (bytes_, y)).train.scale == 255


@pytest.mark.parametrize("shape", [(3, 5, 4), (2, 7), (6,)])
def test_statistics_are_those_of_numpy_over_the_training_split(shape):
    x, y = tensors(40, shape=shape)
    data = Dataset.from_tensors("mine", (x, y), (x * 0, y))
    values = data.train.inputs.double().numpy()
    axes = None if len(shape) == 1 else (0, *range(2, values.ndim))
    mean, std = np.atleast_1d(values.mean(axes)), np.atleast_1d(values.std(axes))
    assert data.statistics.mean == tuple(float(f"{value:.4g}") for value in mean)
    assert data.statistics.std == tuple(float(f"{value:.4g}") for value in std)


def test_statistics_are_in_input_units():
    data = load_data("digits")
    values = data.train.inputs.numpy() / 16
    assert data.statistics.mean[0] == pytest.approx(values.mean(), rel=1e-3)
    assert data.statistics.std[0] == pytest.approx(values.std(), rel=1e-3)


def test_sha256_names_the_content():
    x, y = tensors(8)
    split = Split(x, y, 1.0, "train", "mine", tuple("0123"))
    assert split.sha256 == hashlib.sha256(x.numpy().tobytes() + y.numpy().tobytes()).hexdigest()
    nudged = x.clone()
    nudged[3, 1, 2, 2] += 1e-6
    assert dataclasses.replace(split, inputs=nudged).sha256 != split.sha256
    assert dataclasses.replace(split, labels=y.flip(0)).sha256 != split.sha256
    strided = x.transpose(2, 3).contiguous().transpose(2, 3)
    assert dataclasses.replace(split, inputs=strided).sha256 == split.sha256
    assert len(split.first(0).sha256) == 64


def test_first_cuts():
    split = load_data("digits").train
    assert len(split.first(7)) == 7
    assert torch.equal(split.first(7).labels, split.labels[:7])
    assert len(split.first(10**6)) == len(split)


def test_the_public_name():
    assert brolly.load_data is load_data
