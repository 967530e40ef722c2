"""Decoupled direction and norm."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch

from ..losses import cross_entropy
from ..threats._threat import per_example
from ._attack import MinimalAttack, check_counts
from ._engine import Search


@dataclasses.dataclass(frozen=True)
class DDN(MinimalAttack):
    """Nearest adversarial input in L2: steps on a sphere that adapts (Rony et al. 2019).

    A step goes along the gradient of the cross-entropy; then the perturbation is scaled to a norm
    that shrinks by `1 - gamma` where the input is adversarial and grows by `1 + gamma` where not.
    Few steps come near what Carlini & Wagner's attack finds in thousands.

    Cost: `steps` forward and backward passes, one forward pass, and one for the clean input.

    Args:
        threat: L2, and how far to look.
        nearest: Whether to go on after the first adversarial input.
        steps: Gradient steps; 100 in the paper (also 300, 1000).
        gamma: Part by which the norm changes; 0.05 in the paper.
        norm: Norm to begin with; 1 in the paper.

    Raises:
        ValueError: A count is below 1, or `gamma` is not between 0 and 1.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.DDN(brolly.L2(float("inf")))(model, x, y).distance.shape
        torch.Size([2])
    """

    _: dataclasses.KW_ONLY
    steps: int = 100
    gamma: float = 0.05
    norm: float = 1.0

    kinds: ClassVar[tuple[str, ...]] = ("l2",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(steps=self.steps)
        if not 0 < self.gamma < 1:
            raise ValueError(f"gamma is {self.gamma}; expected a number between 0 and 1")

    @property
    def name(self) -> str:
        return "ddn"

    def search(self, search: Search) -> None:
        rows = search.standing()
        loss = search.row_loss(cross_entropy)
        clean = x = search.x[rows]
        radius = torch.full_like(clean.flatten(1)[:, 0], self.norm * self.threat.width)
        for step in range(self.steps):
            point = search.at(x, rows, loss)
            reached, gradient = point.reached, point.gradient
            rows, x, clean, radius, reached, gradient = search.drop_fooled(
                rows, x, clean, radius, reached, gradient
            )
            if len(rows) == 0:
                return
            # The step falls from 1 to 0.01 along a cosine, as in the paper.
            size = 0.01 + 0.99 * (1 + math.cos(math.pi * step / self.steps)) / 2
            radius = radius * torch.where(reached, 1 - self.gamma, 1 + self.gamma)
            moved = x - clean + size * self.threat.width * self.threat.ascend(gradient)
            length = self.threat.distance(moved, torch.zeros_like(moved)).clamp_min(1e-12)
            x = (clean + moved * per_example(radius / length, x)).clamp(*self.threat.bounds)
        search.logits(x, rows)
