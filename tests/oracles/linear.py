"""Linear classifiers, whose smallest adversarial perturbation is known exactly."""

from __future__ import annotations

import torch
from scipy.linalg import hadamard
from torch import Tensor, nn

#: Wide enough for no perturbation in these tests to reach them.
WIDE = (-100.0, 100.0)


def classifier(weight: Tensor, bias: Tensor) -> nn.Linear:
    model = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
    with torch.no_grad():
        model.weight.copy_(weight)
        model.bias.copy_(bias)
    return model


def distances(weight: Tensor, bias: Tensor, x: Tensor, y: Tensor, kind: str) -> Tensor:
    """Distance of each `x` from each class, `(z_y - z_i) / ||w_i - w_y||_dual`, inf for `y`."""
    dual = {"linf": 1, "l2": 2, "l1": torch.inf}[kind]
    logits = x @ weight.T + bias
    rows = []
    for row, label in enumerate(y.tolist()):
        gaps = logits[row, label] - logits[row]
        lengths = torch.linalg.vector_norm(weight - weight[label], dual, dim=1)
        rows.append(torch.where(lengths > 0, gaps / lengths.clamp_min(1e-12), torch.inf))
    return torch.stack(rows)


def counts(weight: Tensor, bias: Tensor, x: Tensor, y: Tensor, low: float, high: float) -> Tensor:
    """Fewest values to change inside the bounds to make each class win, inf for `y` and if none do.

    Each value adds to the gap on its own, so those that can add most, moved all the way, are best.
    """
    logits = x @ weight.T + bias
    rows = []
    for row, label in enumerate(y.tolist()):
        away = weight - weight[label]
        gain = torch.where(away > 0, away * (high - x[row]), away * (low - x[row]))
        total = gain.sort(1, descending=True).values.cumsum(1)
        needed = (total <= (logits[row, label] - logits[row])[:, None]).sum(1) + 1.0
        rows.append(torch.where(needed > x.shape[1], torch.inf, needed))
        rows[-1][label] = torch.inf
    return torch.stack(rows)


def inside(classes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `simplex`, in [0, 1] and far from its ends: no bound is active in Linf, L2 and L1.

    Columns weigh less and less, so that a single value is the one to change in L1.
    """
    hadamard_rows, _, _, y = simplex(classes)
    x = 0.5 + 0.06 * hadamard_rows[y] + 0.02 * hadamard_rows[(y + 1) % classes]
    weight = 20 * hadamard_rows * torch.linspace(1, 0.6, 16, dtype=torch.float64)
    bias = -0.5 * weight.sum(1)
    return weight, bias, x, y


def simplex(classes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weight, bias, inputs, labels, where the runner-up is also the nearest class in any norm.

    Rows of a Hadamard matrix are all equally far apart, so the class that cross-entropy climbs
    to first, the one with the second logit, is the nearest one.
    """
    weight = torch.from_numpy(hadamard(16)).double()[1 : classes + 1]
    bias = torch.zeros(classes, dtype=torch.float64)
    y = torch.arange(4) % classes
    second = (y + 1) % classes
    x = 0.5 * weight[y] + 0.35 * weight[second]
    return weight, bias, x, y


def anywhere(classes: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weight, bias, inputs and labels without structure; every input is classified correctly."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, 6, generator=generator, dtype=torch.float64)
    bias = torch.randn(classes, generator=generator, dtype=torch.float64)
    x = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    return weight, bias, x, (x @ weight.T + bias).argmax(1)
