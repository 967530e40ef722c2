"""APGD against a slow transcription of the paper."""

import math

import pytest
import torch
from oracles import apgd as oracle
from oracles.networks import Recorder, inputs, mlp, predictions

from brolly import APGD, L2, APGDTargeted, Linf
from brolly._draws import Draws
from brolly.attacks._apgd import checkpoints

THREATS = {
    "linf": lambda size: Linf(0.15 * size),
    "l2": lambda size: L2(0.25 * size),
    "l2-wide": lambda size: L2(0.4 * size, (-1.0, 1.0)),
}
LOSSES = {"ce": oracle.loss_ce, "dlr": oracle.loss_dlr}
STEPS = 25


def traces(model, threat, x, y, loss, *, purpose: int = 0, steps: int = STEPS):
    """The transcription, for each row, from the start that `generator` 5 leads to."""
    draws = Draws.from_generator(torch.Generator().manual_seed(5), torch.arange(len(x)))
    start = threat.sample(x, draws.fold(purpose))
    return [
        oracle.apgd(
            model, x[row].numpy(), int(y[row]), start[row].numpy(), loss(row),
            kind=threat.kind, eps=threat.eps, bounds=threat.bounds, steps=steps,
        )
        for row in range(len(x))
    ]  # fmt: skip


def margin(model, x: torch.Tensor, y: int) -> float:
    with torch.no_grad():
        z = model(x[None])[0]
    return float(torch.cat([z[:y], z[y + 1 :]]).max() - z[y])


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", THREATS)
def test_trajectories_are_those_of_the_paper(kind: str, loss: str, classes: int) -> None:
    threat = THREATS[kind](1.0)
    model = mlp(classes=classes)
    x = inputs(40, bounds=threat.bounds)
    y = predictions(model, x)
    expected = traces(model, threat, x, y, lambda _: LOSSES[loss])
    # Only rows that are never fooled: the engine drops the others, and columns would shift.
    index = torch.tensor([not trace.fooled for trace in expected]).nonzero()[:, 0]
    expected, x, y = [expected[row] for row in index], x[index], y[index]
    assert len(x) >= 5

    recorder = Recorder(model)
    generator = torch.Generator().manual_seed(5)
    result = APGD(threat, loss=loss, steps=STEPS)(recorder, x, y, generator=generator, index=index)
    assert not result.success.any()
    clean, *seen = recorder.seen
    assert torch.equal(clean, x)
    assert len(seen) == STEPS + 1
    assert recorder.with_graph == [False] + [True] * STEPS + [False]
    for row, trace in enumerate(expected):
        got = torch.stack([batch[row] for batch in seen])
        want = torch.stack([torch.from_numpy(point) for point in trace.visited])
        torch.testing.assert_close(got, want, rtol=0, atol=1e-4)
        candidates = [clean[row], *want]
        margins = [margin(model, point, int(y[row])) for point in candidates]
        assert margin(model, result.x[row], int(y[row])) == pytest.approx(max(margins), abs=1e-3)
    # The comparison says something: steps were halved.
    assert sum(len(trace.halvings) for trace in expected) > 1


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", THREATS)
def test_outcomes_are_those_of_the_paper(kind: str, loss: str) -> None:
    threat = THREATS[kind](0.6)
    model = mlp()
    x = inputs(40, bounds=threat.bounds)
    y = predictions(model, x)
    expected = traces(model, threat, x, y, lambda _: LOSSES[loss])
    fooled = [trace.fooled for trace in expected]
    assert 5 < sum(fooled) < 35
    generator = torch.Generator().manual_seed(5)
    result = APGD(threat, loss=loss, steps=STEPS)(model, x, y, generator=generator)
    assert result.success.tolist() == fooled
    for row, trace in enumerate(expected):
        if trace.fooled:  # the first point that fooled the model is kept
            want = torch.from_numpy(trace.visited[-1])
            torch.testing.assert_close(result.x[row], want, rtol=0, atol=1e-4)


def test_targets_are_those_of_the_paper() -> None:
    """Each wrong class in the order of the clean logits, from a start of its own."""
    threat, model = Linf(0.09), mlp(classes=6, sharpness=12, seed=3)
    x = inputs(40)
    y = predictions(model, x)
    order = model(x).detach().argsort(dim=1, descending=True)
    first: dict[int, torch.Tensor] = {}
    found_at = torch.zeros(40, dtype=torch.long)
    for rank in range(1, 4):
        target = order[:, rank].tolist()

        def loss(row: int, target: list[int] = target):
            return lambda z, label: oracle.loss_targeted_dlr(z, label, target[row])

        for row, trace in enumerate(traces(model, threat, x, y, loss, purpose=rank - 1)):
            if trace.fooled and row not in first:
                first[row] = torch.from_numpy(trace.visited[-1])
                found_at[row] = rank
    generator = torch.Generator().manual_seed(5)
    result = APGDTargeted(threat, steps=STEPS, targets=3)(model, x, y, generator=generator)
    assert found_at.bincount()[:3].min() >= 3  # never, by the first class, by the second
    assert torch.equal(result.success, found_at > 0)
    for row, point in first.items():
        torch.testing.assert_close(result.x[row], point, rtol=0, atol=1e-4)


def test_second_condition_alone_halves_too() -> None:
    """Best value and step size as at the last checkpoint, while the loss rises all the time."""
    from brolly.attacks import _apgd

    x = torch.zeros(3, 2)
    value = torch.tensor([1.0, 1.0, 1.0])
    run = _apgd._Run(
        rows=torch.arange(3), clean=x, x=x + 1, value=value, gradient=x, previous=x,
        best=x + 2, best_value=torch.tensor([5.0, 5.0, 6.0]), best_gradient=x + 3,
        size=torch.ones(3), rises=torch.full((3,), 4.0),
        checked_value=torch.tensor([5.0, 5.0, 5.0]),
        halved=torch.tensor([False, True, False]),
    )  # fmt: skip
    after = _apgd._adapt(run, period=4)
    assert after.size.tolist() == [0.5, 1.0, 1.0]
    assert after.x[:, 0].tolist() == [2, 1, 1]
    assert after.value.tolist() == [5, 1, 1]
    assert after.gradient[:, 0].tolist() == [3, 0, 0]
    assert after.halved.tolist() == [True, False, False]
    assert after.rises.tolist() == [0, 0, 0]


@pytest.mark.parametrize("rises", [0, 1, 2, 3, 4])
def test_first_condition_asks_for_three_rises_of_four(rises: int) -> None:
    from brolly.attacks import _apgd

    x, one = torch.zeros(1, 2), torch.ones(1)
    run = _apgd._Run(
        rows=torch.arange(1), clean=x, x=x, value=one, gradient=x, previous=x, best=x,
        best_value=2 * one, best_gradient=x, size=one, rises=rises * one, checked_value=one,
        halved=torch.tensor([False]),
    )  # fmt: skip
    assert _apgd._adapt(run, period=4).halved.item() == (rises < 3)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10, 20, 50, 100, 250, 1000])
def test_checkpoints_are_those_of_the_paper(steps: int) -> None:
    parts, expected = [0.0, 0.22], [0]
    while parts[-1] < 1 - 1e-9:
        expected.append(math.ceil(parts[-1] * steps - 1e-9))
        parts.append(parts[-1] + max(parts[-1] - parts[-2] - 0.03, 0.06))
    got = [point for point in checkpoints(steps) if point < steps]
    assert got == [point for point in expected if point < steps]


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_few_steps_work(steps: int) -> None:
    model = mlp()
    x = inputs(5)
    recorder = Recorder(model)
    result = APGD(Linf(1e-6), steps=steps)(recorder, x, predictions(model, x))
    assert len(recorder.seen) == steps + 2
    assert not result.success.any()
