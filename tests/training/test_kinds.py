"""Arguments of the wrong kind: what is told to write instead."""

import inspect

import pytest
import torch

from brolly import (
    AWP,
    EMA,
    NFGSM,
    SGD,
    TRADES,
    Dataset,
    GaussianNoise,
    Linf,
    OneCycle,
    Shift,
    fit,
    learning_rate_range,
    load_data,
    penalties,
)
from brolly.training import Validation
from brolly.training._kinds import check_kinds


def blobs() -> Dataset:
    x, y = torch.rand(4, 1, 2, 2), torch.arange(4) % 2
    return Dataset.from_tensors("blobs", (x, y), (x, y), validation=0.5)


def test_what_fits() -> None:
    check_kinds(
        model=torch.nn.Flatten(), data=blobs(), objective=NFGSM(Linf(0.1)),
        penalty=penalties.L1(1e-4) + penalties.L2(1e-4), weights=AWP(), threat=Linf(0.1),
        optimizer=SGD(), schedule=OneCycle(), average=EMA(), augment=(Shift(1),),
        validation=Validation(), run=None,
    )  # fmt: skip
    check_kinds(objective=None, weights=None, augment=[])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weights", GaussianNoise(), r"write GaussianNoise\(...\).attach\(model\) first"),
        ("weights", [AWP()], "weights is .* of type list; expected one search"),
        ("penalty", penalties.l1, "penalty is the function l1; expected .* a sum of them"),
        ("penalty", [penalties.L1(1e-4)], "of type list; expected .* a sum of them"),
        ("objective", TRADES, r"the class TRADES, which is to be called: TRADES\(...\)"),
        ("objective", SGD, "objective is the class SGD; expected an objective"),
        ("objective", "trades", "objective is 'trades', of type str"),
        ("optimizer", torch.optim.SGD, r"expected the description .* SGD\(lr=0.1\)"),
        ("augment", Shift(1), "augment is Shift.*expected a list"),
        ("augment", [Shift], "expected a list"),
        ("epochs", 1.5, "epochs is 1.5, of type float; expected a whole number"),
        ("seed", None, "seed is None"),
        ("data", torch.zeros(40), r"data is tensor\(\[0., .* expected a Dataset"),
        ("augment", "shift", "expected a list"),
        ("threat", "linf:0.1", r"such as Linf\(0.1\)"),
    ],
)
def test_what_does_not(name: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_kinds(**{name: value})


@pytest.mark.parametrize("train", [fit, learning_rate_range])
def test_all_is_told_at_once(train) -> None:
    unwatched = inspect.unwrap(train)  # annotations are enforced in tests
    with pytest.raises(ValueError, match="TRADES") as told:
        unwatched(None, load_data, weights=GaussianNoise(), objective=TRADES)
    model, data, objective, weights = str(told.value).splitlines()
    assert model.startswith("model is None")
    assert data.startswith("data is the function load_data; expected a Dataset")
    assert "TRADES(...)" in objective
    assert "attach(model)" in weights
