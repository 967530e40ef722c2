"""Robust accuracy against eps."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..attacks import APGD
from ..data import Split
from ..threats import Linf, Threat
from ._evaluation import Count, CurvePoint
from ._judge import Judge

_MULTIPLES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 16.0)
_STEPS = 40
_NEAR_ZERO = 0.01

#: What the curve was measured with, in words.
CURVE_ATTACK = (
    f"apgd-ce and apgd-dlr with {_STEPS} steps each; the verdicts of the evaluation at its own eps"
)


def robustness_curve(
    model: nn.Module,
    split: Split,
    threat: Threat,
    right: Tensor,
    held: Tensor,
    *,
    seed: int,
    batch_size: int,
    device: str,
) -> tuple[CurvePoint, ...]:
    """Robust accuracy at multiples of eps, up to where nearly nothing holds.

    A success at one eps counts at every larger one, and an example that held at the eps of the
    evaluation is taken to hold at every smaller one, so the curve never rises.

    Args:
        model: The model.
        split: Examples of the curve.
        threat: The threat of the evaluation.
        right: Which examples are right without an adversary, `(n,)`.
        held: Which examples held in the evaluation, `(n,)`.
        seed: Seed of the attacks.
        batch_size: Examples attacked at a time.
        device: Where to compute.
    """
    points = [CurvePoint(0.0, Count(int(right.sum()), len(split)))]
    standing = right.clone()
    for eps in _radii(threat, split):
        if eps == threat.eps:
            standing &= held
        else:
            # Below the evaluation's eps only those that broke there are in question.
            doubtful = (standing & ~held if eps < threat.eps else standing).nonzero()[:, 0]
            for rows in doubtful.split(batch_size):
                ball = threat.with_eps(eps)
                standing[rows] &= ~_broken(model, split, ball, rows, seed, device)
        points.append(CurvePoint(eps, Count(int(standing.sum()), len(split))))
        if eps >= threat.eps and points[-1].robust.rate <= _NEAR_ZERO:
            break
    return tuple(points)


def _broken(
    model: nn.Module, split: Split, threat: Threat, rows: Tensor, seed: int, device: str
) -> Tensor:
    x = split.scaled(split.read(rows)).to(device)
    y = split.labels[rows].to(device)
    broken = torch.zeros(len(rows), dtype=torch.bool)
    for attack in (APGD(threat, steps=_STEPS), APGD(threat, loss="dlr", steps=_STEPS)):
        left = (~broken).nonzero()[:, 0]
        if len(left) == 0:
            break
        generator = torch.Generator().manual_seed(seed)
        at = left.to(device)
        result = attack(model, x[at], y[at], generator=generator, index=rows[left].to(device))
        broken[left] = Judge(model).breaks(threat, x[at], y[at], result.x)[0].cpu()
    return broken


def _radii(threat: Threat, split: Split) -> list[float]:
    largest = threat.width
    if not isinstance(threat, Linf):
        largest *= math.sqrt(math.prod(split.shape))
    if threat.eps == 0:
        return []
    # Ten digits: 0.1 * 3 is to be 0.3, in the report and in the hash of nobody's settings.
    radii = [threat.eps if m == 1 else float(f"{m * threat.eps:.10g}") for m in _MULTIPLES]
    return [eps for eps in radii if eps <= largest]
