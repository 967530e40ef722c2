"""The boundary attack."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from ..threats._threat import per_example
from ._attack import MinimalAttack, check_counts
from ._decisions import Decisions, adversarial_start, to_boundary
from ._engine import Search

#: Steps between two looks at the sphere alone.
_LOOK = 10
#: Bisections from the start to the boundary.
_HALVINGS = 10
#: Factors by which the two lengths grow on success.
_SPHERE_FACTOR, _SOURCE_FACTOR = 1.3, 1.05


@dataclasses.dataclass(frozen=True)
class BoundaryAttack(MinimalAttack):
    """Random walk along the decision boundary, from decisions alone (Brendel et al. 2018).

    From an adversarial input on the boundary: a random step on the sphere around the clean input,
    then a small one towards it, kept where the result is adversarial. The step on the sphere is as
    long as succeeds in half of the cases, the one inwards as succeeds in a quarter. Here both
    adapt at each answer; the authors' code waits for a window of answers.

    HopSkipJump gets as near with far fewer queries; this one is the reference of older papers.

    Cost: at most `queries` forward passes, and one for the clean input.

    Args:
        threat: L2, and how far to look.
        nearest: Whether to go on after the first adversarial input inside the threat.
        queries: Most queries per example; 25,000 steps in the authors' code, a million in the
            paper.
        sphere_step: First length of a step on the sphere, as a part of the distance; 0.01 in the
            authors' code.
        source_step: The same for the step inwards; 0.01 in the authors' code.
        starts: Adversarial inputs to begin with, `(count, ...)`, tried in their order before noise;
            with a target give one of each class that is aimed at.

    Raises:
        ValueError: There are no queries, or a step is not between 0 and 1; when called, the starts
            do not fit the inputs.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> attack = brolly.BoundaryAttack(brolly.L2(float("inf")), queries=200)
        >>> attack(model, x, y).cost.backwards
        0
    """

    _: dataclasses.KW_ONLY
    queries: int = 25_000
    sphere_step: float = 0.01
    source_step: float = 0.01
    starts: Tensor | None = dataclasses.field(default=None, repr=False, compare=False)

    kinds: ClassVar[tuple[str, ...]] = ("l2",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(queries=self.queries)
        if not (0 < self.sphere_step < 1 and 0 < self.source_step < 1):
            raise ValueError(
                f"sphere_step is {self.sphere_step}, source_step is {self.source_step}; expected "
                "numbers between 0 and 1"
            )

    @property
    def name(self) -> str:
        return "boundary"

    def search(self, search: Search) -> None:
        decisions, threat = Decisions(search, self.queries), self.threat
        rows, x = adversarial_start(decisions, self.starts)
        rows, x = to_boundary(decisions, rows, x, _HALVINGS)
        sphere = torch.full_like(x.flatten(1)[:, 0], self.sphere_step)
        source = torch.full_like(sphere, self.source_step)
        draws, step = search.draws.fold(1), 0
        while True:
            rows, x, sphere, source = decisions.drop_done(rows, x, sphere, source)
            if len(rows) == 0:
                return
            clean = search.x[rows]
            around = self._around(clean, x, sphere, draws.fold(step).of(rows).normal(x))
            if step % _LOOK == 0:
                hit = decisions(around.clamp(*threat.bounds), rows)
                sphere = sphere * torch.where(hit, _SPHERE_FACTOR, 1 / _SPHERE_FACTOR)
                sphere = sphere.clamp_max(1)
                rows, x, sphere, source, clean, around = decisions.drop_done(
                    rows, x, sphere, source, clean, around
                )
                if len(rows) == 0:
                    return
            tried = torch.lerp(around, clean, per_example(source, x)).clamp_(*threat.bounds)
            hit = decisions(tried, rows)
            # Three failures undo one success, so that a quarter of the steps succeeds.
            source = source * torch.where(hit, _SOURCE_FACTOR**3, 1 / _SOURCE_FACTOR)
            source = source.clamp_max(0.5)
            x = torch.where(per_example(hit, x), tried, x)
            step += 1

    def _around(self, clean: Tensor, x: Tensor, size: Tensor, noise: Tensor) -> Tensor:
        """A random step of `size` radii from `x`, on the sphere around `clean` through `x`."""
        out = self.threat.ascend(x - clean)
        along = (noise * out).flatten(1).sum(1)
        tangent = self.threat.ascend(noise - per_example(along, x) * out)
        way = self.threat.ascend(out + per_example(size, x) * tangent)
        return clean + per_example(self.threat.distance(x, clean), x) * way
