"""GradAlign against its equation."""

import copy
import dataclasses

import pytest
import torch
from oracles.objectives import (
    BRIEF,
    THREATS,
    ascent,
    batch,
    ce_of,
    check_loss_and_gradients,
    draws,
    generator,
    noise,
    normed,
    slow_cross_entropy,
    slow_gradient,
    smooth,
)
from torch import nn

import brolly
from brolly import AWP, FGSMRS, GradAlign, Linf


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_gradalign_is_its_equation(threat):
    model, examples = smooth(), batch()
    x, y = examples.x, examples.y
    here = slow_gradient(model, ce_of(y), x)
    x_adv = threat.project(x + threat.eps * ascent(threat, here), x)
    elsewhere = (x + noise(threat, x, draws(examples), threat.eps)).clamp(0, 1)

    def expected():
        misaligned = []
        for k in range(len(x)):
            leaf = elsewhere[k : k + 1].clone().requires_grad_()
            value = slow_cross_entropy(model(leaf), y[k : k + 1])
            (there,) = torch.autograd.grad(value, leaf, create_graph=True)
            g = here[k]
            misaligned.append(1 - (g * there).sum() / (g.norm() * there.norm()))
        return slow_cross_entropy(model(x_adv), y) + 0.7 * torch.stack(misaligned).mean()

    objective = GradAlign(threat, weight=0.7)
    check_loss_and_gradients(objective, model, examples, expected)
    logs = objective(model, examples, generator()).logs
    assert 0.001 < float(logs["misalignment"]) < 2
    assert not any(part.requires_grad for part in logs.values())


def test_a_linear_function_of_two_classes_is_aligned():
    """Its gradients point along the difference of the rows of weights everywhere."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).double()
    examples = batch()._replace(y=torch.arange(16) % 2)
    logs = GradAlign(Linf(0.3))(model, examples, generator()).logs
    assert abs(float(logs["misalignment"])) < 1e-12


def test_examples_without_a_direction_are_left_out():
    """Where all units are dead, the gradient is zero: no NaN, and no say in the mean."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 4)).double()
    with torch.no_grad():
        model[1].weight.abs_()
        model[1].bias.fill_(-1.5)
    examples = batch()
    examples = examples._replace(
        x=examples.x * torch.tensor([0.0, 1.0]).repeat(8).view(16, 1, 1, 1)
    )
    loss = GradAlign(Linf(0.01), weight=2)(model, examples, generator())
    bright = type(examples)(*(part[1::2] for part in examples))
    alone = GradAlign(Linf(0.01))(model, bright, generator())
    assert torch.isclose(loss.logs["misalignment"], alone.logs["misalignment"], atol=1e-12)
    dark = examples._replace(x=torch.zeros_like(examples.x))
    loss = GradAlign(Linf(0.01), weight=2)(model, dark, generator())
    assert loss.logs["misalignment"] == 0
    loss.value.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_both_gradients_are_taken_in_the_same_state(mode):
    """At the clean inputs themselves they agree, through BatchNorm and the same dropout."""
    model, examples = normed(), batch(torch.float32)
    logs = GradAlign(Linf(0.0), mode=mode)(model, examples, generator()).logs
    assert abs(float(logs["misalignment"])) < 1e-5


def test_weights_elsewhere_see_the_same_points():
    """The closure that searches for worse weights call: value and gradient at those weights."""
    model, examples = smooth(), batch()
    loss_of = GradAlign(Linf(0.2), weight=1.0).craft(model, examples, generator())
    moved = copy.deepcopy(model)
    with torch.no_grad():
        moved[1].weight += 0.1
    assert loss_of(moved).value != loss_of(model).value
    value = loss_of(AWP(gamma=0.01)(model, lambda model: loss_of(model).value)).value
    value.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_it_aligns_gradients() -> None:
    data, misaligned = brolly.load_data("digits"), {}
    data = dataclasses.replace(data, train=data.train.first(800))
    for weight in (0.0, 5.0):
        torch.manual_seed(0)
        model = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        objective = GradAlign(Linf(0.1), weight=weight)
        history = brolly.fit(
            model, data, objective=objective, epochs=2, batch_size=100, validation=BRIEF
        )
        misaligned[weight] = history.epochs[-1].logs["misalignment"]
    assert misaligned[5.0] < 0.8 * misaligned[0.0]


def test_choices_and_refusals():
    assert GradAlign.as_published(Linf(0.1)) == GradAlign(Linf(0.1), weight=0.2, mode="train")
    assert GradAlign(Linf(0.1)).threat == FGSMRS(Linf(0.1)).threat
    with pytest.raises(ValueError, match="weight is -1"):
        GradAlign(Linf(0.1), weight=-1)
