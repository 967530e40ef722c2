"""IDX files: what they hold, folders of them, and what is said when they are damaged."""

import gzip

import numpy as np
import pytest
import torch

from brolly.data import load_data
from brolly.data._content import Content
from brolly.data._idx import IDX_NAMES, emnist_parts, idx_parts, parse_idx


def idx(values: np.ndarray) -> bytes:
    sizes = b"".join(int(size).to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.astype(np.uint8).tobytes()


def arrays(train: int = 6, test: int = 2) -> dict[str, np.ndarray]:
    """Images of 3 x 2 pixels and labels, by the names of MNIST's files."""
    generator = np.random.default_rng(0)
    values = []
    for count in (train, test):
        values += [generator.integers(256, size=(count, 3, 2)), np.arange(count) % 3]
    return dict(zip(IDX_NAMES, values, strict=True))


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
        (b"\0\0\x08\x03" + b"\xff" * 12, "its header promises"),
    ],
)
def test_what_is_no_idx_file(content, message):
    with pytest.raises(ValueError, match=message):
        parse_idx(content)


def test_emnist_is_set_upright_and_counted_from_zero():
    seven = np.array([[9, 9, 9], [0, 0, 9], [0, 9, 0]])
    files = [
        Content("images", idx(seven.T[None])),
        Content("labels", idx(np.array([26]))),
        Content("images", idx(seven.T[None])),
        Content("labels", idx(np.array([1]))),
    ]
    parts = emnist_parts(files, first=1)
    for name, label in (("train", 25), ("test", 0)):
        assert torch.equal(parts[name].inputs[0, 0], torch.from_numpy(seven).to(torch.uint8))
        assert parts[name].inputs.is_contiguous()
        assert parts[name].labels.tolist() == [label]
    assert torch.equal(idx_parts(files)["train"].inputs[0, 0].T, parts["train"].inputs[0, 0])


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("folder", ["letters", "letters/raw"])
def test_a_folder_of_idx_files_is_a_data_set(tmp_path, end, folder):
    place, values = tmp_path / folder, arrays()
    place.mkdir(parents=True)
    for name, array in values.items():
        content = idx(array)
        (place / f"{name}{end}").write_bytes(gzip.compress(content) if end else content)
    data = load_data(place, validation=0.0)
    assert data.name == "letters"
    assert data.classes == ("0", "1", "2")
    assert data.shape == (1, 3, 2)
    images, labels, test_images, test_labels = values.values()
    assert np.array_equal(data.train.inputs[:, 0].numpy(), images)
    assert np.array_equal(data.test.inputs[:, 0].numpy(), test_images)
    assert data.train.labels.tolist() == labels.tolist()
    assert data.test.labels.tolist() == test_labels.tolist()


@pytest.mark.parametrize(
    ("number", "content", "message"),
    [
        (0, b"\x08\0\0\0", "train-images-idx3-ubyte: magic number is 08000000"),
        (0, idx(np.zeros(4)), "train-images-idx3-ubyte has 1 dimensions; expected 3"),
        (1, idx(np.zeros((6, 1))), "train-labels-idx1-ubyte has 2 dimensions; expected 1"),
        (1, idx(np.zeros(5)), r"6 images, but .*train-labels-idx1-ubyte 5 labels; expected one"),
        (2, None, "has no file t10k-images-idx3-ubyte or t10k-images-idx3-ubyte.gz"),
        (3, idx(np.zeros(3)), "2 images, but .* 3 labels"),
    ],
)
def test_a_damaged_folder(tmp_path, number, content, message):
    for position, (name, array) in enumerate(arrays().items()):
        replaced = content if position == number else idx(array)
        if replaced is not None:
            (tmp_path / name).write_bytes(replaced)
    with pytest.raises(ValueError, match=message) as caught:
        load_data(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_truncated_gzip_in_a_folder(tmp_path):
    for name, array in arrays().items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx(array))[:-3])
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz is truncated or no gzip"):
        load_data(tmp_path)


def test_options_of_other_kinds_are_refused(tmp_path):
    for name, array in arrays().items():
        (tmp_path / name).write_bytes(idx(array))
    with pytest.raises(ValueError, match="label is 'x', but a folder of IDX files has no use"):
        load_data(tmp_path, label="x")
