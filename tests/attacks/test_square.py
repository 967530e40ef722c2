"""Square: windows, budgets, and models whose gradients mislead."""

import pytest
import torch
from oracles.networks import Function, Recorder, inputs, mlp, predictions, seeded
from torch import nn

from brolly import L1, L2, PGD, Linf, Square
from brolly._draws import Draws
from brolly.attacks._square import _move_peak, _peaks, _places, _set_corner, _stripes, _tiles

BALLS = {"linf": Linf(0.1), "l2": L2(1.0), "l1": L1(5.0)}
all_balls = pytest.mark.parametrize("threat", BALLS.values(), ids=BALLS)


def images(count: int = 6, shape=(3, 10, 10)) -> torch.Tensor:
    return inputs(count, shape) * 0.2 + 0.4


def draws(count: int = 6, seed: int = 0) -> Draws:
    return Draws(seed, torch.arange(count))


def convolution() -> nn.Module:
    return seeded(
        lambda: nn.Sequential(nn.Conv2d(1, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 64, 4))
    )


def test_places_cover_the_image_and_stay_inside() -> None:
    corner = torch.tensor([[0.0, 0.0], [0.999999, 0.999999]])
    rows, columns = _places(corner, (3, 2), (10, 8))
    assert rows.tolist() == [[0, 1, 2], [7, 8, 9]]
    assert columns.tolist() == [[0, 1], [6, 7]]


def test_a_window_sets_one_corner_a_channel() -> None:
    clean, threat = images(), BALLS["linf"]
    best = _stripes(threat, clean, draws())
    assert torch.allclose((best - clean).abs(), torch.full_like(clean, 0.1))
    assert (((best - clean) > 0) == ((best - clean) > 0)[:, :, :1]).all()  # vertical stripes
    moved = _set_corner(threat, best, clean, (4, 5), draws(seed=3))
    inside = torch.zeros(6, 10, 10, dtype=torch.bool)
    uniform = draws(seed=3).uniform(clean.new_empty(6, 5))
    rows, columns = _places(uniform, (4, 5), (10, 10))
    for row in range(6):
        inside[row][rows[row][:, None], columns[row][None]] = True
        for channel in range(3):
            corner = (moved - clean)[row, channel][inside[row]]
            assert torch.allclose(corner.abs(), torch.tensor(0.1).double())
            assert len(corner.sign().unique()) == 1
    outside = ~inside[:, None].expand_as(clean)
    assert torch.equal(moved[outside], best[outside])


@pytest.mark.parametrize("kind", ["l2", "l1"])
def test_peaks_keep_all_of_eps_in_use(kind: str) -> None:
    clean, threat = images(), BALLS[kind].with_eps(0.5)
    best = _tiles(threat, clean, draws())
    assert torch.allclose(threat.distance(best, clean), torch.tensor(0.5).double())
    for seed in range(20):
        moved = _move_peak(threat, best, clean, (5, 3), draws(seed=seed))
        assert torch.allclose(threat.distance(moved, clean), torch.tensor(0.5).double())
        changed = ((moved - clean) / (best - clean).abs().clamp_min(1e-12) - 1).abs() > 1e-6
        assert changed.flatten(1).any(1).all()
        best = moved


@pytest.mark.parametrize("window", [(3, 3), (5, 4), (1, 7), (9, 1), (1, 1)])
@pytest.mark.parametrize("axis", [0, 1])
def test_peaks_are_two_of_opposite_sign(window, axis: int) -> None:
    peaks = _peaks(window, axis, torch.zeros((), dtype=torch.float64))
    assert peaks.shape == window
    assert peaks.norm() == pytest.approx(1)
    half = window[axis] // 2
    first, second = peaks.split([half, window[axis] - half], axis)
    assert (first > 0).all()
    assert (second < 0).all()
    top = second.abs().max()
    assert (second.abs() == top).sum() == 1  # in the middle


@all_balls
@pytest.mark.parametrize("shape", [(1, 10, 10), (30,), (10, 3), (1, 2, 9)])
def test_any_shape(threat, shape) -> None:
    model, x = mlp(shape), inputs(10, shape)
    y = predictions(model, x)
    threat = threat.with_eps(threat.eps / 2)
    result = Square(threat, queries=60)(model, x, y)
    assert threat.contains(result.x, x).all()
    assert result.success.any()


@all_balls
def test_more_queries_break_no_fewer(threat) -> None:
    model, x = convolution(), inputs(40, (1, 10, 10))
    y = predictions(model, x)
    threat = threat.with_eps(threat.eps / 4)
    few, many = (Square(threat, queries=n)(model, x, y).success for n in (3, 120))
    assert (many | ~few).all()
    assert many.sum() > few.sum()


@all_balls
def test_it_needs_no_gradient(threat) -> None:
    """Rounded activations have no slope: gradients find nothing, Square does."""
    model, x = convolution(), inputs(40, (1, 10, 10))
    masked = nn.Sequential(model, Function(lambda z: (50 * z).round() / 50 + 0 * z))
    y = predictions(masked, x)
    result = Square(threat, queries=150)(masked, x, y)
    assert result.cost.backwards == 0
    assert result.success.sum() > 5
    blind = PGD(threat, steps=20)(masked, x, y) if threat.kind != "l1" else None
    assert blind is None or blind.success.sum() < result.success.sum()


def test_queries_are_counted_and_end() -> None:
    model, x = convolution(), inputs(8, (1, 10, 10))
    y = predictions(model, x)
    watched = Recorder(model)
    result = Square(Linf(1e-4), queries=50)(watched, x, y)
    assert not result.success.any()
    asked = sum(len(seen) for seen in watched.seen)
    assert result.cost.forwards == asked <= 8 * 51
    assert len(watched.seen) <= 51
    for first, second in zip(watched.seen, watched.seen[1:], strict=False):
        assert first.shape != second.shape or not torch.equal(first, second)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"queries": 0}, "queries is 0"), ({"share": 0.0}, "share is 0"), ({"share": 1.5}, "share")],
)
def test_budgets_that_are_none(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Square(Linf(0.1), **options)
