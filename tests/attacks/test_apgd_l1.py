"""Auto-PGD in L1: sparse steps, shrinking balls, exact boundaries of linear models."""

import pytest
import torch
from oracles import linear
from oracles.networks import Recorder, inputs, mlp, predictions

from brolly import APGD, L1, APGDTargeted
from brolly.attacks._apgd_l1 import _sparse_sign


def problem(classes: int, entries: int = 200):
    """A linear model, inputs, labels, and their exact L1 distances to the nearest class."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(classes, entries, generator=generator, dtype=torch.float64)
    bias = torch.randn(classes, generator=generator, dtype=torch.float64)
    x = torch.randn(4, entries, generator=generator, dtype=torch.float64)
    logits = x @ weight.T + bias
    y = logits.argmax(1)
    gaps = logits.gather(1, y[:, None]) - logits
    steep = (weight[None] - weight[y][:, None]).abs().amax(2)
    exact = torch.where(steep > 0, gaps / steep.clamp_min(1e-12), torch.inf).amin(1)
    return linear.classifier(weight, bias), x, y, exact


@pytest.mark.parametrize(("classes", "rows"), [(2, 4), (3, 2), (6, 1)])
def test_the_boundary_is_found_where_it_is(classes: int, rows: int) -> None:
    """To a tenth: that is the shortest step the schedule comes down to."""
    model, x, y, exact = problem(classes)
    for row in range(rows):
        one = slice(row, row + 1)
        for ratio in (0.99, 1.1):
            threat = L1(ratio * exact[row].item(), linear.WIDE)
            result = APGDTargeted(threat)(model, x[one], y[one])
            assert threat.contains(result.x, x[one]).all()
            assert result.success.item() == (ratio > 1)


def test_steps_move_the_largest_entries() -> None:
    gradient = torch.tensor([[[0.1, -5.0], [2.0, 0.3]], [[1.0, -1.0], [1.0, 1.0]]])
    step = _sparse_sign(gradient, torch.tensor([0.5, 0.5]))
    assert step[0].tolist() == [[0.0, -0.5], [0.5, 0.0]]
    assert step[1].tolist() == [[0.25, -0.25], [0.25, 0.25]]  # ties go together
    one = _sparse_sign(gradient[:1], torch.tensor([0.01]))
    assert one[0].tolist() == [[0.0, -1.0], [0.0, 0.0]]


def test_balls_shrink_and_only_the_last_counts() -> None:
    model, x, threat = mlp((20,)), inputs(20, (20,)), L1(0.05)
    y = predictions(model, x)
    watched = Recorder(model)
    result = APGD(threat, steps=20)(watched, x, y)
    wide = [threat.distance(seen, x[: len(seen)]).max().item() for seen in watched.seen[1:]
            if len(seen) == 20]  # fmt: skip
    assert 0.1 < wide[1] <= 0.15 + 1e-6
    assert wide[-1] <= 0.05 + 1e-6
    assert threat.contains(result.x, x).all()
    assert result.cost.backwards <= 20 * 23


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_few_steps(steps: int) -> None:
    model, x = mlp(), inputs(10)
    y = predictions(model, x)
    result = APGD(L1(0.3), steps=steps)(model, x, y)
    assert L1(0.3).contains(result.x, x).all()
    assert result.distance.max() > 0
