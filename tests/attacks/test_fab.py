"""FAB: steps onto hyperplanes against linear programs, and exact distances of linear models."""

import math

import numpy as np
import pytest
import torch
from oracles import linear
from oracles.networks import inputs, mlp, predictions
from scipy.optimize import linprog

from brolly import FAB, L1, L2, FABTargeted, Linf
from brolly.attacks._hyperplane import step_to_hyperplane

THREATS = {"linf": Linf(math.inf), "l2": L2(math.inf), "l1": L1(math.inf)}
WIDE = {kind: type(threat)(math.inf, linear.WIDE) for kind, threat in THREATS.items()}


def planes(seed: int, entries: int = 7, count: int = 20):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, entries, generator=generator, dtype=torch.float64)
    normal = torch.randn(count, entries, generator=generator, dtype=torch.float64)
    normal[: count // 4, 0] = 0
    offset = 1.5 * torch.randn(count, generator=generator, dtype=torch.float64)
    return x, normal, offset


def most(x: torch.Tensor, normal: torch.Tensor, sign: float) -> float:
    """The most a step inside [0, 1] can gain along `sign * normal`."""
    weight = (sign * normal).numpy()
    room = np.where(weight > 0, 1 - x.numpy(), x.numpy())
    return float((np.abs(weight) * room).sum())


def shortest(x: torch.Tensor, normal: torch.Tensor, offset: float, kind: str) -> float:
    """Length of the shortest step by a linear program, for L2 by bisection on the multiplier."""
    entries = len(x)
    low, high = -x.numpy(), 1 - x.numpy()
    if kind == "l2":
        weight, goal = normal.numpy() * np.sign(offset), abs(offset)

        def step(m: float) -> np.ndarray:
            return np.clip(m * weight, low, high)

        less, more = 0.0, 1e6
        for _ in range(200):
            middle = (less + more) / 2
            less, more = (middle, more) if weight @ step(middle) < goal else (less, middle)
        return float(np.linalg.norm(step(more)))
    # Variables: the step, and bounds on its absolute values (one for all in Linf).
    extra = 1 if kind == "linf" else entries
    spread = np.ones((entries, 1)) if kind == "linf" else np.eye(entries)
    answer = linprog(
        np.r_[np.zeros(entries), np.ones(extra)],
        A_ub=np.block([[np.eye(entries), -spread], [-np.eye(entries), -spread]]),
        b_ub=np.zeros(2 * entries),
        A_eq=np.r_[normal.numpy(), np.zeros(extra)][None],
        b_eq=[offset],
        bounds=[*zip(low, high, strict=True), *[(0, None)] * extra],
    )
    assert answer.status == 0
    return float(answer.fun)


@pytest.mark.parametrize("kind", THREATS)
def test_the_step_to_a_hyperplane_is_the_shortest(kind: str) -> None:
    x, normal, offset = planes(0)
    step = step_to_hyperplane(x, normal, offset, THREATS[kind])
    assert ((x + step >= -1e-12) & (x + step <= 1 + 1e-12)).all()
    lengths = torch.linalg.vector_norm(step, THREATS[kind].order, dim=1)
    reachable = 0
    for row in range(len(x)):
        wanted = float(offset[row])
        possible = most(x[row], normal[row], math.copysign(1, wanted))
        gained = float(normal[row] @ step[row])
        if possible < abs(wanted):  # as near as the bounds allow
            assert gained == pytest.approx(math.copysign(possible, wanted), rel=1e-9)
            continue
        reachable += 1
        assert gained == pytest.approx(wanted, rel=1e-6)
        expected = shortest(x[row], normal[row], wanted, kind)
        assert float(lengths[row]) == pytest.approx(expected, rel=1e-5)
    assert 5 < reachable < len(x)


@pytest.mark.parametrize("kind", THREATS)
def test_a_flat_hyperplane_moves_nothing(kind: str) -> None:
    x = torch.rand(3, 4)
    step = step_to_hyperplane(x, torch.zeros(3, 4), torch.tensor([1.0, 0.0, -1.0]), THREATS[kind])
    assert torch.equal(step, torch.zeros(3, 4))


@pytest.mark.parametrize("kind", ["linf", "l2"])
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("attack", [FAB, FABTargeted])
def test_linear_models_are_left_by_the_shortest_way(attack, classes: int, kind: str) -> None:
    weight, bias, x, y = linear.anywhere(classes)
    exact = linear.distances(weight, bias, x, y, kind).amin(1)
    result = attack(WIDE[kind], steps=30)(linear.classifier(weight, bias), x, y)
    assert result.success.all()
    assert (result.distance >= exact * (1 - 1e-9)).all()
    assert (result.distance <= 1.01 * exact).all()


def test_in_l1_one_entry_moves() -> None:
    weight, bias, x, y = linear.anywhere(2)
    gap = (x @ weight.T + bias).gather(1, y[:, None])[:, 0]
    gap = gap - (x @ weight.T + bias).gather(1, 1 - y[:, None])[:, 0]
    exact = gap / (weight[0] - weight[1]).abs().max()
    result = FAB(WIDE["l1"], steps=30)(linear.classifier(weight, bias), x, y)
    assert (result.distance <= 1.01 * exact).all()
    assert ((result.x - x).abs() > 1e-9).sum(1).tolist() == [1] * 4


@pytest.mark.parametrize("kind", ["linf", "l2"])
def test_a_target_is_reached_by_the_shortest_way(kind: str) -> None:
    weight, bias, x, y = linear.anywhere(2)
    exact = linear.distances(weight, bias, x, y, kind).amin(1)
    result = FABTargeted(WIDE[kind], steps=30)(linear.classifier(weight, bias), x, y, target=1 - y)
    assert result.success.all()
    assert (result.distance <= 1.01 * exact).all()


@pytest.mark.parametrize("threat", THREATS.values(), ids=THREATS)
def test_one_run_gives_the_whole_curve(threat) -> None:
    model, x = mlp(), inputs(30)
    y = predictions(model, x)
    y[:3] = (y[:3] + 1) % 4
    result = FAB(threat, steps=40)(model, x, y)
    assert result.success.all()
    middle = result.distance.median().item()
    at = result.curve([0.0, middle, 100.0])
    assert at[0] == pytest.approx(27 / 30)
    assert at[1] == pytest.approx((result.distance > middle).double().mean().item())
    assert at[2] == 0
    limited = FAB(threat.with_eps(middle), steps=40)(model, x, y)
    assert torch.equal(limited.success, result.distance <= middle)


def test_more_steps_find_nothing_farther() -> None:
    model, x = mlp(), inputs(30)
    y = predictions(model, x)
    few, many = (FABTargeted(L2(math.inf), steps=n)(model, x, y).distance for n in (5, 60))
    assert (many <= few).all()
    assert (many < few).any()


def test_the_first_input_inside_the_threat_is_enough() -> None:
    model, x = mlp(), inputs(30)
    y = predictions(model, x)
    nearest = FABTargeted(Linf(0.2))(model, x, y)
    first = FABTargeted(Linf(0.2), nearest=False)(model, x, y)
    assert torch.equal(first.success, nearest.success)
    assert (first.distance >= nearest.distance)[first.success].all()
    assert first.cost.backwards < nearest.cost.backwards / 2


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FAB(L2(1), steps=0), "steps is 0"),
        (lambda: FABTargeted(L2(1), targets=0), "targets is 0"),
    ],
)
def test_counts_below_one(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
