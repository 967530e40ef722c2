"""One change or one patch for all inputs, where the best one is known."""

import pytest
import torch
from torch import nn

from brolly import L2, AdversarialPatch, Linf, UniversalPerturbation
from brolly._draws import Draws


def linear() -> tuple[nn.Module, torch.Tensor]:
    model = nn.Linear(4, 2, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -0.5, 0.5, -1.0], [0.0, 0.0, 0.0, 0.0]]))
    return model, torch.tensor([1.0, -0.5, 0.5, -1.0], dtype=torch.float64)


def inputs(weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """All of class 0, with margins up to 0.5, well inside the bounds."""
    x = 0.3 + 0.4 * torch.rand(
        400, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    margin = x @ weights
    x = x[(margin > 0) & (margin < 0.5)]
    return x, torch.zeros(len(x), dtype=torch.long)


@pytest.mark.parametrize("threat", [Linf(0.05), L2(0.1)], ids=str)
def test_on_a_linear_model_it_is_the_steepest_step(threat) -> None:
    model, weights = linear()
    x, y = inputs(weights)
    half = len(x) // 2
    found = UniversalPerturbation(threat)(model, [(x[:20], y[:20]), (x[20:half], y[20:half])])
    exact = -threat.eps * threat.ascend(weights[None])[0]
    torch.testing.assert_close(found.delta, exact, rtol=0, atol=1e-3 * threat.eps)
    expected = ((x[half:] + exact) @ weights < 0).double().mean()
    rate = found.fooling_rate(model, (x[half:], y[half:]))
    assert rate == pytest.approx(float(expected), abs=0.02)
    assert 0.1 < rate < 1


def test_towards_a_class() -> None:
    model, weights = linear()
    x, y = inputs(weights)
    found = UniversalPerturbation(Linf(0.17))(model, [(x, y)], target=1)
    assert found.fooling_rate(model, (x, y)) == 1
    assert found.target == 1
    away = UniversalPerturbation(Linf(0.17))(model, [(x, y)], target=0)
    assert away.fooling_rate(model, (x, y)) == 0  # all are of that class already


class Bright(nn.Module):
    """Class 1 where the image has much red and little green, wherever that is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.flatten(2).sum(2)
        return torch.stack([torch.full_like(mean[:, 0], 4.0), mean[:, 0] - mean[:, 1]], 1)


@pytest.mark.parametrize("target", [None, 1])
def test_the_patch_that_is_known_to_be_best(target: int | None) -> None:
    x = torch.full((30, 2, 12, 12), 0.5)
    y = torch.zeros(30, dtype=torch.long)
    attack = AdversarialPatch(size=4)
    patch = attack(Bright(), [(x[:10], y[:10]), (x[10:20], y[10:20])], target=target)
    assert (patch.pixels[0] == 1).all()
    assert (patch.pixels[1] == 0).all()
    assert patch.success_rate(Bright(), (x[20:], y[20:])) == 1
    small = AdversarialPatch(size=1)(Bright(), [(x, y)], target=target)
    assert small.success_rate(Bright(), (x, y)) == 0  # at most 1.44 pixels of contrast 1


def test_the_patch_lies_whole_in_the_image() -> None:
    x = torch.zeros(200, 1, 16, 20, dtype=torch.float64)
    patch = AdversarialPatch(size=5, rotation=45, zoom=(1.0, 1.0), epochs=1)(
        nn.Sequential(nn.Flatten(), nn.Linear(320, 2).double()), [(x, torch.zeros(200).long())]
    )
    white = type(patch)(torch.ones(1, 5, 5).double(), 45.0, (1.0, 1.0), (0.0, 1.0), None)
    pasted = white.apply(x, Draws(0, torch.arange(200)))
    area = pasted.sum((1, 2, 3))
    assert (area - 25).abs().max() < 5  # of pixel centres in a turned square
    assert pasted.amax((0, 1)).bool().any(0).sum() > 15  # all over the image
    straight = type(patch)(torch.ones(1, 5, 5).double(), 0.0, (1.0, 1.0), (0.0, 1.0), None)
    rows = straight.apply(x, Draws(0, torch.arange(200)))[:, 0].amax(2).sum(1)
    assert ((rows == 5) | (rows == 4) | (rows == 6)).all()


def test_the_generator_decides() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    batch = torch.rand(6, 1, 8, 8), torch.zeros(6).long()
    attack = AdversarialPatch(size=3, epochs=2)
    one, two = (attack(model, [batch], generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    again = attack(model, [batch], generator=torch.Generator().manual_seed(1))
    assert torch.equal(one.pixels, again.pixels)
    assert not torch.equal(one.pixels, two.pixels)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="no batches"):
        UniversalPerturbation(Linf(0.1))(nn.Linear(2, 2), [])
    with pytest.raises(ValueError, match="no batches"):
        AdversarialPatch(2)(nn.Linear(2, 2), [])
    with pytest.raises(ValueError, match="zoom is"):
        AdversarialPatch(2, zoom=(2.0, 1.0))
    with pytest.raises(ValueError, match="finite eps above 0"):
        UniversalPerturbation(Linf(float("inf")))
    with pytest.raises(ValueError, match="target 5 at position 0 is out of range"):
        UniversalPerturbation(Linf(0.1))(
            nn.Linear(2, 2), [(torch.rand(3, 2), torch.zeros(3).long())], target=5
        )
