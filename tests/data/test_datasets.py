"""Data sets: what they hold, and how they are made of tensors."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits as sklearn_digits

import brolly
from brolly.data import Dataset, Split, load_data


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
    with pytest.raises(ValueError, match=r"^photos/ does not exist in the working folder"):
        load_data("photos/")
    with pytest.raises(ValueError, match=r"'fashion_mnist' is unknown\. Did you mean"):
        load_data("fashion_mnist")


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
