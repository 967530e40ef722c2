"""Projections, steps and samples against their definitions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracles import projections
from scipy.optimize import minimize

from brolly import L2, Linf
from brolly._draws import Draws

BOUNDS = [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-3.0, 0.5)]
PARTS = [0.0, 1e-3, 0.03, 0.3, 0.9]  # of the width
# Made here, as beartype draws random numbers in checking a tuple, and a strategy may not.
THREATS = {
    (name, bounds, part): kind((bounds[1] - bounds[0]) * part, bounds)
    for name, kind in (("linf", Linf), ("l2", L2))
    for bounds in BOUNDS
    for part in PARTS
}


@st.composite
def cases(draw, kinds=("linf", "l2"), dtypes=(torch.float32, torch.float64)):
    """A threat, clean inputs and points to project, some of them far outside."""
    bounds = draw(st.sampled_from(BOUNDS))
    width = bounds[1] - bounds[0]
    part = draw(st.sampled_from(PARTS))
    threat = THREATS[draw(st.sampled_from(kinds)), bounds, part]
    eps = threat.eps
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    shape = (4, *draw(st.sampled_from([(1,), (5,), (2, 3), (1, 4, 4)])))
    dtype = draw(st.sampled_from(dtypes))
    x = torch.rand(shape, generator=generator, dtype=dtype)
    if draw(st.booleans()):
        x = x.round()  # at the bounds, as the background of an image is
    x = (bounds[0] + width * x).clamp(*bounds)
    reach = eps * draw(st.sampled_from([0.1, 1.0, 3.0, 100.0])) + 1e-9
    noise = torch.randn(shape, generator=generator, dtype=dtype)
    if draw(st.booleans()):
        noise = noise**5  # a few large coordinates, many small ones
    return threat, x, x + reach * noise, generator


def slack(x: torch.Tensor, threat) -> float:
    """What rounding may do to a length."""
    return 20 * torch.finfo(x.dtype).eps * max(abs(b) for b in threat.bounds) + 1e-6 * threat.eps


def excess(threat, z: torch.Tensor, x: torch.Tensor) -> float:
    """How far the worst row is outside, in float64 and NumPy."""
    z, x = z.double().flatten(1).numpy(), x.double().flatten(1).numpy()
    order = np.inf if threat.kind == "linf" else 2
    out_of_ball = np.linalg.norm(z - x, order, axis=1).max() - threat.eps
    return max(out_of_ball, z.max() - threat.bounds[1], threat.bounds[0] - z.min())


@settings(deadline=None, derandomize=True, max_examples=150)
@given(cases())
def test_projection_is_inside(case) -> None:
    threat, x, point, _ = case
    projected = threat.project(point, x)
    assert projected.dtype == x.dtype
    assert projected.shape == x.shape
    assert excess(threat, projected, x) <= slack(x, threat)
    assert threat.bounds[0] <= projected.min()
    assert projected.max() <= threat.bounds[1]
    assert threat.contains(projected, x).all()


@settings(deadline=None, derandomize=True, max_examples=100)
@given(cases())
def test_projection_is_idempotent(case) -> None:
    threat, x, point, _ = case
    once = threat.project(point, x)
    torch.testing.assert_close(threat.project(once, x), once, rtol=0, atol=slack(x, threat))


@settings(deadline=None, derandomize=True, max_examples=100)
@given(cases())
def test_projection_leaves_points_inside_alone(case) -> None:
    threat, x, _, generator = case
    inside = threat.sample(x, Draws.from_generator(generator, torch.arange(4)))
    atol = 4 * torch.finfo(x.dtype).eps * max(abs(b) for b in threat.bounds)
    torch.testing.assert_close(threat.project(inside, x), inside, rtol=0, atol=atol)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(cases(dtypes=(torch.float64,)))
def test_no_feasible_point_is_nearer(case) -> None:
    """The variational inequality <point - p, z - p> <= 0 for all feasible z."""
    threat, x, point, generator = case
    projected = threat.project(point, x)
    scale = 1e-12 + (point - x).flatten(1).norm(dim=1) * max(threat.eps, 1e-12)
    nearest = (point - projected).flatten(1).norm(dim=1)
    others = [threat.sample(x, Draws.from_generator(generator, torch.arange(4))) for _ in range(10)]
    others += [x, *(projected + 0.1 * (other - projected) for other in others)]
    for other in others:
        inner = ((point - projected) * (other - projected)).flatten(1).sum(1)
        assert (inner <= 1e-5 * scale).all()
        distance = (point - other).flatten(1).norm(dim=1)
        assert (nearest <= distance * (1 + 1e-9) + 1e-5 * threat.eps).all()


@settings(deadline=None, derandomize=True, max_examples=150)
@given(cases())
def test_projection_matches_the_slow_one(case) -> None:
    threat, x, point, _ = case
    got = threat.project(point, x).double().flatten(1).numpy()
    oracle = getattr(projections, threat.kind)
    for row, (p, centre) in enumerate(
        zip(point.double().flatten(1).numpy(), x.double().flatten(1).numpy(), strict=True)
    ):
        expected = oracle(p, centre, threat.eps, *threat.bounds)
        # float32 rounds `point - x` relative to the larger of the two, too
        atol = slack(x, threat) + 1e-5 * threat.eps
        np.testing.assert_allclose(got[row], expected, rtol=0, atol=atol)


def test_the_slow_projection_is_what_a_solver_finds() -> None:
    """The oracle itself, against SLSQP, where ball and box both bind."""
    centre = np.array([0.1, 0.9, 0.5, 0.0])
    point = np.array([-2.0, 1.7, 0.8, 0.4])
    solution = minimize(
        lambda z: ((z - point) ** 2).sum(),
        centre,
        method="SLSQP",
        bounds=[(0, 1)] * 4,
        constraints={"type": "ineq", "fun": lambda z: 0.5**2 - ((z - centre) ** 2).sum()},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    expected = projections.l2(point, centre, 0.5, 0.0, 1.0)
    np.testing.assert_allclose(solution.x, expected, atol=1e-6)
    got = L2(0.5).project(torch.tensor(point)[None], torch.tensor(centre)[None])
    np.testing.assert_allclose(got[0].numpy(), expected, atol=1e-6)
    assert expected[0] == 0  # cut by the box
    assert np.linalg.norm(expected - centre) == pytest.approx(0.5)


def test_l2_spends_what_the_box_cuts_off() -> None:
    """Scaling into the ball and clipping once would leave most of eps unused."""
    x = torch.tensor([[1.0, 0.5, 0.5]], dtype=torch.float64)
    far = x + torch.tensor([[30.0, 0.4, 0.3]], dtype=torch.float64)
    threat = L2(0.5)
    torch.testing.assert_close(
        threat.project(far, x), torch.tensor([[1.0, 0.9, 0.8]], dtype=torch.float64)
    )


def test_projection_of_one_row_does_not_depend_on_the_others() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(30, 8, generator=generator, dtype=torch.float64).round(decimals=1)
    point = x + torch.randn(30, 8, generator=generator, dtype=torch.float64) ** 3
    threat = L2(0.4)
    alone = torch.cat([threat.project(point[i : i + 1], x[i : i + 1]) for i in range(30)])
    torch.testing.assert_close(threat.project(point, x), alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [Linf, L2])
def test_projection_changes_neither_argument(kind) -> None:
    x, point = torch.rand(3, 5), 3 * torch.rand(3, 5)
    before = x.clone(), point.clone()
    kind(0.2).project(point, x)
    assert torch.equal(x, before[0])
    assert torch.equal(point, before[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1.0, 1e-30, 1e-38, 1e30])
@pytest.mark.parametrize("kind", [Linf, L2])
def test_ascend_is_the_steepest_step(kind, size: float, dtype: torch.dtype) -> None:
    """It attains the dual norm, which by Hölder no other step of length 1 exceeds."""
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(5, 2, 6, generator=generator, dtype=dtype)
    gradient[0, 0] = 0
    step = kind(0.1).ascend(size * gradient)
    assert step.dtype == dtype
    wide, flat = step.double().flatten(1), gradient.double().flatten(1)
    lengths = torch.linalg.vector_norm(wide, math.inf if kind is Linf else 2, dim=1)
    torch.testing.assert_close(lengths, torch.ones(5, dtype=torch.float64), rtol=1e-5, atol=0)
    slope = (wide * flat).sum(1)
    dual = torch.linalg.vector_norm(flat, 1 if kind is Linf else 2, dim=1)
    torch.testing.assert_close(slope, dual, rtol=1e-5, atol=0)


@pytest.mark.parametrize("kind", [Linf, L2])
def test_ascend_stays_where_there_is_no_gradient(kind) -> None:
    gradient = torch.zeros(2, 3)
    gradient[1, 1] = -2
    assert kind(0.1).ascend(gradient).tolist() == [[0, 0, 0], [0, -1, 0]]


@settings(deadline=None, derandomize=True, max_examples=100)
@given(cases())
def test_samples_are_inside(case) -> None:
    threat, x, _, generator = case
    sample = threat.sample(x, Draws.from_generator(generator, torch.arange(4)))
    assert sample.dtype == x.dtype
    assert sample.shape == x.shape
    assert excess(threat, sample, x) <= slack(x, threat)
    assert threat.contains(sample, x).all()


def test_linf_samples_are_uniform_in_the_cube() -> None:
    x = torch.full((20_000, 3), 0.5, dtype=torch.float64)
    noise = (Linf(0.1).sample(x, Draws(0, torch.arange(20_000))) - x) / 0.1
    counts = torch.histc(noise, 10, -1, 1)
    chi_squared = ((counts - 6000) ** 2 / 6000).sum()
    assert chi_squared < 33  # 9 degrees of freedom: exceeded with probability 1e-4
    assert torch.corrcoef(noise.T).fill_diagonal_(0).abs().max() < 4.5 / math.sqrt(20_000)


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_l2_samples_are_uniform_in_the_ball(dimension: int) -> None:
    """Radius^dimension is uniform in [0, 1], and the directions have no preference."""
    n = 20_000
    x = torch.full((n, dimension), 0.5, dtype=torch.float64)
    noise = (L2(0.1).sample(x, Draws(0, torch.arange(n))) - x) / 0.1
    volume = noise.norm(dim=1) ** dimension
    counts = torch.histc(volume, 10, 0, 1)
    assert ((counts - n / 10) ** 2 / (n / 10)).sum() < 33
    direction = noise / noise.norm(dim=1, keepdim=True)
    assert direction.mean(0).abs().max() < 4.5 / math.sqrt(n * dimension)
    second = direction.T @ direction / n
    torch.testing.assert_close(
        second, torch.eye(dimension, dtype=torch.float64) / dimension, rtol=0, atol=0.02
    )


@pytest.mark.parametrize("kind", [Linf, L2])
def test_samples_belong_to_the_example(kind) -> None:
    x = torch.rand(6, 2, 3, dtype=torch.float64)
    whole = kind(0.2).sample(x, Draws(3, torch.arange(6)))
    rows = torch.tensor([5, 2])
    torch.testing.assert_close(kind(0.2).sample(x[rows], Draws(3, rows)), whole[rows])
    assert not torch.equal(kind(0.2).sample(x, Draws(4, torch.arange(6))), whole)


def test_distance_by_hand() -> None:
    x = torch.zeros(2, 1, 2)
    x_adv = torch.tensor([[[0.3, -0.4]], [[0.0, 0.0]]])
    torch.testing.assert_close(Linf(0.1).distance(x_adv, x), torch.tensor([0.4, 0.0]))
    torch.testing.assert_close(L2(0.1).distance(x_adv, x), torch.tensor([0.5, 0.0]))


@settings(deadline=None, derandomize=True, max_examples=50)
@given(cases(), st.floats(1.001, 3))
def test_contains_tells_points_outside(case, factor: float) -> None:
    threat, x, _, generator = case
    assume(threat.eps > 0)
    roomy = type(threat)(threat.eps, (threat.bounds[0] - 1000, threat.bounds[1] + 1000))
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    length = roomy.distance(noise, torch.zeros_like(noise)).reshape(-1, *[1] * (x.ndim - 1))
    offset = threat.eps * noise / length
    # `roomy` is wide, and so is the rounding it allows for: stay clear of it.
    assume((factor - 1) * threat.eps > 2e-6 * roomy.width)
    assert roomy.contains(x.double() + 0.999 * offset, x.double()).all()
    assert not roomy.contains(x.double() + factor * offset, x.double()).any()


@pytest.mark.parametrize("kind", [Linf, L2])
def test_contains_looks_at_bounds_and_nan(kind) -> None:
    x = torch.tensor([[0.99], [0.01], [0.5], [0.5]])
    x_adv = torch.tensor([[1.01], [-0.01], [math.nan], [0.55]])
    assert kind(0.1).contains(x_adv, x).tolist() == [False, False, False, True]


def test_contains_allows_for_rounding_only() -> None:
    x = torch.tensor([[0.2]], dtype=torch.float64)
    assert Linf(0.1).contains(x + 0.1 + 5e-7, x).all()
    assert not Linf(0.1).contains(x + 0.1 + 5e-6, x).any()
    assert not Linf(0.1).contains(x * 0 - 5e-6, x * 0).any()
