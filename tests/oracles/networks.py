"""Small float64 networks to attack, and modules that watch or trouble an attack."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """`build()` in float64 and eval mode, with parameters that only depend on `seed`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build().double().eval()


def mlp(
    shape: Sequence[int] = (6,), classes: int = 4, *, sharpness: float = 6.0, seed: int = 0
) -> nn.Module:
    def build() -> nn.Module:
        first = nn.Linear(math.prod(shape), 16)
        last = nn.Linear(16, classes)
        with torch.no_grad():
            first.weight *= sharpness
            last.weight *= sharpness
        return nn.Sequential(nn.Flatten(), first, nn.Tanh(), last)

    return seeded(build, seed)


def inputs(
    count: int,
    shape: Sequence[int] = (6,),
    bounds: tuple[float, float] = (0.0, 1.0),
    seed: int = 1,
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(count, *shape, generator=generator, dtype=torch.float64)
    return bounds[0] + (bounds[1] - bounds[0]) * uniform


def predictions(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x).argmax(1)


class Recorder(nn.Module):
    """Remembers each batch it is shown, and whether the graph was being recorded."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.seen: list[Tensor] = []
        self.with_graph: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach().clone())
        self.with_graph.append(x.requires_grad)
        return self.model(x)


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> object:
        return self.function(x)


class Branches(nn.Module):
    """Sends each row one of two ways, loops as often as the row asks for, and adds both parts."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.bright, self.dark = nn.Linear(features, 8), nn.Linear(features, 8)
        self.again = nn.Linear(8, 8)
        self.head = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        rows = []
        for row in x.flatten(1):
            branch = self.bright if row.mean() > 0.5 else self.dark
            hidden = torch.tanh(4 * branch(row))
            for _ in range(1 + int(row.detach().sum() * 10) % 3):
                hidden = hidden + torch.tanh(self.again(hidden))
            rows.append(self.head(hidden))
        return torch.stack(rows)
