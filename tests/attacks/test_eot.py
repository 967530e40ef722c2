"""Expectation over the random numbers of a model."""

import pytest
import torch
from oracles.networks import inputs, mlp, predictions
from torch import nn

from brolly import DDN, EOT, L2, PGD, Linf


class Noisy(nn.Module):
    """Adds noise that is far larger than the ball."""

    def __init__(self, model: nn.Module, scale: float) -> None:
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x + self.scale * torch.randn_like(x))


def averaged(model: nn.Module, x: torch.Tensor, passes: int = 400) -> torch.Tensor:
    torch.manual_seed(7)
    with torch.no_grad():
        return torch.stack([model(x) for _ in range(passes)]).mean(0).argmax(1)


def test_it_finds_more_than_without() -> None:
    model, x = Noisy(mlp(), 0.3), inputs(200)
    y = averaged(model, x)
    pgd = PGD(Linf(0.05), steps=8, random_start=False)
    alone, expected = pgd(model, x, y), EOT(pgd, samples=20)(model, x, y)
    assert Linf(0.05).contains(expected.x, x).all()
    broken = [(averaged(model, result.x) != y).sum() for result in (alone, expected)]
    assert broken[1] > broken[0] + 10


def test_the_mean_is_what_counts() -> None:
    """Of a model without randomness it changes nothing but the cost."""
    model, x = mlp(), inputs(20)
    y = predictions(model, x)
    pgd = PGD(Linf(0.05), steps=4)
    alone, expected = pgd(model, x, y), EOT(pgd, samples=3)(model, x, y)
    torch.testing.assert_close(expected.x, alone.x)
    assert torch.equal(expected.success, alone.success)
    assert expected.cost.backwards == 3 * alone.cost.backwards


def test_it_goes_around_attacks_of_any_kind() -> None:
    model, x = Noisy(mlp(), 0.02), inputs(12)
    y = averaged(model, x)
    attack = EOT(DDN(L2(float("inf")), steps=60), samples=4)
    assert attack.name == "ddn-eot4"
    result = attack(model, x, y)
    assert result.success.all()
    assert torch.equal(result.x, attack(model, x, y).x)


def test_no_samples() -> None:
    with pytest.raises(ValueError, match="samples is 0; expected 1 or more"):
        EOT(PGD(Linf(0.1)), samples=0)
