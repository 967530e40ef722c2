"""Models whose numbers are right: whoever raises an alarm here raises it for nothing."""

from __future__ import annotations

import torch
from broken_defences.training import THREAT, dense, digits, normalize, seeded, train
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import brolly
from brolly.models import Normalize


def adversarial(seed: int) -> nn.Module:
    """Trained on the inputs that PGD finds (Madry et al. 2018)."""
    attack = brolly.PGD(THREAT, steps=3)
    noise = torch.Generator().manual_seed(seed)

    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(model(attack(model, x, y, generator=noise).x), y)

    with seeded(seed):
        return train(nn.Sequential(normalize(), dense()), loss, epochs=15)


def worst_logits(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Logits at once lowest for the label and highest for the others in a box around `x`."""
    low, high = (x - eps).clamp(0, 1), (x + eps).clamp(0, 1)
    for layer in model.children():
        if isinstance(layer, nn.Linear):
            centre, radius = (low + high) / 2, (high - low) / 2
            centre, radius = layer(centre), radius @ layer.weight.abs().T
            low, high = centre - radius, centre + radius
        else:
            assert isinstance(layer, Normalize | nn.Flatten | nn.ReLU)  # monotone
            low, high = layer(low), layer(high)
    return torch.where(nn.functional.one_hot(y, high.shape[1]).bool(), low, high)


def certified(seed: int) -> nn.Module:
    """Trained on interval bounds, at an eps that grows to the whole (Gowal et al. 2018)."""
    steps = 0

    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        nonlocal steps
        steps += 1
        grown = min(1.0, steps / 200)
        worst = cross_entropy(worst_logits(model, x, y, grown * THREAT.eps), y)
        return (1 - grown / 2) * cross_entropy(model(x), y) + grown / 2 * worst

    with seeded(seed):
        return train(nn.Sequential(normalize(), *dense()), loss, epochs=40)


def small(seed: int) -> nn.Module:
    """Softmax regression."""
    with seeded(seed):
        return train(brolly.models.SoftmaxRegression(64, 10, normalize=digits().statistics))


def smooth(seed: int) -> nn.Module:
    """A network of GELUs and a convolution, without a ReLU."""
    with seeded(seed):
        return train(
            nn.Sequential(
                normalize(),
                nn.Conv2d(1, 16, 3, padding=1, stride=2),
                nn.GELU(),
                nn.Flatten(),
                nn.Linear(256, 64),
                nn.GELU(),
                nn.Linear(64, 10),
            )
        )
