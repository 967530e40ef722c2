"""Splits, one after the other."""

import dataclasses

import pytest
import torch

import brolly
from brolly.data import join


def test_join_keeps_the_order_and_repeats() -> None:
    train = brolly.load_data("digits").train
    first, rest = train.first(10), dataclasses.replace(
        train, inputs=train.inputs[10:20], labels=train.labels[10:20], name="other"
    )  # fmt: skip
    joined = join(first, rest)
    assert joined.sha256 == train.first(20).sha256
    assert joined.name == "train"
    twice = join(first, first)
    assert torch.equal(twice.labels, torch.cat([first.labels, first.labels]))
    assert join(first).sha256 == first.sha256


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda split: {"scale": 2.0}, "scale of digits/train is"),
        (lambda split: {"classes": (*split.classes, "ten")}, "classes of digits/train"),
        (lambda split: {"inputs": split.inputs.flatten(1)}, "shape of digits/train is"),
        (
            lambda split: {"inputs": split.inputs.double()},
            "digits/train torch.float64; convert one",
        ),
    ],
)
def test_splits_that_differ_are_not_joined(change, told) -> None:
    train = brolly.load_data("digits").train
    with pytest.raises(ValueError, match=told):
        join(train, dataclasses.replace(train, **change(train)))
