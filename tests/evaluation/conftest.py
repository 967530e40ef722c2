"""A problem whose robust accuracy is known exactly."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from brolly import Evaluation, Linf
from brolly.data import Split


@dataclasses.dataclass(frozen=True)
class Problem:
    """A linear model on random inputs, a threat, and who can hold against it."""

    model: nn.Module
    split: Split
    threat: Linf

    @property
    def right(self) -> Tensor:
        x, y = self.split.inputs, self.split.labels
        return self.model(x).argmax(1) == y

    def holds(self, eps: float) -> Tensor:
        """Which examples no adversary can break: the worst corner for each class is known."""
        x, y = self.split.inputs.flatten(1).double(), self.split.labels
        linear = self.model[1]
        weight, bias = linear.weight.detach().double(), linear.bias.detach().double()
        held = torch.ones(len(x), dtype=torch.bool)
        for other in range(len(weight)):
            direction = weight[other] - weight[y]  # (examples, features)
            corner = (x + eps * direction.sign()).clamp(0, 1)
            gain = (direction * corner).sum(1) + bias[other] - bias[y]
            held &= (gain < 0) | (y == other)
        return held


def make_problem(classes: int = 3, examples: int = 60, eps: float = 0.05, seed: int = 0) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, classes)).eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(classes, 12, generator=generator))
        model[1].bias.copy_(-model[1].weight.sum(1) / 2)  # so that every class is met
    x = torch.rand(examples, 3, 2, 2, generator=generator)
    prediction = model(x).argmax(1)
    y = torch.where(torch.arange(examples) % 10 == 9, (prediction + 1) % classes, prediction)
    names = tuple(str(number) for number in range(classes))
    return Problem(model, Split(x, y, 1.0, "test", "random", names), Linf(eps))


@pytest.fixture
def problem() -> Problem:
    return make_problem()


@pytest.fixture(scope="session")
def problems() -> Callable[..., Problem]:
    return make_problem


@pytest.fixture
def comparable() -> Callable[[Evaluation], dict]:
    """An evaluation as JSON, without what another day or another load changes."""

    def strip(evaluation: Evaluation) -> dict:
        value = evaluation.to_json()
        del value["created"]
        for attack in value["attacks"]:
            del attack["cost"]["seconds"]
        return value

    return strip
