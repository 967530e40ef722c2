"""Models that hide nothing, but whose number is wrong or means something else.

Accuracies in the docstrings are of the first 100 test examples at seed 0, against Linf 0.1 where
nothing else is said.
"""

from __future__ import annotations

import torch
from broken_defences.training import (
    THREAT,
    dense,
    normalize,
    plain,
    seeded,
    train,
    training_data,
)
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import brolly

#: What the single-step model was trained and is evaluated against.
LARGE_THREAT = brolly.Linf(0.3)


def single_step_loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy after one step along the sign of the gradient, from the clean input."""
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(model(leaf), y), leaf)
    x_adv = (x + LARGE_THREAT.eps * gradient.sign()).clamp(0, 1)
    return cross_entropy(model(x_adv), y)


def single_step(seed: int) -> nn.Module:
    """Adversarial training with FGSM (Goodfellow et al. 2015) until it overfits to FGSM.

    Catastrophic overfitting of Wong et al. 2020: against Linf 0.3, clean 97, FGSM 65, PGD 0.
    """
    with seeded(seed):
        return train(nn.Sequential(normalize(), dense(width=256)), single_step_loss, epochs=60)


class LocalContrast(nn.Module):
    """Standardises each of the four strips, two pixels wide, of an image."""

    def __init__(self, floor: float) -> None:
        super().__init__()
        self.floor = floor

    def forward(self, x: Tensor) -> Tensor:
        strips = x.unflatten(3, (4, 2))  # (batch, 1, rows, strips, columns)
        centred = strips - strips.mean((2, 4), keepdim=True)
        spread = centred.square().mean((2, 4), keepdim=True).sqrt()
        return (centred / (spread + self.floor)).flatten(3)


def nan_for_some(seed: int) -> nn.Module:
    """Contrast normalisation whose divisor lost its floor: 0/0 where a strip is blank.

    NaN for 19 of 100 clean inputs. No label is NaN's, no gradient leads there, and whoever counts
    `prediction == label` or skips NaN gets another number.
    """
    contrast = LocalContrast(floor=1e-3)
    with seeded(seed):
        model = train(nn.Sequential(contrast, dense()))
    contrast.floor = 0.0
    return model


def batch_statistics(seed: int) -> nn.Module:
    """BatchNorm that uses the statistics of the batch, in eval mode, too.

    The prediction depends on who else is in the batch: clean 99 in one batch of 100, 58 in pairs.
    """

    def norm() -> nn.Module:
        return nn.BatchNorm1d(128, track_running_stats=False)

    with seeded(seed):
        layers = (nn.Linear(64, 128), norm(), nn.ReLU(), nn.Linear(128, 128), norm(), nn.ReLU())
        return train(nn.Sequential(normalize(), nn.Flatten(), *layers, nn.Linear(128, 10)))


def abstaining(seed: int) -> nn.Module:
    """An eleventh logit rejects (Grosse et al. 2017); broken by Carlini & Wagner 2017.

    Of 100 inputs made against the plain network it rejects 98 and gets 2 right, and it rejects
    10 clean ones. PGD on its own logits leaves 0, as rejecting counts as wrong; an attack that
    knows both aims makes 37 wrong that are not rejected. No single number says that.
    """
    x, y = training_data()
    rejected = torch.full_like(y, 10)
    attack = brolly.PGD(THREAT, steps=10)
    x_adv = attack(plain(seed), x, y, generator=torch.Generator().manual_seed(seed)).x
    with seeded(seed):
        return train(
            nn.Sequential(normalize(), dense(classes=11)),
            inputs=torch.cat([x, x_adv]),
            labels=torch.cat([y, rejected]),
        )


def doubled_normalization(seed: int) -> nn.Module:
    """Inputs normalised once more, as when both the loader and the model do it.

    Not the network that was trained: clean 97 instead of 99.
    """
    return nn.Sequential(normalize(), plain(seed)).eval()
