"""Free adversarial training: what moves when, at what cost, and through an interruption."""

import dataclasses

import pytest
import torch
from oracles.objectives import (
    BRIEF,
    THREATS,
    Watched,
    ascent,
    batch,
    ce_of,
    generator,
    slow_cross_entropy,
    slow_gradient,
    smooth,
)
from torch import nn

import brolly
from brolly import AWP, Batch, FreeTraining, Linf, RunFolder


def begun(threat, **options):
    split = brolly.load_data("digits").train
    return FreeTraining(threat, **options).begin(split, "cpu")


def other_batch():
    examples = batch()
    return Batch(examples.x.flip(0), examples.y.flip(0), examples.index + 1)


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("step", [1.0, 0.3])
def test_each_step_ascends_and_descends_and_the_next_batch_goes_on(threat, step):
    """Two batches of three steps each, with weights that move, by hand and by the objective."""
    models = smooth(), smooth()
    objective = begun(threat, replays=3, step=step)
    delta = torch.zeros_like(batch().x)
    for examples in (batch(), other_batch()):
        x, y = examples.x, examples.y
        for _ in range(objective.replays):
            x_adv = threat.project(x + delta, x)
            gradient = slow_gradient(models[0], ce_of(y), x_adv)
            value = slow_cross_entropy(models[0](x_adv), y)
            delta = threat.project(x_adv + step * threat.eps * ascent(threat, gradient), x) - x
            loss = objective(models[1], examples, generator())
            torch.testing.assert_close(loss.value, value, rtol=1e-9, atol=1e-12)
            for model, each in zip(models, (value, loss.value), strict=True):
                model.zero_grad()
                each.backward()
                with torch.no_grad():
                    for parameter in model.parameters():
                        parameter -= 0.5 * parameter.grad
    torch.testing.assert_close(objective.state()["delta"], delta)  # the last step counts as well
    assert threat.distance(other_batch().x + delta, other_batch().x).max() > 0.9 * threat.eps


def test_a_step_costs_one_forward_and_one_backward_pass():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.network, self.backwards = smooth(), 0

        def forward(self, x):
            logits = self.network(x)
            logits.register_hook(self.count)
            return logits

        def count(self, _gradient):
            self.backwards += 1

    network = Counting()
    watched = Watched(network)
    objective = begun(Linf(0.1), replays=4)
    for _ in range(4):
        objective(watched, batch(), generator()).value.backward()
    assert len(watched.inputs) == network.backwards == 4
    assert all(all(modes) for modes in watched.modes)


def test_a_smaller_batch_takes_its_part_of_the_perturbation():
    objective, model = begun(Linf(0.1)), smooth()
    objective(model, batch(), generator()).value.backward()
    delta = objective.state()["delta"]
    watched, few = Watched(model), Batch(*(part[:5] for part in batch()))
    objective(watched, few, generator())
    torch.testing.assert_close(watched.inputs[0], few.x + delta[:5])
    objective(watched, batch(), generator())
    torch.testing.assert_close(watched.inputs[1], batch().x + delta)


def test_a_loss_that_is_only_looked_at_moves_nothing():
    objective, model = begun(Linf(0.1)), smooth()
    values = [float(objective(model, batch(), generator()).value.detach()) for _ in range(2)]
    assert values[0] == values[1]
    assert objective.state() == {}


@pytest.fixture(scope="module")
def data():
    return brolly.load_data("digits")


class Interrupted(Exception):
    pass


def train(data, folder, stop_after=None):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(16, 10),
    )  # fmt: skip
    data = dataclasses.replace(data, train=data.train.first(300))

    def on_epoch(record) -> None:
        if record.epoch == stop_after:
            raise Interrupted

    history = brolly.fit(
        model, data, objective=FreeTraining(Linf(0.1), replays=3), epochs=2,
        augment=[brolly.Shift(1)], run=RunFolder(folder), on_epoch=on_epoch, validation=BRIEF,
    )  # fmt: skip
    return model, history


def test_an_interrupted_training_ends_with_the_same_bits(data, tmp_path) -> None:
    whole, history = train(data, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(data, tmp_path / "cut", stop_after=1)
    resumed, again = train(data, tmp_path / "cut")
    assert [r.train_loss for r in again.epochs] == [r.train_loss for r in history.epochs]
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert history.epochs[1].train_loss < history.epochs[0].train_loss


def test_what_it_refuses(data) -> None:
    with pytest.raises(ValueError, match="replays is 0, step is 1"):
        FreeTraining(Linf(0.1), replays=0)
    with pytest.raises(ValueError, match="step is 0"):
        FreeTraining(Linf(0.1), step=0.0)
    with pytest.raises(ValueError, match="call objective = objective"):
        FreeTraining(Linf(0.1))(smooth(), batch(), generator())
    model = brolly.models.MLP(64, classes=10, hidden=[8])
    with pytest.raises(ValueError, match="accumulate is 2") as caught:
        brolly.fit(model, data, objective=FreeTraining(Linf(0.1)), weights=AWP(), accumulate=2)
    assert "leave weights out" in str(caught.value)
