"""What all attacks share: input gradients, the worst input so far, who still stands, the cost."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from .._draws import Draws
from .._untouched import Mode as Mode
from .._untouched import input_gradient as input_gradient
from .._untouched import private_randomness as private_randomness
from .._untouched import untouched as untouched
from ..losses import margin
from ..models import check_logits
from ..threats import Threat

#: Loss of some rows: `loss(logits, rows)` with logits `(len(rows), classes)` -> `(len(rows),)`.
RowLoss = Callable[[Tensor, Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class Cost:
    """Work done: examples pushed forward, examples pushed back to the input, seconds."""

    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.forwards + other.forwards,
            self.backwards + other.backwards,
            self.seconds + other.seconds,
        )


@dataclasses.dataclass(frozen=True)
class AttackResult:
    """What an attack found.

    Attributes:
        x: The worst input found for each example, `(batch, ...)`, inside the threat.
        success: Whether that input reaches the goal, `(batch,)`. NaN logits count as reached.
        distance: Distance of `x` from the clean input in the norm of the threat, `(batch,)`.
        cost: What it took.
        parameters: Of the transformation that made `x`, `(batch, ...)`, where an attack searches
            those: `threat.warp(clean, parameters)` is `x`. None of attacks on the values.
    """

    x: Float[Tensor, "batch *shape"]
    success: Bool[Tensor, " batch"]
    distance: Float[Tensor, " batch"]
    cost: Cost
    parameters: Tensor | None = None
    queries: Int[Tensor, " batch"] | None = None

    def curve(self, epsilons: Sequence[float]) -> list[float]:
        """Part of the batch that holds at each radius, by the distances that were found.

        Of an attack that looks for the nearest adversarial input this is the whole robustness
        curve from one run; of any other it is an upper bound of it.

        Example:
            >>> import torch, brolly
            >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
            >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
            >>> result = brolly.DDN(brolly.L2(float("inf")))(model, x, y)
            >>> len(result.curve([0, 0.1, 0.5]))
            3
        """
        broken = [(self.success & (self.distance <= eps)).double().mean() for eps in epsilons]
        return [1 - float(part) for part in broken]


class Point(NamedTuple):
    """What a search learns at candidates for some rows.

    Attributes:
        value: Loss of each, `(rows,)`.
        gradient: Its gradient in the input, `(rows, ...)`.
        logits: `(rows, classes)`.
        reached: Whether each reaches the goal, `(rows,)`.
    """

    value: Tensor
    gradient: Tensor
    logits: Tensor
    reached: Tensor


class Search:
    """The state of one attack on one batch.

    An attack asks it for logits and gradients at inputs it likes to try; the search sees all of
    them and keeps the worst one of each example. Rows are positions in the batch; fooled rows
    are to be left out of later requests, which `drop_fooled` does.

    The candidates of an attack that `roams` may lie outside the ball; those count for nothing
    there. Where it looks for the `nearest` adversarial input, the worst is the nearest one inside
    the threat, and no row is fooled for good. A request names no row twice.

    Attributes:
        x: Clean inputs, `(batch, ...)`.
        y: Labels, `(batch,)`.
        target: Classes to reach, `(batch,)`, or None when any wrong class will do.
        worst: The worst inputs so far: the first (or nearest) that fooled the model, or the
            highest margin.
        success: Rows that have reached the goal.
        fooled: Rows that need no further work.
        clean_logits: Logits at `x`.
        samples: Forward passes that are averaged, for models that draw random numbers.
        queries: Forward passes spent on each row, `(batch,)`.
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
        roams: bool = False,
        nearest: bool = False,
    ) -> None:
        self.threat, self.x, self.y, self.target, self.draws = threat, x, y, target, draws
        self.nearest = nearest
        self._model, self._roams = model, roams
        self._to_the_end = False
        self.forwards = self.backwards = 0
        self.queries = torch.zeros(len(x), dtype=torch.long, device=x.device)
        self.average_over(1)

    def average_over(self, samples: int) -> None:
        """Begins again with the clean inputs; every pass is a mean over `samples` from now on."""
        x, self.samples = self.x, samples
        self.worst = x.clone()
        self.success = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self.fooled = self.success.clone()
        rows = torch.arange(len(x), device=x.device)
        with torch.no_grad():
            self.clean_logits = self._mean_logits(x, rows)
        self._check_classes(self.clean_logits.shape[1])
        self._worst_margin = self.clean_logits.new_full((len(x),), -torch.inf)
        self._distance = torch.full_like(x.flatten(1)[:, 0], torch.inf) if self._roams else None
        self._judge(x, self.clean_logits, rows)
        self.fooled |= self.success

    def to_the_end(self) -> None:
        """Nobody counts as fooled from now on: the worst has the highest margin of all tried.

        For attacks on a stand-in for the model that is meant, whose first error proves little.
        """
        self._to_the_end, self.nearest = True, False
        self.fooled = torch.zeros_like(self.fooled)

    def row_loss(self, loss: Callable[[Tensor, Tensor], Tensor]) -> RowLoss:
        """`loss` of the label to climb or, with a target, of the target to descend."""
        y, target = self.y, self.target
        if target is None:
            return lambda logits, rows: loss(logits, y[rows])
        return lambda logits, rows: -loss(logits, target[rows])

    def likely_wrong_classes(self) -> Int[Tensor, "batch others"]:
        """All classes but the label, the one with the highest clean logit first."""
        wrong = self.clean_logits.scatter(1, self.y[:, None], -torch.inf)
        return wrong.argsort(dim=1, descending=True, stable=True)[:, :-1]

    def standing(self) -> Int[Tensor, " rows"]:
        """Rows that are not fooled yet."""
        return (~self.fooled).nonzero()[:, 0]

    def logits(self, x: Tensor, rows: Tensor) -> Float[Tensor, "rows classes *places"]:
        """Logits of candidates `x` for `rows`; the candidates are judged."""
        x = self._free(x, rows)
        with torch.no_grad():
            logits = self._mean_logits(x, rows)
        self._judge(x, logits, rows)
        return logits

    def reached(self, logits: Tensor, rows: Tensor) -> Bool[Tensor, " rows"]:
        """Where logits of `rows` reach the goal."""
        return goal_reached(
            logits, self.y[rows], None if self.target is None else self.target[rows]
        )

    def at(self, x: Tensor, rows: Tensor, loss: RowLoss, judge: bool = True) -> Point:
        """Loss of candidates `x` for `rows`, its gradient and the logits; they are judged.

        With `judge=False` they are no candidates, and need not be in the threat.
        """
        x = self._free(x, rows)
        values, gradients, outputs = [], [], []
        for _ in range(self.samples):
            with torch.enable_grad():
                leaf = x.detach().requires_grad_()
                logits = self._forward(leaf, rows)
                value = loss(logits, rows)
                gradients.append(input_gradient(value, leaf))
            values.append(value.detach())
            outputs.append(logits.detach())
            self.backwards += len(x)
        logits = _mean(outputs)
        reached = self._judge(x.detach(), logits, rows) if judge else self.reached(logits, rows)
        return Point(_mean(values), self._steerable(_mean(gradients)), logits, reached)

    def jacobian(
        self, x: Tensor, rows: Tensor, outputs: Callable[[Tensor], Tensor]
    ) -> tuple[Float[Tensor, "rows outputs"], Float[Tensor, "rows outputs *shape"], Tensor]:
        """Several functions of the logits at candidates `x`, and the gradient of each.

        Args:
            x: Candidates; they are judged.
            rows: Rows they belong to.
            outputs: Maps logits `(rows, classes)` to `(rows, outputs)`.

        Returns:
            Values, gradients, and whether each candidate reaches the goal.
        """
        x = self._free(x, rows)
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for _ in range(self.samples):
            with torch.enable_grad():
                leaf = x.detach().requires_grad_()
                logits = self._forward(leaf, rows)
                values = outputs(logits)
                count = values.shape[1]
                gradients = [
                    input_gradient(values[:, k], leaf, keep_graph=k < count - 1)
                    for k in range(count)
                ]
            self.backwards += count * len(x)
            parts.append((values.detach(), torch.stack(gradients, 1), logits.detach()))
        values, jacobian, logits = (_mean(part) for part in zip(*parts, strict=True))
        return values, self._steerable(jacobian), self._judge(x.detach(), logits, rows)

    def drop_fooled(self, rows: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """`rows` and the tensors that go along with them, without the fooled ones."""
        standing = ~self.fooled[rows]
        if standing.all():
            return rows, *state
        return rows[standing], *(tensor[standing] for tensor in state)

    def _free(self, x: Tensor, rows: Tensor) -> Tensor:
        """Candidates with the clean values where the threat lets nothing change."""
        mask = self.threat.mask
        return x if mask is None else torch.where(mask.to(x.device), x, self.x[rows])

    def _steerable(self, gradient: Tensor) -> Tensor:
        """The gradient in the values that may change."""
        mask = self.threat.mask
        return gradient if mask is None else gradient * mask.to(gradient.device)

    def _mean_logits(self, x: Tensor, rows: Tensor) -> Tensor:
        return _mean([self._forward(x, rows) for _ in range(self.samples)])

    def _forward(self, x: Tensor, rows: Tensor) -> Tensor:
        """Logits at candidates `x`; `rows` are for searches whose model needs to know them."""
        logits = self._model(x)
        self.forwards += len(x)
        self.queries[rows] += 1
        self._check_logits(logits, x)
        return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits

    def _check_logits(self, logits: object, x: Tensor) -> None:
        check_logits(logits, len(x))

    def _check_classes(self, classes: int) -> None:
        check_labels(self.y, classes, "label")
        if self.target is not None:
            check_labels(self.target, classes, "target")

    def _closeness(self, logits: Tensor, rows: Tensor) -> Tensor:
        """How near logits of `rows` are to the goal; of failures, the nearest is kept."""
        if self.target is None:
            return margin(logits, self.y[rows])
        return -margin(logits, self.target[rows])

    def _judge(self, x: Tensor, logits: Tensor, rows: Tensor) -> Tensor:
        """Keeps the worst; returns which candidates reach the goal."""
        reached, closeness = self.reached(logits, rows), self._closeness(logits, rows)
        worse = closeness > self._worst_margin[rows]
        if not self._to_the_end:
            worse = (reached | worse) & ~self.success[rows]
        if self._distance is not None:
            distance = self.threat.distance(x, self.x[rows])
            nearer = reached & (distance < self._distance[rows])
            limit = self.threat.eps + self.threat.slack(x.shape[1:])
            worse = (worse | (nearer & self.nearest)) & (distance <= limit)
            self._distance[rows[worse & reached]] = distance[worse & reached]
        replaced = rows[worse]
        self.worst[replaced] = x[worse]
        self._worst_margin[replaced] = closeness[worse].to(self._worst_margin.dtype)
        self.success[replaced] = reached[worse]
        if not (self.nearest or self._to_the_end):
            self.fooled[replaced] = reached[worse]
        return reached


def _mean(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(tuple(parts)).mean(0)


def goal_reached(logits: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """Where the prediction is wrong (or is the target); NaN logits count as reached."""
    prediction = logits.argmax(1)
    reached = prediction != y if target is None else prediction == target
    return reached | logits.isnan().any(1)


def check_labels(y: Tensor, classes: int, name: str) -> None:
    """Raises ValueError where a class is outside `0 .. classes - 1`."""
    wrong = (y < 0) | (y >= classes)
    if wrong.any():
        row = int(wrong.nonzero()[0, 0])
        raise ValueError(
            f"{name} {int(y[wrong][0])} at position {row} is out of range; the model has {classes} "
            f"classes, so expected 0 to {classes - 1}"
        )


def check_integers(values: Tensor, x: Tensor, name: str) -> None:
    """Raises ValueError where `values` are not one integer per example of `x`."""
    if values.ndim != 1 or len(values) != len(x):
        raise ValueError(
            f"{name} have shape {tuple(values.shape)} for inputs of shape {tuple(x.shape)}; "
            f"expected ({len(x)},): one integer per example"
        )
    if values.is_floating_point() or values.dtype == torch.bool:
        raise ValueError(f"{name} are {values.dtype}; expected integers. Convert with .long()")


def check_batch(model: nn.Module, threat: Threat, x: Tensor) -> None:
    """Raises ValueError where inputs do not fit the threat or the model."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"the model is a {type(model).__name__}; expected a torch.nn.Module")
    threat.check_inputs(x)
    home = next(model.parameters(), None)
    if home is not None and home.device.type != x.device.type:
        raise ValueError(
            f"inputs are on {x.device}, the model is on {home.device}; "
            f"move one of them: x.to({str(home.device)!r})"
        )


class Stopwatch:
    """Seconds since it was made, waiting for the device's queue to empty."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._start = self._now()

    def seconds(self) -> float:
        return self._now() - self._start

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()
