"""Batches that others make: what is taken, what is refused, and with which words."""

import itertools
import warnings

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import brolly
from brolly.data import Batches, LoaderBatches, as_split, gather


class Pieces(Dataset):
    """Twenty pieces of clothing; classes as torchvision's sets have them."""

    classes = ("hat", "shoe", "glove")

    def __init__(self, with_index=False):
        generator = torch.Generator().manual_seed(0)
        self.x = torch.rand(20, 1, 4, 4, generator=generator)
        self.y = torch.arange(20) % 3
        self.with_index = with_index

    def __len__(self):
        return 20

    def __getitem__(self, row):
        one = (self.x[row], int(self.y[row]))
        return (*one, row) if self.with_index else one


def test_a_loader_becomes_a_split():
    pieces = Pieces()
    split = gather(DataLoader(pieces, batch_size=6))
    assert torch.equal(split.inputs, pieces.x)
    assert torch.equal(split.labels, pieces.y)
    assert (split.dataset, split.name, split.scale) == ("Pieces", "test", 1.0)
    assert split.classes == ("hat", "shoe", "glove")
    assert gather(DataLoader(pieces, batch_size=6), classes=("a", "b", "c")).classes[0] == "a"
    assert as_split(split) is split


def test_classes_are_numbered_where_nobody_names_them():
    x, y = torch.rand(8, 3), torch.arange(8) % 4
    assert gather([(x, y)]).classes == ("0", "1", "2", "3")


def test_bytes_stay_bytes():
    x = torch.arange(256, dtype=torch.uint8).reshape(16, 1, 4, 4)
    split = gather([(x[:9], torch.zeros(9, dtype=torch.int32)), (x[9:], torch.zeros(7).long())])
    assert torch.equal(split.inputs, x)
    assert split.scale == 255
    assert split.labels.dtype == torch.int64
    (batch,) = LoaderBatches([(x, torch.zeros(16).long())], "cpu", (0.0, 1.0), 1)
    assert torch.equal(batch.x, x / 255)


def test_an_index_brings_the_examples_into_order():
    loader = DataLoader(Pieces(with_index=True), batch_size=6, shuffle=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split = gather(loader)
    assert torch.equal(split.inputs, Pieces().x)
    assert torch.equal(split.labels, Pieces().y)
    whole = brolly.load_data("digits").train.first(50)
    again = gather(Batches(whole, 7, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(again.inputs, whole.scaled(whole.inputs))


def test_a_loader_that_shuffles_is_warned_of():
    with pytest.warns(UserWarning, match="the loader shuffles, so another pass names other rows"):
        split = gather(DataLoader(Pieces(), batch_size=6, shuffle=True))
    assert sorted(split.inputs.sum((1, 2, 3)).tolist()) == sorted(
        Pieces().x.sum((1, 2, 3)).tolist()
    )


X, Y = torch.rand(4, 2), torch.tensor([0, 1, 0, 1])
FAULTS = {
    "single examples": ([Pieces()[0]], r"a tuple of \(Tensor, int\); .* DataLoader\(mine"),
    "tensors": ((X, Y), r"a batch is a Tensor; .*\[\(x, y\)\]"),
    "a dictionary": ([{"image": X, "label": Y}], "a dict with the keys image, label"),
    "four parts": ([(X, Y, Y, Y)], r"expected \(x, y\) or \(x, y, index\), all tensors"),
    "lists": ([(X, [0, 1, 0, 1])], r"\(Tensor, list\)"),
    "soft labels": ([(X, Y.float())], r"labels of a batch of 4 are torch.float32 \(4,\)"),
    "too few labels": ([(X, Y[:3])], r"int64 \(3,\); expected whole numbers \(4,\)"),
    "a wrong index": ([(X, Y, Y[:, None])], r"the index of a batch of 4 are .*\(4, 1\)"),
    "whole numbers": ([(Y[:, None], Y)], "inputs are torch.int64; expected uint8"),
    "standardised": ([(X * 4 - 2, Y)], r"\]; expected values in \[0.0, 1.0\]. Leave normalis"),
    "NaN": ([(X * float("nan"), Y)], r"inputs span \[nan, nan\]"),
    "shapes": ([(X, Y), (X[:, :1], Y)], r"different inputs \(\(1,\) .*; \(2,\) "),
    "types": ([(X, Y), ((X * 255).byte(), Y)], "uint8.*expected one shape and type"),
    "index at times": ([(X, Y), (X, Y, Y)], "only some have an index"),
    "twice": ([(X, Y, torch.tensor([3, 1, 2, 3]))], "give an example twice"),
    "nothing": ([], "a list of .* gives no batches"),
    "a negative label": ([(X, Y - 1)], "labels of list/test span -1 to 0"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_refused(fault):
    loader, message = FAULTS[fault]
    with pytest.raises(ValueError, match=message):
        gather(loader)


def test_other_bounds():
    assert gather([(X * 4 - 2, Y)], bounds=(-2.0, 2.0)).shape == (2,)


def test_examples_are_numbered_as_they_come():
    loader = DataLoader(TensorDataset(X, Y), batch_size=3)
    batches = LoaderBatches(loader, "cpu", (0.0, 1.0), 2)
    assert len(batches) == 2
    assert [batch.index.tolist() for batch in batches] == [[0, 1, 2], [3]]


@pytest.mark.parametrize(
    ("element", "message"),
    [
        ((X, Y), r"batches gives \(x, y\) alone; let it give \(x, y, index\)"),
        (
            (X, Y, torch.tensor([0, 1, 2, 50])),
            "spans 0 to 50; expected rows of data.train, 0 to 49",
        ),
        ((X, Y + 1, Y), "labels of a batch span 1 to 2; expected 0 to 1 for 2 classes"),
    ],
)
def test_labels_and_rows_must_be_there(element, message):
    with pytest.raises(ValueError, match=message):
        list(LoaderBatches([element], "cpu", (0.0, 1.0), 2, rows=50))


class Endless(IterableDataset):
    def __iter__(self):
        return itertools.repeat((X[0], 0))


class Liar(list):
    def __len__(self):
        return 3


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        (iter([(X, Y)]), "gives them only once"),
        ([], "without any batch"),
        (DataLoader(Endless(), batch_size=2), "whose length is unknown"),
    ],
)
def test_loaders_that_cannot_be_trained_on(loader, message):
    with pytest.raises(ValueError, match=message):
        LoaderBatches(loader, "cpu", (0.0, 1.0), 2)


def test_a_loader_that_gives_another_number_of_batches_than_it_says():
    batches = LoaderBatches(Liar([(X, Y)]), "cpu", (0.0, 1.0), 2)
    with pytest.raises(ValueError, match=r"gave 1 batches; its len\(\) promises 3"):
        list(batches)
