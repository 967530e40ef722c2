"""What a report asks of a model: budgets, distances, radii that are proved, gradients, the loss."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from .._draws import Draws
from ..attacks import APGD, FMN, Attack, AttackResult, Square
from ..attacks._engine import input_gradient, private_randomness, untouched
from ..certify import Certificate, Unsupported
from ..losses import cross_entropy, margin
from ..threats import Threat
from ._evaluation import Count, CurvePoint
from ._judge import Judge

STEPS = (1, 2, 5, 10, 20, 50, 100)
RESTARTS, STEPS_OF_RESTARTS = 5, 20
QUERIES = (1, 3, 10, 30, 100, 300)
_STEPS_TO_NEAREST = 100
_MULTIPLES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9,
              1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0)  # fmt: skip
_PICTURES, _MOST_VALUES = 6, 100_000
_SURFACES, _SIDE, _EXTENT = 3, 21, 2.0

#: What the examples of a budget curve are attacked with more and more of.
Budget = Literal["steps", "restarts", "queries"]


@dataclasses.dataclass(frozen=True)
class Array:
    """Numbers as JSON holds them: the shape, and float32 (little-endian) in base64."""

    shape: tuple[int, ...]
    data: str

    def __post_init__(self) -> None:
        if 4 * math.prod(self.shape) != len(base64.b64decode(self.data, validate=True)):
            raise ValueError(f"data are not float32 numbers of shape {self.shape}")

    @classmethod
    def of(cls, values: Tensor) -> Array:
        numbers = values.detach().float().cpu().numpy().astype("<f4")
        return cls(tuple(numbers.shape), base64.b64encode(numbers.tobytes()).decode())

    @property
    def values(self) -> np.ndarray:
        """The numbers, in their shape."""
        numbers = np.frombuffer(base64.b64decode(self.data), dtype="<f4")
        return numbers.reshape(self.shape)


@dataclasses.dataclass(frozen=True)
class BudgetPoint:
    """Robust accuracy once so much was spent on each example."""

    budget: int
    robust: Count


@dataclasses.dataclass(frozen=True)
class BudgetCurve:
    """Robust accuracy against what an attack may spend; it never rises.

    Attributes:
        kind: What is spent.
        attack: The attack, in words.
        points: Budgets, rising. An example that broke counts at every larger budget.
    """

    kind: Budget
    attack: str
    points: tuple[BudgetPoint, ...]


@dataclasses.dataclass(frozen=True)
class MinimalDistances:
    """How far each example is from the nearest adversarial input that was found.

    Attributes:
        attack: What looked for it, in words.
        distance: In the norm of the threat, one an example: 0 where the clean input is wrong,
            None where nothing was found. An upper bound of the true distance.
    """

    attack: str
    distance: tuple[float | None, ...]

    def robust(self, eps: float) -> Count:
        """Examples for which nothing was found within a radius."""
        near = sum(d is not None and d <= eps for d in self.distance)
        return Count(len(self.distance) - near, len(self.distance))


@dataclasses.dataclass(frozen=True)
class CertifiedCurve:
    """Certified accuracy against eps: what is proved at each radius."""

    certificate: str
    points: tuple[CurvePoint, ...]


@dataclasses.dataclass(frozen=True)
class InputGradients:
    """Gradients of the cross-entropy in the input, at the first clean inputs.

    Attributes:
        index: Positions in the split.
        label, prediction: Of each.
        inputs, gradients: `(len(index), ...)`.
    """

    index: tuple[int, ...]
    label: tuple[int, ...]
    prediction: tuple[int, ...]
    inputs: Array
    gradients: Array


@dataclasses.dataclass(frozen=True)
class LossSurface:
    """The loss on a square around some inputs: along the gradient, and along a random direction.

    Both directions have the same length in the norm of the threat, and points outside the bounds
    are put onto them. In L0 lengths are Euclidean: 1 is what `eps` changes of full width make.

    Attributes:
        index: Positions in the split: the first examples that are right.
        extent: Half the side of the square, in multiples of eps.
        cross_entropy: `(examples, side, side)`; the first axis is the random direction, the
            second the gradient's, both rising.
        margin: The same of the margin, which is above 0 where the prediction is wrong.
    """

    index: tuple[int, ...]
    extent: float
    cross_entropy: Array
    margin: Array


@dataclasses.dataclass(frozen=True)
class Probe:
    """The examples of a study, and the model; each method measures one part."""

    model: nn.Module
    judge: Judge
    threat: Threat
    x: Tensor
    y: Tensor
    right: Tensor
    batch_size: int
    seed: int

    def budgets(self) -> Iterator[BudgetCurve]:
        """Those that the threat has attacks for."""
        yield self._steps()
        if self.threat.kind in APGD.kinds:
            yield self._restarts()
        if self.threat.kind in Square.kinds:
            yield self._queries()

    def minimal(self) -> MinimalDistances:
        """Distances of the nearest adversarial inputs."""
        attack = FMN(self.threat.with_eps(math.inf), steps=_STEPS_TO_NEAREST)
        distance: list[float | None] = []
        for rows in self._batches(torch.ones_like(self.right)):
            x, y = self.x[rows], self.y[rows]
            found = self._run(attack, rows, 0).x
            broken = self.judge.predict(found) != y
            lengths = self.threat.distance(found.double(), x.double()).tolist()
            distance += [
                length if fooled else None
                for length, fooled in zip(lengths, broken.tolist(), strict=True)
            ]
        for row in (~self.right).nonzero()[:, 0].tolist():
            distance[row] = 0.0
        return MinimalDistances(f"fmn, {_STEPS_TO_NEAREST} steps", tuple(distance))

    def certified(self, model: nn.Module, certificate: Certificate | None) -> CertifiedCurve | None:
        """What is proved of the bare model at rising radii; None where no certificate fits."""
        if certificate is None:
            return None
        proved = self.right.clone()
        points = [CurvePoint(0.0, self._count(proved))]
        for eps in self._radii():
            for rows in self._batches(proved):
                try:
                    proved[rows] = certificate.proves(
                        model, self.x[rows], self.y[rows], self.threat.with_eps(eps)
                    )
                except Unsupported:
                    return None
            points.append(CurvePoint(eps, self._count(proved)))
            if not proved.any():
                break
        return CertifiedCurve(certificate.name, tuple(points))

    def gradients(self) -> InputGradients:
        """Of the first inputs."""
        count = max(1, min(_PICTURES, _MOST_VALUES // self.x[0].numel(), len(self.x)))
        x, y = self.x[:count], self.y[:count]
        gradient, prediction = self._gradient(x, y), self.judge.predict(x)
        return InputGradients(
            tuple(range(count)),
            tuple(y.tolist()),
            tuple(prediction.tolist()),
            Array.of(x),
            Array.of(gradient),
        )

    def surface(self) -> LossSurface | None:
        """Around the first examples that are right; None where there is none."""
        rows = self.right.nonzero()[:_SURFACES, 0]
        if len(rows) == 0:
            return None
        offsets = torch.linspace(-_EXTENT, _EXTENT, _SIDE, device=self.x.device)
        places = torch.cartesian_prod(offsets, offsets).reshape(-1, 2, *[1] * (self.x.ndim - 1))
        aside, along = places.unbind(1)
        entropies, margins = [], []
        for row in rows:
            x, y = self.x[row : row + 1], self.y[row : row + 1]
            steepest = _of_length_eps(self._gradient(x, y), self.threat)
            random = _of_length_eps(Draws(self.seed, row[None]).normal(x), self.threat)
            points = (x + aside * random + along * steepest).clamp(*self.threat.bounds)
            logits = torch.cat([self.judge.logits(part) for part in points.split(self.batch_size)])
            labels = y.expand(len(logits))
            entropies.append(cross_entropy(logits, labels).reshape(_SIDE, _SIDE))
            margins.append(margin(logits, labels).reshape(_SIDE, _SIDE))
        return LossSurface(
            tuple(rows.tolist()),
            _EXTENT,
            Array.of(torch.stack(entropies)),
            Array.of(torch.stack(margins)),
        )

    def _steps(self) -> BudgetCurve:
        known = self.threat.kind in APGD.kinds
        standing, points = self.right.clone(), []
        for steps in STEPS:
            attack = (
                APGD(self.threat, steps=steps)
                if known
                else FMN(self.threat, nearest=False, steps=steps)
            )
            self._attack(attack, standing, self.seed)
            points.append(BudgetPoint(steps, self._count(standing)))
        return BudgetCurve("steps", "apgd-ce" if known else "fmn", tuple(points))

    def _restarts(self) -> BudgetCurve:
        standing, points = self.right.clone(), []
        for restart in range(RESTARTS):
            attack = APGD(self.threat, steps=STEPS_OF_RESTARTS)
            self._attack(attack, standing, self.seed + restart)
            points.append(BudgetPoint(restart + 1, self._count(standing)))
        return BudgetCurve("restarts", f"apgd-ce, {STEPS_OF_RESTARTS} steps", tuple(points))

    def _queries(self) -> BudgetCurve:
        """One search, whose order does not depend on where it is stopped."""
        spent = torch.full_like(self.y, QUERIES[-1] + 1)
        for rows in self._batches(self.right):
            result = self._run(Square(self.threat, queries=QUERIES[-1]), rows, self.seed)
            broken = self._breaks(rows, result.x)
            assert result.queries is not None
            spent[rows[broken]] = result.queries[broken] - 1  # one was the clean input
        points = (
            BudgetPoint(number, self._count(self.right & (spent > number))) for number in QUERIES
        )
        return BudgetCurve("queries", f"square, {QUERIES[-1]} queries", tuple(points))

    def _attack(self, attack: Attack, standing: Tensor, seed: int) -> None:
        """Takes those that an attack breaks out of `standing`."""
        for rows in self._batches(standing):
            broken = self._breaks(rows, self._run(attack, rows, seed).x)
            standing[rows[broken]] = False

    def _run(self, attack: Attack, rows: Tensor, seed: int) -> AttackResult:
        generator = torch.Generator().manual_seed(seed)
        return attack(self.model, self.x[rows], self.y[rows], generator=generator, index=rows)

    def _breaks(self, rows: Tensor, found: Tensor) -> Tensor:
        return self.judge.breaks(self.threat, self.x[rows], self.y[rows], found)[0]

    def _gradient(self, x: Tensor, y: Tensor) -> Tensor:
        draws = Draws(self.seed, torch.arange(1, device=x.device))
        with untouched(self.model), private_randomness(draws, x.device), torch.enable_grad():
            leaf = x.detach().requires_grad_()
            return input_gradient(cross_entropy(self.model(leaf), y), leaf)

    def _radii(self) -> list[float]:
        radii = [multiple * self.threat.eps for multiple in _MULTIPLES]
        if self.threat.order == 0:
            radii = sorted({float(max(1, round(radius))) for radius in radii})
        return [float(f"{r:.10g}") for r in radii if r <= self.threat.diameter(self.x.shape[1:])]

    def _batches(self, wanted: Tensor) -> tuple[Tensor, ...]:
        rows = wanted.nonzero()[:, 0]
        return rows.split(self.batch_size) if len(rows) else ()

    def _count(self, standing: Tensor) -> Count:
        return Count(int(standing.sum()), len(standing))


def _of_length_eps(direction: Tensor, threat: Threat) -> Tensor:
    """A direction of one input as a step of length eps."""
    if threat.order == math.inf:
        return threat.eps * direction.sign()
    order, length = threat.order or 2, threat.eps
    if threat.order == 0:
        length = threat.width * math.sqrt(threat.eps)
    size = torch.linalg.vector_norm(direction, order)
    return length * direction / size.clamp_min(torch.finfo(direction.dtype).tiny)
