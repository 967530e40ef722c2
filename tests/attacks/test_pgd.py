"""PGD against its formula, one example at a time."""

import math

import numpy as np
import pytest
import torch
from oracles import projections
from oracles.networks import Function, Recorder, inputs, mlp, predictions

from brolly import L2, PGD, Attack, Linf
from brolly._draws import Draws
from brolly.attacks._engine import Search

STEPS = 8


@pytest.mark.parametrize("momentum", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("threat", [Linf(0.02), L2(0.04)], ids=lambda threat: threat.kind)
def test_trajectories(threat, random_start: bool, momentum: float) -> None:
    """x <- P(x + step ascend(g)), with g <- momentum g + gradient / ||gradient||_1."""
    model = mlp()
    x = inputs(30)
    y = predictions(model, x)
    attack = PGD(
        threat, steps=STEPS, step_size=threat.eps / 3, momentum=momentum, random_start=random_start
    )
    index = (~attack(model, x, y).success).nonzero()[:, 0]  # those that all steps are taken for
    x, y = x[index], y[index]
    assert len(x) >= 5
    recorder = Recorder(model)
    assert not attack(recorder, x, y, index=index).success.any()
    start = threat.sample(x, Draws(0, index).fold(0)) if random_start else x
    for row in range(len(x)):
        clean, point = x[row].numpy(), start[row].numpy()
        velocity = np.zeros(6)
        for batch in recorder.seen[1:]:
            np.testing.assert_allclose(batch[row].numpy(), point, rtol=0, atol=1e-6)
            leaf = torch.tensor(point, requires_grad=True)
            z = model(leaf[None])[0]
            (torch.logsumexp(z, 0) - z[y[row]]).backward()
            gradient = leaf.grad.numpy()
            velocity = momentum * velocity + gradient / np.abs(gradient).sum()
            step = np.sign(velocity) if threat.kind == "linf" else velocity
            step = step if threat.kind == "linf" else step / np.linalg.norm(velocity)
            project = getattr(projections, threat.kind)
            point = project(point + threat.eps / 3 * step, clean, threat.eps, 0.0, 1.0)


def test_step_sizes() -> None:
    assert PGD(Linf(0.1), steps=10).step == pytest.approx(0.025)
    assert PGD(Linf(0.1), steps=1).step == pytest.approx(0.1)
    assert PGD(Linf(0.1), steps=10, step_size=0.03).step == 0.03


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.1)], ids=lambda threat: threat.kind)
@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_nan_gradients_do_not_become_nan_inputs(threat, momentum: float) -> None:
    """A finite output whose slope is NaN: no NaN input may be passed off as a success."""
    inner = mlp()
    model = Function(lambda x: inner(x) + (0 * x[:, :1]).sqrt())
    x = inputs(6)
    y = predictions(inner, x)
    leaf = x.clone().requires_grad_()
    assert torch.autograd.grad(model(leaf).sum(), leaf)[0].isnan().any()
    result = PGD(threat, steps=3, momentum=momentum)(model, x, y)
    assert result.x.isfinite().all()
    assert torch.equal(result.success, predictions(inner, result.x) != y)
    assert result.success.any()


def test_climb_takes_the_steps_of_a_search() -> None:
    """What training uses: the same ascent, without a judge, and the last point."""
    model, threat = mlp(), Linf(0.01)
    x = inputs(12)
    y = predictions(model, x)
    attack = PGD(threat, steps=STEPS, random_start=False)
    recorder = Recorder(model)
    result = attack(recorder, x, y)
    assert not result.success.all()

    def loss(x_adv: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model(x_adv), y, reduction="none")

    index = (~result.success).nonzero()[:, 0]
    climbed = attack.climb(loss, x, x)
    torch.testing.assert_close(climbed[index], recorder.seen[-1], rtol=0, atol=1e-9)
    assert not climbed.requires_grad


def test_what_fooled_first_is_kept() -> None:
    """Also where an attack goes on asking about an example that has been fooled."""

    class Persistent(Attack):
        @property
        def name(self) -> str:
            return "persistent"

        def search(self, search: Search) -> None:
            rows = torch.arange(len(search.x))
            for shift in (0.02, 0.05, 0.09):
                search.logits(search.x + shift, rows)
                search.logits(search.x, rows)

    model = Function(lambda x: torch.cat([0.53 - x, x - 0.53], dim=1))
    x = torch.tensor([[0.5], [0.0], [0.8]], dtype=torch.float64)
    result = Persistent(Linf(0.1))(model, x, torch.zeros(3, dtype=torch.long))
    assert result.success.tolist() == [True, False, True]
    assert result.x[:, 0].tolist() == pytest.approx([0.55, 0.09, 0.8])
    assert math.isclose(result.distance[0].item(), 0.05, abs_tol=1e-9)
    assert result.cost.forwards == 7 * 3


def test_a_model_of_the_sum_of_its_input() -> None:
    """Its gradient is one number, which autograd gives as an expanded tensor."""
    model = Function(
        lambda x: x.sum(1, keepdim=True) * torch.tensor([2.0, 0.0]) - torch.tensor([1.05, 0.0])
    )
    result = PGD(Linf(0.1), steps=2)(model, torch.tensor([[0.3, 0.3]]), torch.tensor([0]))
    assert result.success.tolist() == [True]
