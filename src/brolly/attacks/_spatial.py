"""Rotations and shifts that mislead a model."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Literal

import torch
from torch import Tensor, nn

from .._draws import Draws
from ..threats import Linf
from ..threats._affine import Affine
from ._attack import check_counts
from ._engine import (
    AttackResult,
    Cost,
    Search,
    Stopwatch,
    check_batch,
    check_integers,
    private_randomness,
    untouched,
)
from ._pgd import PGD

#: Parameters as parts of their limits.
_PARTS = Linf(1.0, bounds=(-1.0, 1.0))


class _SpatialSearch(Search):
    """A search whose inputs are the parameters, as parts of their limits, and not the images."""

    def __init__(
        self,
        model: nn.Module,
        affine: Affine,
        images: Tensor,
        y: Tensor,
        target: Tensor | None,
        draws: Draws,
    ) -> None:
        self._affine, self._images = affine, images
        self._limits = images.new_tensor(affine.limits)
        super().__init__(model, _PARTS, images.new_zeros(len(images), 4), y, target, draws)

    def parameters(self, parts: Tensor) -> Tensor:
        return parts * self._limits

    def _forward(self, x: Tensor, rows: Tensor) -> Tensor:
        return super()._forward(self._affine.warp(self._images[rows], self.parameters(x)), rows)


@dataclasses.dataclass(frozen=True)
class SpatialAttack:
    """The worst rotation and translation of each image (Engstrom et al. 2019).

    Called like any attack. The result carries the worst `parameters` of each example, and
    `threat.warp(x, result.parameters)` is `result.x`, so its verdicts can be checked from the
    parameters alone. `result.distance` is the largest part of a limit that is used.

    Cost: `grid`: `rotations * shifts**2 * zooms` forward passes for each example that stands;
    `random`: `samples`; `gradient`: `steps` forward and backward passes and one forward pass;
    each with one forward pass for the clean input. In the paper the grid is by far the strongest:
    the loss has many maxima over the angle.

    Args:
        threat: How far images may be turned, shifted and zoomed.
        search: `grid`: all of a grid; `random`: random transformations; `gradient`: projected
            gradient ascent on the parameters, from a random transformation.
        rotations: Angles in the grid; 31 in the paper.
        shifts: Shifts along each axis in the grid; 5 in the paper.
        zooms: Zooms in the grid.
        samples: Random transformations; 10 in the paper.
        steps: Gradient steps; 200 in the paper.

    Raises:
        ValueError: The search is unknown, or a count is below 1.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
        >>> x, y = torch.rand(2, 1, 8, 8), torch.tensor([0, 2])
        >>> brolly.SpatialAttack(brolly.Affine(rotation=30))(model, x, y).parameters.shape
        torch.Size([2, 4])
    """

    threat: Affine
    _: dataclasses.KW_ONLY
    search: Literal["grid", "random", "gradient"] = "grid"
    rotations: int = 31
    shifts: int = 5
    zooms: int = 5
    samples: int = 10
    steps: int = 200

    def __post_init__(self) -> None:
        check_counts(
            rotations=self.rotations, shifts=self.shifts, zooms=self.zooms,
            samples=self.samples, steps=self.steps,
        )  # fmt: skip
        if self.search not in ("grid", "random", "gradient"):
            raise ValueError(f"search is {self.search!r}; expected 'grid', 'random' or 'gradient'")

    @property
    def name(self) -> str:
        return f"spatial-{self.search}"

    @torch.inference_mode(False)
    def __call__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        *,
        target: Tensor | None = None,
        generator: torch.Generator | None = None,
        index: Tensor | None = None,
    ) -> AttackResult:
        """Attacks a batch of images `(batch, channels, h, w)`, with the arguments of `Attack`.

        Raises:
            ValueError: Inputs, labels or logits do not fit each other.
        """
        x = x.detach().clone() if x.is_inference() else x.detach()
        if x.ndim != 4:
            raise ValueError(
                f"inputs have shape {tuple(x.shape)}; expected images (batch, channels, h, w)"
            )
        if index is None:
            index = torch.arange(len(x), device=x.device)
        # Black comes in from outside, so the bounds of the images do not matter.
        low, high = (x.min().item(), x.max().item()) if x.numel() else (0.0, 1.0)
        check_batch(model, Linf(0.0, bounds=(min(low, 0.0), max(high, 1.0))), x)
        check_integers(y, x, "labels")
        check_integers(index, x, "indices")
        if target is not None:
            check_integers(target, x, "targets")
            target = target.long()
        draws = Draws.from_generator(generator, index.to(x.device))
        if len(x) == 0:
            none = torch.zeros(0, device=x.device)
            return AttackResult(x, none.bool(), none, Cost(), x.new_zeros(0, 4))
        watch = Stopwatch(x.device)
        with untouched(model), private_randomness(draws, x.device):
            search = _SpatialSearch(model, self.threat, x, y.long(), target, draws)
            if self.search == "gradient":
                PGD(_PARTS, steps=self.steps).search(search)
            else:
                self._try(search)
        parameters = search.parameters(search.worst)
        return AttackResult(
            x=self.threat.warp(x, parameters),
            success=search.success,
            distance=search.worst.abs().amax(1),
            cost=Cost(search.forwards, search.backwards, watch.seconds()),
            queries=search.queries,
            parameters=parameters,
        )

    def _try(self, search: Search) -> None:
        grid = self._grid() if self.search == "grid" else [None] * self.samples
        for number, place in enumerate(grid):
            rows = search.standing()
            if len(rows) == 0:
                return
            clean = search.x[rows]
            if place is None:
                parts = _PARTS.sample(clean, search.draws.fold(number).of(rows))
            else:
                parts = clean + clean.new_tensor(place)
            search.logits(parts, rows)

    def _grid(self) -> list[tuple[float, ...]]:
        """Places along each axis that has a limit, small transformations first."""
        counts = (self.rotations, self.shifts, self.shifts, self.zooms)
        axes = [
            _places(count) if limit else [0.0]
            for count, limit in zip(counts, self.threat.limits, strict=True)
        ]
        return sorted(itertools.product(*axes), key=lambda place: math.hypot(*place))


def _places(count: int) -> list[float]:
    """Evenly over [-1, 1]; a single one in the middle."""
    return [2 * k / (count - 1) - 1 for k in range(count)] if count > 1 else [0.0]
