"""The learning-rate range test."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
from collections.abc import Sequence

from torch import nn

from ...data import Augmentation, Dataset
from ...objectives import Objective
from ...penalties import Penalty
from ...weights import WeightSearch
from .._fit import fit
from .._kinds import check_kinds
from .._optimizers import SGD, Optimizer
from .._schedules import Progress, Schedule
from .._settings import Precision
from .._trainer import TrainingDiverged
from .._validation import Validation

#: Weight of the past in the smoothed loss.
_SMOOTHING = 0.9
#: The test ends where the smoothed loss is this many times its lowest.
_DIVERGED = 4.0


@dataclasses.dataclass(frozen=True)
class LearningRateRange:
    """Loss against a learning rate that rises from step to step.

    Attributes:
        rates: Learning rate of each step.
        losses: What each step descended, before the step.
        smoothed: Its exponential moving average without the bias of the start.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def smoothed(self) -> tuple[float, ...]:
        found, mean = [], 0.0
        for step, loss in enumerate(self.losses, start=1):
            mean = _SMOOTHING * mean + (1 - _SMOOTHING) * loss
            found.append(mean / (1 - _SMOOTHING**step))
        return tuple(found)

    @property
    def highest(self) -> float:
        """The rate where the smoothed loss is lowest: above it the loss rises."""
        smoothed = self.smoothed
        return self.rates[smoothed.index(min(smoothed))]

    @property
    def suggested(self) -> float:
        """A tenth of `highest`: the loss still falls fast there, with room to divergence."""
        return self.highest / 10

    @property
    def turned(self) -> bool:
        """Whether the loss rose again, so that higher rates are known to be worse."""
        return self.highest < self.rates[-1]

    def __repr__(self) -> str:
        return (
            f"LearningRateRange: {self.rates[0]:.3g} to {self.rates[-1]:.3g} in "
            f"{len(self.rates)} steps, lowest loss at {self.highest:.3g}; suggested "
            f"{self.suggested:.2g}"
        )


def learning_rate_range(
    model: nn.Module,
    data: Dataset,
    *,
    objective: Objective | None = None,
    penalty: Penalty | None = None,
    weights: WeightSearch | None = None,
    optimizer: Optimizer | None = None,
    lowest: float = 1e-5,
    highest: float = 10.0,
    steps: int = 100,
    batch_size: int = 128,
    clip: float | None = None,
    augment: Sequence[Augmentation] = (),
    balanced: bool = False,
    precision: Precision = "float32",
    seed: int = 0,
    device: str | None = None,
) -> LearningRateRange:
    """Trains a copy of a model with an ever higher learning rate, to see which one suits it.

    `rate(k) = lowest (highest / lowest)^(k / (steps - 1))`, one step a rate, until the smoothed
    loss is four times its lowest or no number. Smith (2017) raises the rate linearly and reads
    validation accuracy; the exponential rise over training losses, 100 steps and the end at four
    times the lowest loss are those of Gugger (2018) and fastai, and so is the suggestion, a tenth
    of the rate with the lowest loss. fastai smoothes with 0.98 and begins at 1e-7; we smooth with
    0.9, as 0.98 lags 50 steps behind.

    It costs `steps` training steps. The model, its buffers and modes and the global randomness
    are left as they were; the test and validation splits are not judged by.

    Args:
        model, data, objective, penalty, weights, batch_size, clip, augment, balanced, precision,
            seed, device: As those of `fit`.
        optimizer: Its learning rate has no effect; None: `SGD()`.
        lowest, highest: Learning rates to begin and to end with.
        steps: How many.

    Raises:
        ValueError: The rates or steps are out of range, or what `fit` would raise.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> found = brolly.learning_rate_range(model, data, steps=60)
        >>> 0.001 < found.suggested < 1
        True
    """
    if not 0 < lowest < highest < math.inf or steps < 10:
        raise ValueError(
            f"lowest is {lowest:g}, highest is {highest:g}, steps is {steps}; expected "
            "0 < lowest < highest and 10 steps or more"
        )
    check_kinds(
        model=model, data=data, objective=objective, penalty=penalty, weights=weights,
        optimizer=optimizer, augment=augment,
    )  # fmt: skip
    optimizer = optimizer or SGD()
    recorder = _Recorder(steps)
    rise = _Rising(optimizer.lr, lowest, highest, steps)
    with contextlib.suppress(_Enough, TrainingDiverged):
        fit(
            copy.deepcopy(model), data, objective=objective, penalty=penalty,
            weights=weights, optimizer=optimizer, schedule=rise, epochs=steps,
            batch_size=batch_size, clip=clip, augment=augment, balanced=balanced,
            precision=precision, validation=Validation(examples=1, train_examples=0, steps=1),
            select_by="clean", seed=seed, device=device, on_step=recorder.stepped,
        )  # fmt: skip
    rates = [rise.rate(step) for step in range(len(recorder.losses))]
    found = LearningRateRange(tuple(rates), tuple(recorder.losses))
    if len(rates) < 2 or found.highest == lowest:
        raise ValueError(
            f"the loss never fell from its first value on, at learning rates from {lowest:g}; "
            "begin lower (lowest=...), take more steps (steps=...), or use a network that is not "
            "trained yet"
        )
    return found


class _Enough(Exception):
    """The test has seen what it wanted."""


class _Recorder:
    """The loss of each step, until there are enough of them or they run away."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self.losses: list[float] = []

    def stepped(self, done: int, steps: int, loss: float) -> None:
        self.losses.append(loss)
        smoothed = LearningRateRange((), tuple(self.losses)).smoothed
        if len(self.losses) == self._steps or smoothed[-1] > _DIVERGED * min(smoothed):
            raise _Enough


@dataclasses.dataclass(frozen=True)
class _Rising(Schedule):
    """From `lowest` to `highest` along an exponential, whatever the optimiser's own rate is."""

    base: float
    lowest: float
    highest: float
    steps: int

    def rate(self, step: int) -> float:
        return self.lowest * (self.highest / self.lowest) ** (step / (self.steps - 1))

    def factor(self, progress: Progress) -> float:
        return self.rate(progress.step) / self.base
