"""Attacks on models that label every pixel."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from .._draws import Draws
from ..losses import cross_entropy
from ..threats import Threat
from ._apgd import APGD
from ._attack import Attack, check_counts
from ._engine import (
    AttackResult,
    Cost,
    RowLoss,
    Search,
    Stopwatch,
    check_batch,
    check_labels,
    goal_reached,
    private_randomness,
    untouched,
)
from ._fgsm import FGSM
from ._pgd import PGD


class DenseSearch(Search):
    """A search where logits are `(batch, classes, ...)` and labels `(batch, ...)`.

    The worst input has the largest part of its pixels wrong (or, with a target, as the target
    says); it reaches the goal where that part is above `broken`. The loss of an image is the mean
    over its pixels. Pixels whose label is `ignore` count nowhere.
    """

    def __init__(
        self,
        model: nn.Module,
        threat: Threat,
        x: Tensor,
        y: Tensor,
        target: Tensor | None,
        draws: Draws,
        *,
        ignore: int,
        broken: float,
    ) -> None:
        self._counts, self._broken = y != ignore, broken
        # Any class will do where it does not count.
        y = y.masked_fill(~self._counts, 0)
        target = None if target is None else target.masked_fill(~self._counts, 0)
        super().__init__(model, threat, x, y, target, draws)

    def row_loss(self, loss: Callable[[Tensor, Tensor], Tensor]) -> RowLoss:
        """The mean over pixels of `loss`, a function of `(pixels, classes)` and classes."""
        return lambda logits, rows: self.mean(self.pixel_loss(logits, rows, loss), rows)

    def pixel_loss(
        self, logits: Tensor, rows: Tensor, loss: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """`loss` of every pixel to climb: of its label, or its target's with the sign turned."""
        goal = self.y[rows] if self.target is None else self.target[rows]
        pixels = logits.movedim(1, -1).flatten(0, -2)
        value = loss(pixels, goal.flatten()).reshape(goal.shape)
        return value if self.target is None else -value

    def mean(self, values: Tensor, rows: Tensor) -> Tensor:
        """Mean of each image over the pixels that count."""
        counts = self._counts[rows].flatten(1)
        total = values.flatten(1).masked_fill(~counts, 0).sum(1)
        return total / counts.sum(1).clamp_min(1)

    def hit(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Which pixels are wrong (or as the target says); NaN logits are."""
        target = None if self.target is None else self.target[rows]
        return goal_reached(logits, self.y[rows], target)

    def reached(self, logits: Tensor, rows: Tensor) -> Tensor:
        return self._closeness(logits, rows) > self._broken

    def likely_wrong_classes(self) -> Tensor:
        raise ValueError("dense output has no order of wrong classes; use PGD, APGD or SegPGD")

    def _closeness(self, logits: Tensor, rows: Tensor) -> Tensor:
        return self.mean(self.hit(logits, rows).to(logits.dtype), rows)

    def _check_logits(self, logits: object, x: Tensor) -> None:
        if not isinstance(logits, Tensor):
            raise ValueError(
                f"the model returned a {type(logits).__name__}; expected one tensor of logits"
            )
        sizes = tuple(self.y.shape[1:])
        if (
            logits.ndim != 2 + len(sizes)
            or (len(logits), *logits.shape[2:]) != (len(x), *sizes)
            or logits.shape[1] < 2
        ):
            raise ValueError(
                f"the model returned shape {tuple(logits.shape)} for a batch of {len(x)} and "
                f"labels of shape {sizes}; expected ({len(x)}, classes, "
                f"{', '.join(map(str, sizes))}) with at least 2 classes. Resize inside the model"
            )

    def _check_classes(self, classes: int) -> None:
        check_labels(self.y, classes, "label")
        if self.target is not None:
            check_labels(self.target, classes, "target")


@dataclasses.dataclass(frozen=True)
class Dense:
    """An attack on a model whose output is dense, as in segmentation.

    Logits are `(batch, classes, h, w)`, labels `(batch, h, w)`. An image is broken, and its search
    ends, when the part of its pixels that are wrong is above `broken`; with a target, when the
    part that is as the target says is. Among the inputs tried, the one with the largest part is
    kept. Per-pixel verdicts come from the model itself: `model(result.x).argmax(1) != y`.

    Args:
        attack: `PGD`, `FGSM`, `APGD` or `SegPGD`; its loss is taken per pixel and averaged.
        broken: Part of the pixels above which an image is broken: more than half. Near 1, such as
            0.999, the search goes on for as many wrong pixels as there can be.
        ignore: Label of pixels that count nowhere; 255 is common too.

    Raises:
        ValueError: The attack does not work on dense output, or `broken` is not a part below 1.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Conv2d(3, 4, 1)
        >>> x, y = torch.rand(2, 3, 8, 8), torch.zeros(2, 8, 8).long()
        >>> brolly.Dense(brolly.SegPGD(brolly.Linf(8 / 255)))(model, x, y).success.shape
        torch.Size([2])
    """

    attack: Attack
    _: dataclasses.KW_ONLY
    broken: float = 0.5
    ignore: int = -100

    def __post_init__(self) -> None:
        if not isinstance(self.attack, (PGD, FGSM, APGD, SegPGD)):
            raise ValueError(
                f"{type(self.attack).__name__} does not work on dense output; expected PGD, FGSM, "
                "APGD or SegPGD"
            )
        if not 0 <= self.broken < 1:
            raise ValueError(f"broken is {self.broken}; expected a part, 0 or more and below 1")

    @property
    def name(self) -> str:
        return self.attack.name

    @property
    def threat(self) -> Threat:
        return self.attack.threat

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
        """Attacks a batch.

        Args:
            model: Maps inputs to logits `(batch, classes, ...)`.
            x: Clean inputs, `(batch, ...)`.
            y: Label of every pixel, `(batch, ...)`.
            target: Class every pixel is to be taken for, shaped as `y`; None: any wrong class.
            generator: Source of randomness; None: seed 0.
            index: Index of each example in its data set, `(batch,)`; None: 0, 1, ...

        Raises:
            ValueError: Inputs, labels or logits do not fit the threat or each other.
        """
        x = x.detach().clone() if x.is_inference() else x.detach()
        check_batch(model, self.threat, x)
        _check_maps(y, y, x, "labels")
        if target is not None:
            _check_maps(target, y, x, "targets")
            if isinstance(self.attack, APGD) and self.attack.loss == "dlr":
                raise ValueError(
                    "APGD with loss 'dlr' has no dense target; expected loss='ce' with one"
                )
            target = target.long()
        if index is None:
            index = torch.arange(len(x), device=x.device)
        draws = Draws.from_generator(generator, index.to(x.device))
        if len(x) == 0:
            none = torch.zeros(0, device=x.device)
            return AttackResult(x, none.bool(), none, Cost())
        watch = Stopwatch(x.device)
        with untouched(model), private_randomness(draws, x.device):
            search = DenseSearch(
                model, self.threat, x, y.long(), target, draws,
                ignore=self.ignore, broken=self.broken,
            )  # fmt: skip
            if not search.fooled.all():
                self.attack.search(search)
        return AttackResult(
            x=search.worst,
            success=search.success,
            distance=self.threat.distance(search.worst, x),
            cost=Cost(search.forwards, search.backwards, watch.seconds()),
            queries=search.queries,
        )


@dataclasses.dataclass(frozen=True)
class SegPGD(Attack):
    r"""PGD on the pixels of a segmentation (Gu et al. 2022); call it as `Dense(SegPGD(...))`.

    In step t of T, the cross-entropy of pixels that are wrong already is weighted with
    :math:`\lambda = (t - 1) / (2 T)`, that of the others with :math:`1 - \lambda`: first the
    pixels that are still right are worked on, at the end all alike.

    Cost: `steps` forward and backward passes, one forward pass, and one for the clean input.

    Args:
        threat: The perturbations that are allowed.
        steps: Gradient steps; 20 here, 3 to 100 in the paper.
        step_size: Length of a step in input units; None: `2.5 * eps / steps`, at most eps.

    Raises:
        ValueError: `steps` is below 1, or the step is longer than the ball is wide.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Conv2d(3, 4, 1)
        >>> x, y = torch.rand(2, 3, 8, 8), torch.zeros(2, 8, 8).long()
        >>> brolly.Dense(brolly.SegPGD(brolly.Linf(8 / 255), steps=5))(model, x, y).x.shape
        torch.Size([2, 3, 8, 8])
    """

    _: dataclasses.KW_ONLY
    steps: int = 20
    step_size: float | None = None

    kinds: ClassVar[tuple[str, ...]] = ("linf", "l2")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(steps=self.steps)
        PGD(self.threat, steps=self.steps, step_size=self.step_size)

    @property
    def name(self) -> str:
        return "segpgd"

    def search(self, search: Search) -> None:
        if not isinstance(search, DenseSearch):
            raise ValueError("SegPGD works on dense output; write Dense(SegPGD(threat))")
        threat = self.threat
        size = PGD(threat, steps=self.steps, step_size=self.step_size).step
        rows = search.standing()
        clean = search.x[rows]
        x = threat.sample(clean, search.draws.of(rows))
        for step in range(self.steps):
            gradient = search.at(x, rows, _weighted(search, step / (2 * self.steps))).gradient
            rows, x, clean, gradient = search.drop_fooled(rows, x, clean, gradient)
            if len(rows) == 0:
                return
            x = threat.project(x + size * threat.ascend(gradient), clean)
        search.logits(x, rows)


def _weighted(search: DenseSearch, part: float) -> RowLoss:
    """Cross-entropy with the weight `part` where the goal is reached, `1 - part` elsewhere."""

    def loss(logits: Tensor, rows: Tensor) -> Tensor:
        weights = torch.where(search.hit(logits, rows), part, 1 - part)
        return search.mean(weights * search.pixel_loss(logits, rows, cross_entropy), rows)

    return loss


def _check_maps(maps: Tensor, y: Tensor, x: Tensor, name: str) -> None:
    """Raises ValueError where `maps` are not integers of the shape of the labels."""
    if maps.ndim < 2 or len(maps) != len(x) or maps.shape != y.shape:
        raise ValueError(
            f"{name} have shape {tuple(maps.shape)} for inputs of shape {tuple(x.shape)} and "
            f"labels of shape {tuple(y.shape)}; expected ({len(x)}, h, w): one integer per pixel"
        )
    if maps.is_floating_point() or maps.dtype == torch.bool:
        raise ValueError(f"{name} are {maps.dtype}; expected integers. Convert with .long()")
