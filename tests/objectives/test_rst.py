"""Robust self-training against its equation, and the labels of its teacher."""

import dataclasses

import pytest
import torch
from oracles.objectives import (
    BRIEF,
    THREATS,
    batch,
    check_loss_and_gradients,
    generator,
    normed,
    slow_cross_entropy,
    slow_kl,
    smooth,
    trades_point,
)
from torch import nn

import brolly
from brolly import PGD, RST, TRADES, Linf
from brolly.objectives import pseudo_label


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_rst_weighs_what_is_pseudo_labelled(threat):
    model, examples = smooth(), batch()
    x, y = examples.x, examples.y
    point = trades_point(model, threat, examples, steps=3, step=0.4 * threat.eps)
    weights = [1.0 if index < 121 else 0.3 for index in examples.index.tolist()]
    assert set(weights) == {1.0, 0.3}

    def expected():
        clean, adversarial = model(x), model(point)
        each = [
            w * (slow_cross_entropy(clean[k : k + 1], y[k : k + 1])
                 + 3 * slow_kl(clean[k : k + 1], adversarial[k : k + 1]))
            for k, w in enumerate(weights)
        ]  # fmt: skip
        return torch.stack(each).mean()

    attack = PGD(threat, steps=3, step_size=0.4 * threat.eps)
    objective = RST(attack, labelled=121, weight=0.3, beta=3.0)
    check_loss_and_gradients(objective, model, examples, expected)


def test_with_weight_one_it_is_trades():
    attack = PGD(Linf(0.1), steps=3)
    mine, theirs = (
        objective(smooth(), batch(), generator())
        for objective in (RST(attack, labelled=121), TRADES(attack))
    )
    torch.testing.assert_close(mine.value, theirs.value)


class Brightest(nn.Module):
    """A teacher by hand: the brightest of the first ten pixels of a row."""

    def forward(self, x):
        return x.flatten(1)[:, :10]


@pytest.fixture(scope="module")
def data():
    return brolly.load_data("digits")


def test_the_teacher_labels_all_but_the_labelled_examples(data) -> None:
    objective = RST(PGD(Linf(0.1), steps=1), Brightest(), labelled=40)
    begun = objective.begin(data.train, "cpu")
    x = data.train.scaled(data.train.inputs)
    expected = x.flatten(1)[:, :10].argmax(1)
    expected[:40] = data.train.labels[:40]
    assert (expected != data.train.labels).float().mean() > 0.5
    rows = torch.tensor([3, 39, 40, 900])
    values = []
    for each, labels in ((begun, data.train.labels), (RST(begun.attack, labelled=40), expected)):
        torch.manual_seed(0)
        model = brolly.models.MLP(64, classes=10, hidden=[16])
        values.append(each(model, brolly.Batch(x[rows], labels[rows], rows), generator()).value)
    assert values[0] == values[1]


def test_pseudo_label_leaves_the_teacher_as_found(data):
    small = brolly.Dataset.from_tensors(
        "small", (torch.rand(50, 1, 3, 4), torch.arange(50) % 4),
        (torch.rand(5, 1, 3, 4), torch.arange(5) % 4),
    )  # fmt: skip
    teacher = normed()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    labelled = pseudo_label(teacher, small.train, batch_size=7)
    assert all(module.training for module in teacher.modules())
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    expected = teacher.eval()(small.train.inputs).argmax(1)
    assert torch.equal(labelled.labels, expected)
    assert torch.equal(labelled.inputs, small.train.inputs)
    with pytest.raises(ValueError, match="labels of small/train span"):
        pseudo_label(nn.Sequential(nn.Flatten(), nn.Linear(12, 400)), small.train)


def test_through_fit_with_a_teacher_of_few_labels(data) -> None:
    def network():
        torch.manual_seed(0)
        return brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)

    few = dataclasses.replace(data, train=data.train.first(300))
    teacher = network()
    brolly.fit(teacher, few, epochs=6, validation=BRIEF)
    hidden = dataclasses.replace(
        data.train,
        labels=torch.cat([data.train.labels[:300], torch.zeros_like(data.train.labels[300:])]),
    )
    objective = RST(PGD(Linf(0.05), steps=2), teacher, labelled=300, beta=1)
    history = brolly.fit(
        network(), dataclasses.replace(data, train=hidden), objective=objective, epochs=2,
        validation=BRIEF,
    )  # fmt: skip
    assert history.epochs[-1].validation_clean > 0.5


def test_what_it_refuses(data):
    attack = PGD(Linf(0.1), steps=1)
    with pytest.raises(ValueError, match=r"weight is -1.*beta is -2"):
        RST(attack, labelled=3, weight=-1.0, beta=-2.0)
    with pytest.raises(ValueError, match="labelled is 0 of 1260"):
        RST(attack, labelled=0).begin(data.train, "cpu")
    with pytest.raises(ValueError, match="has labelled nothing yet"):
        RST(attack, Brightest(), labelled=3)(smooth(), batch(), generator())
