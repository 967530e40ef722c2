"""Sigma-zero."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch

from ..losses import margin
from ..threats._threat import norm, per_example
from ._adam import adam
from ._attack import MinimalAttack, check_counts
from ._engine import Search


@dataclasses.dataclass(frozen=True)
class SigmaZero(MinimalAttack):
    r"""Fewest changed values by a smooth count (Cinà et al. 2024).

    .. math:: \min_\delta \max(m(x + \delta), 0) + \frac1d \sum_i \frac{\delta_i^2}{\delta_i^2 +
        \sigma}

    where `m` is how far the label is ahead. Gradients are scaled to a largest entry of 1 and go
    through Adam, as in the paper's program; after each step, changes below a threshold go back
    to 0. The threshold rises where the input is adversarial and falls where it is not.

    Cost: `steps` forward and backward passes, one forward pass, and one for the clean input.

    Args:
        threat: L0, and how many values may change at most.
        nearest: Whether to go on after the first adversarial input.
        steps: Gradient steps; 1000 in the paper.
        step_size: Size of the first step, as a part of the width of the bounds; 1 in the paper. It
            decays to a tenth along a cosine.
        sigma: Smoothness of the count; 0.001 in the paper.
        threshold: Change that counts as none at first, as a part of the width; 0.3 in the paper.
        rate: By how much the threshold changes, per step size; 0.01 in the paper.

    Raises:
        ValueError: A count is below 1, or a number is not above 0.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.SigmaZero(brolly.L0(float("inf")), steps=50)(model, x, y).distance.shape
        torch.Size([2])
    """

    _: dataclasses.KW_ONLY
    steps: int = 1000
    step_size: float = 1.0
    sigma: float = 1e-3
    threshold: float = 0.3
    rate: float = 0.01

    kinds: ClassVar[tuple[str, ...]] = ("l0",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(steps=self.steps)
        for name in ("step_size", "sigma", "threshold", "rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected more than 0")

    @property
    def name(self) -> str:
        return "sigma-zero"

    def search(self, search: Search) -> None:
        width, (low, high) = self.threat.width, self.threat.bounds
        rows = search.standing()
        loss = search.row_loss(margin)
        clean = x = search.x[rows]
        change = first = second = torch.zeros_like(x)  # in parts of the width
        threshold = torch.full_like(x.flatten(1)[:, 0], self.threshold)
        for step in range(self.steps):
            point = search.at(x, rows, loss)
            behind, reached = point.value < 0, point.reached
            gradient = -width * point.gradient * per_example(behind, x)
            rows, clean, change, first, second, threshold, gradient, reached = search.drop_fooled(
                rows, clean, change, first, second, threshold, gradient, reached
            )
            if len(rows) == 0:
                return
            count = math.prod(clean.shape[1:])
            smooth = 2 * self.sigma * change / (change.square() + self.sigma).square()
            gradient = gradient + smooth / count
            gradient = gradient / per_example(norm(gradient, math.inf), clean).clamp_min(1e-12)
            direction, first, second = adam(gradient, first, second, step + 1)
            size = self.step_size * (0.1 + 0.9 * (1 + math.cos(math.pi * step / self.steps)) / 2)
            moved = (clean + width * (change - size * direction)).clamp(low, high)
            change = (moved - clean) / width
            threshold = threshold + self.rate * size * torch.where(reached, 1.0, -1.0)
            threshold = threshold.clamp(0, 1)
            change = change.masked_fill(change.abs() < per_example(threshold, change), 0)
            x = torch.where(change == 0, clean, moved)
        search.logits(x, rows)
