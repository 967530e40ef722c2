"""Friendly adversarial training against its algorithm."""

import pytest
import torch
from oracles.objectives import (
    THREATS,
    Watched,
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
from brolly import FAT, PGD, Batch, Linf, PGDTraining
from brolly.training import Validation


def slow_friendly(model, threat, start, x, label, *, tau, steps, step):
    """Algorithm 1 of the paper for one example; the point, and how many steps were taken."""
    point, taken = start, 0
    for _ in range(steps):
        if int(model(point).argmax()) != label:
            if tau == 0:
                break
            tau -= 1
        gradient = slow_gradient(model, ce_of(torch.tensor([label])), point)
        point, taken = threat.project(point + step * ascent(threat, gradient), x), taken + 1
    return point, taken


def fitted(examples):
    """A network that is right about most examples, and not by much."""
    model = smooth()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(120):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(examples.x), examples.y).backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("tau", [0, 1, 2])
@pytest.mark.parametrize("random_start", [True, False])
def test_each_example_stops_tau_steps_after_it_is_misclassified(threat, tau, random_start):
    examples = batch()
    model, x = fitted(examples), examples.x
    start = x
    if random_start:
        start = (x + noise(threat, x, draws(examples), threat.eps)).clamp(0, 1)
    step = 0.15 * threat.eps
    found = [
        slow_friendly(
            model, threat, start[k : k + 1], x[k : k + 1], label, tau=tau, steps=6, step=step
        )
        for k, label in enumerate(examples.y.tolist())
    ]
    point, taken = torch.cat([point for point, _ in found]), [steps for _, steps in found]
    assert len(set(taken)) > 2  # some stop early, some never
    assert max(taken) == 6

    attack = PGD(threat, steps=6, step_size=step, random_start=random_start)
    objective = FAT(attack, tau=tau)
    check_loss_and_gradients(
        objective, model, examples, lambda: slow_cross_entropy(model(point), examples.y)
    )
    logs = objective(model, examples, generator()).logs
    assert float(logs["steps"]) == pytest.approx(sum(taken) / len(taken))


def test_with_a_large_tau_it_is_pgd_training():
    examples = batch()
    model, attack = fitted(examples), PGD(Linf(0.2), steps=5)
    loss = FAT(attack, tau=5)(model, examples, generator())
    torch.testing.assert_close(loss.value, PGDTraining(attack)(model, examples, generator()).value)
    assert loss.logs["steps"] == 5


def test_examples_that_have_stopped_cost_nothing():
    examples = batch()
    watched = Watched(fitted(examples))
    loss = FAT(PGD(Linf(0.2), steps=20, step_size=0.03))(watched, examples, generator())
    sizes = [len(x) for x in watched.inputs[:-1]]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]
    assert sum(sizes) <= (float(loss.logs["steps"]) + 1) * 16
    assert len(watched.inputs[-1]) == 16


def test_a_batch_that_is_wrong_from_the_start_takes_no_step():
    examples = batch()
    model = fitted(examples)
    wrong = Batch(examples.x, (model(examples.x).argmax(1) + 1) % 4, examples.index)
    watched = Watched(model)
    loss = FAT(PGD(Linf(0.2), steps=5, random_start=False))(watched, wrong, generator())
    assert loss.logs["steps"] == 0
    assert len(watched.inputs) == 2
    assert torch.equal(watched.inputs[-1], examples.x)


def test_crafting_is_in_eval_mode_and_leaves_no_trace():
    watched, examples = Watched(normed()), batch(torch.float32)
    state = {name: value.clone() for name, value in watched.network.state_dict().items()}
    objective = FAT(PGD(Linf(0.1), steps=3), tau=1)
    global_state = torch.get_rng_state()
    loss_of = objective.craft(watched, examples, generator())
    assert not any(any(modes) for modes in watched.modes)
    assert all(module.training for module in watched.modules())
    for name, value in watched.network.state_dict().items():
        assert torch.equal(value, state[name])
    assert torch.equal(torch.get_rng_state(), global_state)
    assert all(parameter.grad is None for parameter in watched.parameters())
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        loss = objective(watched, examples, generator())
    loss.value.backward()
    assert loss_of(watched).value.dtype == loss.value.dtype == torch.float32
    assert all(p.grad is not None and p.grad.isfinite().all() for p in watched.parameters())


def test_as_published_tau_grows_after_epochs_50_and_90_of_120():
    attack = PGD(Linf(0.1), steps=10)
    objective = FAT.as_published(attack)
    taus = [objective.at(epoch, 120).tau for epoch in range(1, 121)]
    assert taus == [0] * 50 + [1] * 40 + [2] * 30
    assert [objective.at(epoch, 12).tau for epoch in range(1, 13)] == [0] * 5 + [1] * 4 + [2] * 3
    assert objective.tau == objective.at(1, 1).tau == 0
    assert FAT(attack, tau=3).at(9, 9) == FAT(attack, tau=3)


def test_fit_trains_with_the_tau_of_each_epoch():
    data = brolly.load_data("digits")
    torch.manual_seed(0)
    model = brolly.models.MLP(64, classes=10, hidden=[16], normalize=data.statistics)
    objective = FAT(PGD(Linf(0.1), steps=3), grows_at=[0.5, 0.5, 0.5])
    brief = Validation(examples=10, train_examples=0, steps=1)
    epochs = brolly.fit(model, data, objective=objective, epochs=2, validation=brief).epochs
    assert epochs[0].logs["steps"] < epochs[1].logs["steps"] == 3  # tau 3: none stops before


@pytest.mark.parametrize("parts", [[-0.1], [0.5, 1.5]])
def test_growth_out_of_range_is_refused(parts):
    with pytest.raises(ValueError, match=r"grows_at is .*; expected a number in \[0, 1\]"):
        FAT(PGD(Linf(0.1)), grows_at=parts)


def test_a_negative_tau_is_refused():
    with pytest.raises(ValueError, match="tau is -1; expected 0 or more steps"):
        FAT(PGD(Linf(0.1)), tau=-1)


def test_fewer_steps_are_taken_of_a_network_that_is_easy_to_fool():
    data = brolly.load_data("digits")
    torch.manual_seed(0)
    model = brolly.models.MLP(64, classes=10, hidden=[16], normalize=data.statistics)
    objective = FAT(PGD(Linf(0.1), steps=5), tau=0)
    quick = Validation(examples=100, train_examples=0, steps=1, every=3)
    first, *_, last = brolly.fit(
        model, data, objective=objective, epochs=3, validation=quick
    ).epochs
    assert 0 < first.logs["steps"] < last.logs["steps"] < 5
