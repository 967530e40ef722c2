"""Input-gradient and Jacobian penalties against their equations."""

import dataclasses

import pytest
import torch
from oracles.objectives import (
    BRIEF,
    Watched,
    batch,
    check_loss_and_gradients,
    draws,
    generator,
    slow_cross_entropy,
    smooth,
)
from torch import nn

import brolly
from brolly import AWP, InputGradientPenalty, JacobianPenalty, Plain


def rows(examples):
    for k in range(len(examples.x)):
        yield examples.x[k : k + 1].clone().requires_grad_(), examples.y[k : k + 1]


def test_the_input_gradient_penalty_is_its_equation():
    model, examples = smooth(), batch()

    def expected():
        each = []
        for x, y in rows(examples):
            value = slow_cross_entropy(model(x), y)
            (gradient,) = torch.autograd.grad(value, x, create_graph=True)
            each.append(value + 0.7 * (gradient**2).sum())
        return torch.stack(each).mean()

    check_loss_and_gradients(InputGradientPenalty(weight=0.7), model, examples, expected)


@pytest.mark.parametrize("projections", [1, 3])
def test_the_jacobian_penalty_is_its_equation(projections):
    model, examples = smooth(), batch()
    vectors = [
        draws(examples).fold(k).normal(torch.zeros(16, 4, dtype=torch.float64))
        for k in range(projections)
    ]

    def expected():
        each = []
        for k, (x, y) in enumerate(rows(examples)):
            logits, norm = model(x), 0.0
            for vector in vectors:
                v = vector[k] / vector[k].norm()
                (row,) = torch.autograd.grad((logits[0] * v).sum(), x, create_graph=True)
                norm = norm + 4 / projections * (row**2).sum()
            each.append(slow_cross_entropy(logits, y) + 0.7 / 2 * norm)
        return torch.stack(each).mean()

    objective = JacobianPenalty(weight=0.7, projections=projections)
    check_loss_and_gradients(objective, model, examples, expected)


def test_the_projections_estimate_the_squared_norm_of_the_jacobian():
    """Of a linear network it is that of the weights."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).double()
    loss = JacobianPenalty(projections=500)(model, batch(), generator())
    expected = model[1].weight.detach().square().sum()
    torch.testing.assert_close(loss.logs["jacobian"], expected, rtol=0.05, atol=0)


@pytest.mark.parametrize(
    "objective", [InputGradientPenalty(weight=0.2), JacobianPenalty()], ids=str
)
def test_one_forward_pass_and_no_trace(objective):
    watched, examples = Watched(smooth()), batch()
    loss = objective(watched, examples, generator())
    assert len(watched.inputs) == 1
    assert not examples.x.requires_grad
    assert all(p.grad is None for p in watched.parameters())
    assert objective.threat is None
    plain = Plain()(watched, examples, generator()).value
    torch.testing.assert_close(loss.logs["natural"], plain.detach())
    assert loss.value > plain


@pytest.mark.parametrize(
    ("objective", "part"),
    [(InputGradientPenalty(weight=2.0), "gradient"), (JacobianPenalty(weight=0.1), "jacobian")],
    ids=["input-gradient", "jacobian"],
)
def test_training_makes_it_small(objective, part) -> None:
    data, size = brolly.load_data("digits"), {}
    few = dataclasses.replace(data, train=data.train.first(640))
    for each in (type(objective)(weight=0.0), objective):
        torch.manual_seed(0)
        model = brolly.models.MLP(64, classes=10, hidden=[16], normalize=data.statistics)
        history = brolly.fit(model, few, objective=each, epochs=2, validation=BRIEF)
        size[each.weight] = history.epochs[-1].logs[part]
        assert history.epochs[-1].logs["natural"] < history.epochs[0].logs["natural"]
    assert size[objective.weight] < 0.8 * size[0.0]


@pytest.mark.parametrize("objective", [InputGradientPenalty(), JacobianPenalty()], ids=str)
def test_worse_weights_are_searched_through_the_penalty(objective):
    model, examples = smooth(), batch()
    loss_of = objective.craft(model, examples, generator())
    assert loss_of(model).value == loss_of(model).value
    worse = AWP(gamma=0.05)(model, lambda model: loss_of(model).value)
    loss = loss_of(worse).value
    assert loss > loss_of(model).value
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_what_they_refuse():
    with pytest.raises(ValueError, match="weight is -1"):
        InputGradientPenalty(weight=-1.0)
    with pytest.raises(ValueError, match="weight is -1"):
        JacobianPenalty(weight=-1.0)
    with pytest.raises(ValueError, match="projections is 0"):
        JacobianPenalty(projections=0)
