"""Arrays from .npz and .mat files: which is which, their axes, values and labels."""

import shutil
import subprocess

import h5py
import numpy as np
import pytest
import scipy.io
import torch

from brolly.data import Reading, load_data, read_source


def images(count=6, shape=(5, 4), seed=0):
    return np.random.default_rng(seed).integers(256, size=(count, *shape), dtype=np.uint8)


def read(path, **options):
    return read_source(path, Reading(**options))


def saved(folder, **arrays):
    np.savez(folder / "mine.npz", **arrays)
    return folder / "mine.npz"


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("x_train", "y_train", "x_test", "y_test"), ("train", "test")),  # Keras
        (
            ("train_images", "train_labels", "val_images", "val_labels", "test_images",
             "test_labels"),  # MedMNIST
            ("train", "validation", "test"),
        ),
        (("train/images", "train/labels"), ("train",)),
        (("X_train", "Y_train"), ("train",)),
        (("images", "labels"), ("train",)),
        (("data", "target"), ("train",)),
        (("X", "y"), ("train",)),
    ],
)  # fmt: skip
def test_names_say_what_arrays_are(tmp_path, names, splits):
    pairs = [(images(seed=at), np.arange(6) % 3) for at in range(len(splits))]
    path = saved(tmp_path, **dict(zip(names, [a for pair in pairs for a in pair], strict=True)))
    source = read(path)
    assert tuple(source.parts) == splits
    for (inputs, labels), part in zip(pairs, source.parts.values(), strict=True):
        assert np.array_equal(part.inputs[:, 0].numpy(), inputs)
        assert part.inputs.shape == (6, 1, 5, 4)
        assert np.array_equal(part.labels.numpy(), labels)
    assert (source.name, source.scale, source.bounds) == ("mine", 255, (0, 1))


def test_a_mapping_says_it_where_names_do_not(tmp_path):
    path = saved(tmp_path, a=images(), b=np.arange(6), c=images(2), d=np.arange(2))
    mapping = {"train/images": "a", "train/labels": "b", "val/images": "c", "val/labels": "d"}
    data = load_data(path, mapping=mapping, test=0)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [6, 2, 0]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (None, "no training images among a, b"),
        ({"train/images": "a"}, "has train/images .a., but no train/labels among a, b"),
        ({"train/images": "a", "train/labels": "z"}, "train/labels is 'z', but .* has a, b"),
        ({"train/image": "a", "train/lables": "b"}, "'train/lables'. Did you mean 'train/labels'"),
    ],
)
def test_what_cannot_be_told_apart(tmp_path, mapping, message):
    with pytest.raises(ValueError, match=message):
        read(saved(tmp_path, a=images(), b=np.arange(6)), mapping=mapping)


def test_two_arrays_that_may_both_be_the_images(tmp_path):
    path = saved(tmp_path, data=images(), images=images(), target=np.arange(6))
    with pytest.raises(ValueError, match=r"data and images of .* may both be train/images"):
        read(path)


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_come_first(tmp_path, channels):
    last = images(shape=(5, 4, channels))
    found = read(saved(tmp_path, x=last, y=np.arange(6))).parts["train"].inputs
    assert found.shape == (6, channels, 5, 4)
    assert np.array_equal(found.permute(0, 2, 3, 1).numpy(), last)
    first = images(shape=(channels, 5, 4))
    found = read(saved(tmp_path, x=first, y=np.arange(6))).parts["train"].inputs
    assert np.array_equal(found.numpy(), first)


def test_whole_numbers_of_8_bits_become_bytes_whatever_their_type(tmp_path):
    x = images()
    for kind in (np.int64, ">u2"):
        found = read(saved(tmp_path, x=x.astype(kind), y=np.arange(6))).parts["train"].inputs
        assert found.dtype == torch.uint8
        assert np.array_equal(found[:, 0].numpy(), x)


def test_floating_point_images_lie_in_0_1_or_in_given_bounds(tmp_path):
    x = images() / 255
    source = read(saved(tmp_path, x=x.astype(">f8"), y=np.arange(6)))
    assert (source.scale, source.bounds) == (1, (0, 1))
    assert torch.equal(source.parts["train"].inputs[:, 0], torch.from_numpy(x).float())
    path = saved(tmp_path, x=2 * x - 1, y=np.arange(6))
    with pytest.raises(ValueError, match=r"images span \[-.*write bounds=\("):
        read(path)
    assert read(path, bounds=(-1.0, 1.0)).bounds == (-1, 1)


def test_images_in_black_and_white_are_not_nearly_black(tmp_path):
    x = (images() > 128).astype(np.int64)
    source = read(saved(tmp_path, x=x, y=np.arange(6)))
    assert (source.parts["train"].inputs.max(), source.scale) == (1, 1.0)


def test_features_span_their_bounds(tmp_path):
    x = np.array([[1.0, -2.0], [3.5, 0.0]])
    path = saved(tmp_path, x_train=x, y_train=[0, 1], x_test=x + 1, y_test=[0, 1])
    assert read(path).bounds == (-2, 4.5)
    assert read(path, bounds=(-5.0, 5.0)).bounds == (-5, 5)
    assert read(path).parts["train"].inputs.dtype == torch.float32


@pytest.mark.parametrize(
    ("labels", "classes", "found"),
    [
        (np.array([[3], [5], [3]]), ("3", "5"), [0, 1, 0]),
        (np.array([[3, 5, 3]]), ("3", "5"), [0, 1, 0]),
        (np.array([10, 9, -1]), ("-1", "9", "10"), [2, 1, 0]),
        (np.array([1.0, 0.0, 1.0], np.float32), ("0", "1"), [1, 0, 1]),
        (np.array(["dog", "cat", "dog"]), ("cat", "dog"), [1, 0, 1]),
        (np.array([b"dog", b"cat", b"dog"]), ("cat", "dog"), [1, 0, 1]),
        (np.eye(4)[[1, 0, 3]], ("0", "1", "2", "3"), [1, 0, 3]),
        (np.array([True, False, True]), ("0", "1"), [1, 0, 1]),
    ],
)
def test_labels(tmp_path, labels, classes, found):
    source = read(saved(tmp_path, x=images(3), y=labels))
    assert source.classes == classes
    assert source.parts["train"].labels.tolist() == found


def test_classes_are_those_of_all_splits(tmp_path):
    path = saved(tmp_path, x_train=images(2), y_train=["b", "d"], x_test=images(2),
                 y_test=["a", "d"])  # fmt: skip
    source = read(path)
    assert source.classes == ("a", "b", "d")
    assert source.parts["test"].labels.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": images(3), "y": np.arange(2)}, "train has 3 inputs, but 2 labels"),
        ({"x": images(3, (5, 4, 2)), "y": np.arange(3)}, r"\(3, 5, 4, 2\); expected .* c 1 or 3"),
        ({"x": np.arange(3), "y": np.arange(3)}, r"has shape \(3,\); expected images"),
        ({"x": np.array(["a", "b"]), "y": np.arange(2)}, "is of type <U1; expected numbers"),
        ({"x": np.array([[1.0], [np.nan]]), "y": np.arange(2)}, r"NaN or infinity \(example 1\)"),
        ({"x": np.array([[1e39], [1]]), "y": np.arange(2)}, r"NaN or infinity \(example 0\)"),
        ({"x": images(2), "y": np.array([0.5, 1])}, r"holds 0\.5 \(example 0\); expected classes"),
        ({"x": images(2), "y": np.array([np.nan, 1])}, "holds nan"),
        ({"x": images(2), "y": np.array([[1, 1], [0, 1]])}, "not one-hot"),
        ({"x": images(2), "y": np.array(1)}, r"has shape \(\)"),
        ({"x": images(2), "y": np.array([1j, 2])}, "complex128; expected whole numbers"),
        ({"x": images(2), "y": np.array([{}, 1])}, "array y cannot be read .*allow_pickle=False"),
        (
            {"x_train": images(2), "y_train": [0, 1], "x_test": images(2, (3, 3)),
             "y_test": [0, 1]},
            r"inputs of test have shape \(1, 3, 3\), those of train \(1, 5, 4\)",
        ),
    ],
)  # fmt: skip
def test_arrays_that_are_refused(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=message):
        read(saved(tmp_path, **arrays))


def test_damaged_archives_are_named(tmp_path):
    path = saved(tmp_path, x=images(100), y=np.arange(100))
    content = path.read_bytes()
    changed = bytearray(content)
    changed[500] ^= 255
    for damaged, message in (
        (b"", r"damaged or no \.npz file"),
        (b"text", r"damaged or no \.npz file"),
        (content[:-30], r"damaged or no \.npz file"),
        (bytes(changed), "array x cannot be read .Bad CRC-32"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=message) as caught:
            read(path)
        assert str(path) in str(caught.value)
    with path.open("wb") as file:
        np.save(file, images())
    with pytest.raises(ValueError, match="one array without a name"):
        read(path)


def test_options_without_use_are_refused(tmp_path):
    path = saved(tmp_path, x=images(), y=np.arange(6))
    for option in ({"size": (8, 8)}, {"colour": "rgb"}, {"label": "y"}, {"bounds": (0.0, 2.0)}):
        with pytest.raises(ValueError, match="has no use for it"):
            read(path, **option)


@pytest.mark.parametrize("compressed", [False, True])
def test_mat_files_count_examples_last(tmp_path, compressed):
    x = images(7, (5, 4, 3))
    arrays = {"X": np.moveaxis(x, 0, -1), "y": np.array([[1.0, 2, 10, 1, 2, 10, 1]]).T}
    scipy.io.savemat(tmp_path / "mine.mat", arrays, do_compression=compressed)
    source = read(tmp_path / "mine.mat")
    assert source.classes == ("1", "2", "10")
    assert source.parts["train"].labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert np.array_equal(source.parts["train"].inputs.permute(0, 2, 3, 1).numpy(), x)


@pytest.mark.parametrize("labels", [np.array(["cat", "horse"]), np.array(["cat", "horse"], "O")])
def test_mat_files_with_names_of_classes(tmp_path, labels):
    scipy.io.savemat(tmp_path / "mine.mat", {"x": images(2), "y": labels})
    assert read(tmp_path / "mine.mat").classes == ("cat", "horse")


def test_mat_files_of_version_7_3_are_hdf5_with_axes_from_the_other_end(tmp_path):
    x = images(7, (5, 4, 3))
    with h5py.File(tmp_path / "mine.mat", "w", userblock_size=512) as file:
        file["images"] = np.moveaxis(x, 0, -1).T  # what MATLAB calls (h, w, c, n)
        file["labels"] = np.arange(7.0)[:, None]
    source = read(tmp_path / "mine.mat")
    assert np.array_equal(source.parts["train"].inputs.permute(0, 2, 3, 1).numpy(), x)


def test_what_octave_writes(tmp_path):
    if shutil.which("octave-cli") is None:
        pytest.skip("octave-cli is not installed")
    script = (
        "images = uint8(reshape(0:119, 5, 4, 3, 2)); labels = [7; 9]; "
        f"save('-v7', '{tmp_path}/mine.mat', 'images', 'labels')"
    )
    subprocess.run(["octave-cli", "--no-init-file", "--eval", script], check=True, timeout=60)
    source = read(tmp_path / "mine.mat")
    found = source.parts["train"].inputs
    assert source.classes == ("7", "9")
    assert found.shape == (2, 3, 5, 4)
    # MATLAB counts the first axis fastest.
    assert found[1, 2, :, 3].tolist() == [60 + 40 + 15 + row for row in range(5)]


def test_damaged_mat_files_are_named(tmp_path):
    path = tmp_path / "mine.mat"
    scipy.io.savemat(path, {"x": images(50), "y": np.arange(50)}, do_compression=True)
    content = path.read_bytes()
    changed = content[:400] + b"damaged" + content[407:]
    for damaged in (b"", b"no MATLAB file at all" * 20, content[:-5], changed):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"damaged or no \.mat file") as caught:
            read(path)
        assert str(path) in str(caught.value)
