"""Which class to aim at, and which can be taken for which."""

import copy

import pytest
import torch
from oracles.networks import Function, inputs, mlp, predictions, seeded
from torch import nn

from brolly import PGD, Linf
from brolly.attacks import confusion, least_likely, random_other, runner_up

LOGITS = Function(lambda x: x)
X = torch.tensor([[0.9, 0.1, 0.5], [0.2, 0.8, 0.3], [0.1, 0.6, 0.4]])


def test_classes_by_their_logits() -> None:
    y = torch.tensor([0, 1, 0])
    assert least_likely(LOGITS, X, y).tolist() == [1, 0, 2]
    assert runner_up(LOGITS, X, y).tolist() == [2, 2, 1]


def test_random_classes() -> None:
    y = torch.arange(3000) % 5
    other = random_other(y, 5)
    steps = torch.bincount((other - y) % 5, minlength=5)
    assert steps[0] == 0
    assert (steps[1:] - 750).abs().max() < 100  # 4 standard deviations
    assert torch.equal(random_other(y[7:9], 5, index=torch.tensor([7, 8])), other[7:9])
    again = torch.Generator().manual_seed(3)
    assert not torch.equal(random_other(y, 5, again), other)
    with pytest.raises(ValueError, match="classes is 1"):
        random_other(y, 1)


def test_confusion_of_a_model_that_is_known() -> None:
    """Inputs are logits: class j is within reach where eps closes half the gap to it."""
    x = torch.tensor([[0.5, 0.45, 0.1], [0.5, 0.1, 0.45], [0.45, 0.5, 0.44], [0.1, 0.2, 0.8]])
    y = torch.tensor([0, 0, 1, 1])  # the last is wrong from the start, and is not tried
    found = confusion(PGD(Linf(0.04), steps=10, random_start=False), LOGITS, x, y)
    assert found.moved.tolist() == [[0, 1, 1], [1, 0, 1], [0, 0, 0]]
    assert found.tried.tolist() == [2, 1, 0]


def test_confusion_is_that_of_targeted_attacks() -> None:
    model, x = mlp(), inputs(40)
    y, attack = predictions(model, x), PGD(Linf(0.06), steps=5)
    found = confusion(attack, model, x, y)
    for step in range(1, 4):
        target = (y + step) % 4
        success = attack(model, x, y, target=target).success
        for i in range(4):
            assert found.moved[i, (i + step) % 4] == success[y == i].sum()
    assert 0 < found.moved.sum() < 3 * len(x)


def test_the_model_is_left_as_it_was() -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)))
    model.train()
    before, x, y = copy.deepcopy(model.state_dict()), inputs(6), torch.arange(6) % 4
    least_likely(model, x, y)
    runner_up(model, x, y)
    confusion(PGD(Linf(0.1), steps=2), model, x, y)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
