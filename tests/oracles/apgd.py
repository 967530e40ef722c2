"""Auto-PGD as the paper writes it (Croce & Hein 2020, algorithm 1), one example at a time.

Float64, plain Python. Checks happen at iteration k in W after x_k is known, and what they send
back to the best point is x_k, which is how the authors' code counts.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from . import projections

RHO = ALPHA = 0.75


@dataclasses.dataclass
class Trace:
    visited: list[np.ndarray]  # x_0 (the start), x_1, ..., as far as the search went
    fooled: bool  # whether the last one is misclassified
    best_loss: float  # over those whose gradient was taken
    halvings: list[tuple[int, bool, bool]]  # iteration, condition 1, condition 2


def loss_ce(z: torch.Tensor, y: int) -> torch.Tensor:
    return torch.logsumexp(z, 0) - z[y]


def loss_dlr(z: torch.Tensor, y: int) -> torch.Tensor:
    others = torch.cat([z[:y], z[y + 1 :]])
    ordered = z.sort(descending=True).values
    if len(z) == 2:
        return others[0] - z[y]
    return -(z[y] - others.max()) / (ordered[0] - ordered[2])


def loss_targeted_dlr(z: torch.Tensor, y: int, target: int) -> torch.Tensor:
    ordered = z.sort(descending=True).values
    return -(z[y] - z[target]) / (ordered[0] - (ordered[2] + ordered[3]) / 2)


def apgd(
    model: nn.Module,
    clean: np.ndarray,
    y: int,
    start: np.ndarray,
    loss: Callable[[torch.Tensor, int], torch.Tensor],
    *,
    kind: str,
    eps: float,
    bounds: tuple[float, float],
    steps: int,
) -> Trace:
    def evaluate(point: np.ndarray) -> tuple[float, np.ndarray, bool]:
        x = torch.tensor(point, dtype=torch.float64, requires_grad=True)
        z = model(x[None])[0]
        value = loss(z, y)
        (gradient,) = torch.autograd.grad(value, x)
        return value.item(), gradient.numpy(), int(z.argmax()) != y

    def project(point: np.ndarray) -> np.ndarray:
        return getattr(projections, kind)(point, clean, eps, *bounds)

    def direction(gradient: np.ndarray) -> np.ndarray:
        if kind == "linf":
            return np.sign(gradient)
        return gradient / np.linalg.norm(gradient)

    p = [0.0, 0.22]
    while p[-1] < 1:
        p.append(p[-1] + max(p[-1] - p[-2] - 0.03, 0.06))
    w = [math.ceil(part * steps - 1e-9) for part in p]

    eta = 2 * eps
    f, gradient, fooled = evaluate(start)
    x, visited, halvings = start, [start], []
    before = start
    f_max, x_max, gradient_max = f, start, gradient
    increases = 0
    last = {"eta": eta, "f_max": f_max}  # at the previous checkpoint
    for k in range(1, steps + 1):
        if fooled:
            break
        z = project(x + eta * direction(gradient))
        new = z if k == 1 else project(x + ALPHA * (z - x) + (1 - ALPHA) * (x - before))
        f_new, gradient_new, fooled = evaluate(new)
        visited.append(new)
        if k == steps:
            break
        increases += f_new > f
        before, x, f, gradient = x, new, f_new, gradient_new
        if f > f_max:
            f_max, x_max, gradient_max = f, x, gradient
        if k in w[1:]:
            period = k - w[w.index(k) - 1]
            few = increases < RHO * period
            same = last["eta"] == eta and last["f_max"] == f_max
            last = {"eta": eta, "f_max": f_max}
            if few or same:
                halvings.append((k, few, same))
                eta = eta / 2
                x, f, gradient = x_max, f_max, gradient_max
            increases = 0
    return Trace(visited, fooled, f_max, halvings)
