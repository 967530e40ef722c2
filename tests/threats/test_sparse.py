"""L1 and L0 against their definitions, and balls without end."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import projections
from scipy.optimize import minimize

from brolly import L0, L1, L2, Linf, parse_threat
from brolly._draws import Draws

BOUNDS = [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)]


@st.composite
def cases(draw):
    bounds = draw(st.sampled_from(BOUNDS))
    width = bounds[1] - bounds[0]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    shape = (3, *draw(st.sampled_from([(1,), (5,), (2, 3)])))
    x = torch.rand(shape, generator=generator, dtype=dtype)
    if draw(st.booleans()):
        x = x.round()
    x = (bounds[0] + width * x).clamp(*bounds)
    reach = width * draw(st.sampled_from([0.01, 0.3, 3.0, 100.0]))
    noise = torch.randn(shape, generator=generator, dtype=dtype) ** draw(st.sampled_from([1, 5]))
    radius = draw(st.sampled_from([0.0, 1e-3, 0.3, 0.9]))
    count = draw(st.integers(0, math.prod(shape[1:])))
    return L1(width * radius, bounds), L0(count, bounds), x, x + reach * noise


def rows(tensor: torch.Tensor) -> np.ndarray:
    return tensor.double().flatten(1).numpy()


@settings(deadline=None, derandomize=True, max_examples=200)
@given(cases())
def test_l1_projection_matches_bisection(case) -> None:
    threat, _, x, point = case
    got = threat.project(point, x)
    assert got.dtype == x.dtype
    assert threat.contains(got, x).all()
    reach = float((point - x).abs().max()) + max(map(abs, threat.bounds))
    atol = 20 * torch.finfo(x.dtype).eps * reach + 1e-12
    for z, p, centre in zip(rows(got), rows(point), rows(x), strict=True):
        expected = projections.l1(p, centre, threat.eps, *threat.bounds)
        np.testing.assert_allclose(z, expected, rtol=0, atol=atol)


def test_the_slow_l1_projection_is_what_a_solver_finds() -> None:
    centre, point = np.array([0.1, 0.9, 0.5, 0.0]), np.array([-2.0, 1.7, 0.8, 0.4])
    # Changes are split into their positive and negative parts, so that the constraint is smooth.
    solution = minimize(
        lambda s: ((centre + s[:4] - s[4:] - point) ** 2).sum(),
        np.zeros(8),
        method="SLSQP",
        bounds=[*((0, 1 - c) for c in centre), *((0, c) for c in centre)],
        constraints={"type": "ineq", "fun": lambda s: 0.5 - s.sum()},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    expected = projections.l1(point, centre, 0.5, 0.0, 1.0)
    np.testing.assert_allclose(centre + solution.x[:4] - solution.x[4:], expected, atol=1e-6)


def test_l1_projection_of_many_values_uses_all_of_eps() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 128, 128, generator=generator)
    far = torch.rand(2, 3, 128, 128, generator=generator)
    distance = L1(12.0).distance(L1(12.0).project(far, x).double(), x.double())
    assert (distance - 12).abs().max() < 12e-4


@settings(deadline=None, derandomize=True, max_examples=150)
@given(cases())
def test_l0_projection_is_as_near_as_any_choice(case) -> None:
    _, threat, x, point = case
    point = point.clamp(threat.bounds[0] - threat.width, threat.bounds[1] + threat.width)
    got = threat.project(point, x)
    assert threat.contains(got, x).all()
    for z, p, centre in zip(rows(got), rows(point), rows(x), strict=True):
        nearest = projections.l0_distance(p, centre, threat.eps, *threat.bounds)
        assert np.linalg.norm(z - p) == pytest.approx(nearest, rel=1e-5, abs=1e-9)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(cases())
def test_samples_are_inside_and_projection_leaves_them(case) -> None:
    l1, l0, x, _ = case
    for threat in (l1, l0):
        sample = threat.sample(x, Draws(0, torch.arange(3)))
        assert sample.dtype == x.dtype
        assert threat.contains(sample, x).all()
        atol = 1e-5 * threat.width
        torch.testing.assert_close(threat.project(sample, x), sample, rtol=0, atol=atol)


def test_l1_samples_are_uniform_in_the_ball() -> None:
    """(distance / eps)^dimension is uniform, and the values have no preference."""
    n, dimension = 20_000, 3
    x = torch.full((n, dimension), 0.5, dtype=torch.float64)
    noise = (L1(0.1).sample(x, Draws(0, torch.arange(n))) - x) / 0.1
    counts = torch.histc(noise.abs().sum(1) ** dimension, 10, 0, 1)
    assert ((counts - n / 10) ** 2 / (n / 10)).sum() < 33
    assert noise.mean(0).abs().max() < 4.5 / math.sqrt(n)


def test_l0_samples_change_every_value_as_often() -> None:
    n = 4_000
    x = torch.full((n, 5), 0.5, dtype=torch.float64)
    changed = L0(2).sample(x, Draws(0, torch.arange(n))) != x
    assert (changed.sum(1) == 2).all()
    assert (changed.double().mean(0) - 0.4).abs().max() < 4.5 * math.sqrt(0.24 / n)


@pytest.mark.parametrize("kind", [Linf, L2, L1, L0])
def test_infinite_eps_leaves_the_bounds_alone(kind) -> None:
    threat = kind(math.inf, (-1.0, 2.0))
    x = torch.zeros(400, 6)
    threat.check_inputs(x)
    assert torch.equal(threat.project(x + 5, x), x + 2)
    assert threat.contains(x + 2, x).all()
    assert not threat.contains(x + 2.1, x).any()
    sample = threat.sample(x, Draws(0, torch.arange(400)))
    assert threat.contains(sample, x).all()
    assert abs(sample.mean() - 0.5) < 0.1  # all over the bounds, not in their corners
    assert 0.7 < sample.std() < 1.0


@pytest.mark.parametrize(
    ("threat", "text"),
    [(L1(30.0), r"eps is 30, .*at most 24 apart in L1"), (L0(25), r"eps is 25, .*24 apart in L0")],
)
def test_eps_wider_than_any_change(threat, text: str) -> None:
    x = torch.rand(2, 2, 3, 4)
    threat.with_eps(24).check_inputs(x)
    with pytest.raises(ValueError, match=text):
        threat.check_inputs(x)


def test_contains_and_distance_by_hand() -> None:
    x = torch.full((2, 3), 0.5)
    x_adv = x + torch.tensor([[0.2, -0.1, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(L1(1.0).distance(x_adv, x), torch.tensor([0.3, 0.0]))
    assert L0(1).distance(x_adv, x).tolist() == [2, 0]
    assert L1(0.3).contains(x_adv, x).tolist() == [True, True]
    assert L1(0.29).contains(x_adv, x).tolist() == [False, True]
    assert L0(1).contains(x_adv, x).tolist() == [False, True]
    assert not L0(3).contains(x + 0.6, x).any()


def test_parsing() -> None:
    assert parse_threat("l1:12") == L1(12.0)
    assert parse_threat("l0:10") == L0(10.0)
    assert parse_threat("l1:inf") == L1(math.inf)


def test_ascend_by_hand() -> None:
    gradient = torch.tensor([[1.0, -4.0, 2.0], [0.0, 0.0, 0.0]])
    assert L1(1.0).ascend(gradient).tolist() == [[0, -1, 0], [0, 0, 0]]
    assert L0(1).ascend(gradient).tolist() == [[0.25, -1, 0.5], [0, 0, 0]]
