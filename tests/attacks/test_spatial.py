"""Rotations, shifts and zooms: the warp by hand, the search on problems with known answers."""

import math

import pytest
import torch
from oracles.networks import inputs, mlp, predictions
from torch import nn

from brolly import Affine, SpatialAttack

SHAPE = (1, 8, 8)


def parameters(*values: float, rows: int = 2) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).expand(rows, 4)


@pytest.mark.parametrize("quarters", [-1, 0, 1, 2])
def test_quarter_turns_are_exact(quarters: int) -> None:
    x = inputs(2, (3, 8, 8))
    turned = Affine(180).warp(x, parameters(90.0 * quarters, 0, 0, 0))
    torch.testing.assert_close(turned, x.rot90(quarters, (-2, -1)))


def test_shifts_go_right_and_down_and_leave_black() -> None:
    x = inputs(2, (1, 4, 8))
    moved = Affine(0, 0.5).warp(x, parameters(0, 0.25, 0.5, 0))
    expected = torch.zeros_like(x)
    expected[..., 2:, 2:] = x[..., :2, :-2]
    torch.testing.assert_close(moved, expected)


def test_turning_comes_before_shifting() -> None:
    x = inputs(2, (1, 8, 8))
    affine = Affine(90, 0.5)
    at_once = affine.warp(x, parameters(90, 0.25, 0, 0))
    one_by_one = affine.warp(x.rot90(1, (-2, -1)), parameters(0, 0.25, 0, 0))
    torch.testing.assert_close(at_once, one_by_one)


def test_zoom_and_turn_keep_the_aspect() -> None:
    """A square in a wide image stays a square under a quarter turn."""
    x = torch.zeros(2, 1, 6, 10, dtype=torch.float64)
    x[:, :, 2:4, 4:6] = 1
    torch.testing.assert_close(Affine(90).warp(x, parameters(90, 0, 0, 0)), x)
    half = Affine(0, 0, 0.5).warp(x, parameters(0, 0, 0, -0.5))
    assert half.sum() < 0.4 * x.sum()


def test_the_warp_has_exact_gradients() -> None:
    x = inputs(1, (1, 5, 5)).requires_grad_()
    p = torch.tensor([[11.0, 0.07, -0.05, 0.1]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Affine().warp, (x, p))


class Angle(nn.Module):
    """Says 1 where the bright spot right of the centre has gone up by a row or more."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(x.shape[2], dtype=x.dtype)
        height = (x.sum((1, 3)) * rows).sum(1) / x.sum((1, 2, 3)).clamp_min(1e-9)
        return torch.stack([height - 3.0, 3.0 - height], 1)


@pytest.mark.parametrize("search", ["grid", "random", "gradient"])
def test_the_angle_that_is_needed(search: str) -> None:
    x = torch.zeros(3, 1, 9, 9, dtype=torch.float64)
    x[:, :, 4, 7] = 1
    y = torch.zeros(3, dtype=torch.long)
    # 3 columns from the centre: a row up takes asin(1 / 3) = 19.5 degrees.
    enough = SpatialAttack(Affine(30, 0), search=search, samples=40)(Angle(), x, y)
    assert enough.success.all()
    assert (enough.parameters[:, 0] > 18).all()  # counter-clockwise
    assert not SpatialAttack(Affine(15, 0), search=search)(Angle(), x, y).success.any()


def test_the_grid_takes_the_smallest_that_will_do() -> None:
    x = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    x[:, :, 4, 7] = 1
    result = SpatialAttack(Affine(30, 0))(Angle(), x, torch.tensor([0]))
    assert float(result.parameters[0, 0]) == pytest.approx(20)  # steps of 2 degrees
    assert float(result.distance) == pytest.approx(20 / 30)
    assert result.cost.forwards < 31 + 2


@pytest.mark.parametrize("search", ["grid", "random", "gradient"])
def test_success_follows_from_the_parameters(search: str) -> None:
    model, x = mlp(SHAPE), inputs(8, SHAPE)
    y = predictions(model, x)
    affine = Affine(30, 0.1, 0.1)
    attack = SpatialAttack(affine, search=search, rotations=5, shifts=3, zooms=2, steps=10)
    result = attack(model, x, y)
    assert affine.contains(result.parameters).all()
    assert torch.equal(affine.warp(x, result.parameters), result.x)
    assert torch.equal(predictions(model, result.x) != y, result.success)
    assert result.success.any()
    target = (y + 1) % 4
    aimed = attack(model, x, y, target=target)
    assert torch.equal(predictions(model, aimed.x) == target, aimed.success)


@pytest.mark.parametrize("search", ["random", "gradient"])
def test_an_example_does_not_depend_on_its_batch(search: str) -> None:
    model, x = mlp(SHAPE), inputs(6, SHAPE)
    y = predictions(model, x)
    attack = SpatialAttack(Affine(5, 0.05), search=search, steps=5)
    whole = attack(model, x, y)
    rows = torch.tensor([4, 1])
    part = attack(model, x[rows], y[rows], index=rows)
    torch.testing.assert_close(part.parameters, whole.parameters[rows])
    assert torch.equal(part.success, whole.success[rows])


def test_grid_counts_passes() -> None:
    x = torch.zeros(2, 1, 4, 4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2, bias=False))
    with torch.no_grad():
        y = model(x).argmax(1)
    result = SpatialAttack(Affine(10, 0.1), rotations=3, shifts=2)(model, x, y)
    assert result.cost.forwards == 2 * (1 + 3 * 2 * 2)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected degrees up to 180.*write 3/28"):
        Affine(30, 3)
    with pytest.raises(ValueError, match="expected at least one above 0"):
        Affine(0, 0, 0)
    with pytest.raises(ValueError, match="expected degrees"):
        Affine(math.nan)
    with pytest.raises(ValueError, match="steps is 0"):
        SpatialAttack(Affine(), steps=0)
    with pytest.raises(ValueError, match=r"expected images \(batch, channels, h, w\)"):
        SpatialAttack(Affine())(nn.Linear(4, 2), torch.rand(2, 4), torch.tensor([0, 1]))
