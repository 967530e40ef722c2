"""Learning-rate schedules: pure functions of where training stands."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Callable, Sequence

from .._lengths import Length, check_length, parse_length
from .._ranges import check_range


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where training stands.

    Attributes:
        step: Steps done.
        steps: Steps in all.
        steps_per_epoch: Steps in an epoch.
        scores: The validation metric after each epoch done, larger is better.
    """

    step: int
    steps: int
    steps_per_epoch: int
    scores: Sequence[float] = ()


@dataclasses.dataclass(frozen=True)
class Schedule(abc.ABC):
    """Gives the factor on the learning rate before each step."""

    @property
    def watches(self) -> bool:
        """Whether it goes by the validation metric."""
        return False

    @abc.abstractmethod
    def factor(self, progress: Progress) -> float:
        """What to multiply the optimiser's learning rate by."""


@dataclasses.dataclass(frozen=True)
class Constant(Schedule):
    """The same learning rate throughout."""

    def factor(self, progress: Progress) -> float:
        return 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step(Schedule):
    """Multiplies the learning rate by `gamma` every so often, as torch's `StepLR`.

    Args:
        every: Epochs, or a text such as `"500 steps"`.
        gamma: Factor.
    """

    every: Length
    gamma: float = 0.1

    def __post_init__(self) -> None:
        check_length("(0, inf)", every=self.every)
        check_range("(0, 1]", gamma=self.gamma)

    def factor(self, progress: Progress) -> float:
        every = max(parse_length(self.every, progress.steps_per_epoch), 1)
        return self.gamma ** (progress.step // every)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiStep(Schedule):
    """Multiplies the learning rate by `gamma` at given times, as torch's `MultiStepLR`.

    Args:
        at: Times since the start: epochs, or texts such as `"500 steps"`.
        gamma: Factor.
    """

    at: Sequence[Length]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        for time in self.at:
            check_length("[0, inf)", at=time)
        if not self.at:
            raise ValueError("at is empty; expected a time or more, such as [10, '500 steps']")
        check_range("(0, 1]", gamma=self.gamma)

    def factor(self, progress: Progress) -> float:
        times = [parse_length(time, progress.steps_per_epoch) for time in self.at]
        return self.gamma ** sum(progress.step >= time for time in times)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exponential(Schedule):
    """Falls by the factor `gamma` in each stretch, a little at every step.

    With `every="1 steps"` it is torch's `ExponentialLR` stepped with the optimiser; after whole
    epochs, with `every=1`, it is where `ExponentialLR` stepped once an epoch is.

    Args:
        gamma: Factor.
        every: The stretch: epochs, or a text such as `"500 steps"`.
    """

    gamma: float = 0.95
    every: Length = 1

    def __post_init__(self) -> None:
        check_length("(0, inf)", every=self.every)
        check_range("(0, 1]", gamma=self.gamma)

    def factor(self, progress: Progress) -> float:
        every = max(parse_length(self.every, progress.steps_per_epoch), 1)
        return self.gamma ** (progress.step / every)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Half a cosine from the full learning rate to `end` of it, after a linear warm-up.

    Without warm-up it is torch's `CosineAnnealingLR` over the whole run.

    Args:
        warmup: Epochs, or a text such as `"500 steps"`.
        end: Part of the learning rate that is left at the end.
    """

    warmup: Length = 0
    end: float = 0.0

    def __post_init__(self) -> None:
        check_length("[0, inf)", warmup=self.warmup)
        check_range("[0, 1]", end=self.end)

    def factor(self, progress: Progress) -> float:
        return _warmed_up(
            progress, self.warmup, lambda rest: _anneal(1.0, self.end, rest.step / rest.steps)
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmRestarts(Schedule):
    """Half a cosine again and again (SGDR, Loshchilov & Hutter 2017), as torch's
    `CosineAnnealingWarmRestarts`.

    Args:
        period: Length of the first: epochs, or a text such as `"500 steps"`.
        growth: How many times as long as the one before each next one is; 1 or 2 in the paper.
        end: Part of the learning rate that is left before a restart.
    """

    period: Length
    growth: int = 1
    end: float = 0.0

    def __post_init__(self) -> None:
        check_length("(0, inf)", period=self.period)
        check_range("[1, inf)", growth=self.growth)
        check_range("[0, 1]", end=self.end)

    def factor(self, progress: Progress) -> float:
        period = max(parse_length(self.period, progress.steps_per_epoch), 1)
        step = progress.step
        while step >= period:
            step, period = step - period, period * self.growth
        return _anneal(1.0, self.end, step / period)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear(Schedule):
    """A line over the whole run, as torch's `LinearLR`.

    Args:
        start: Part of the learning rate to begin with.
        end: Part of the learning rate that is left at the end.
    """

    start: float = 1.0
    end: float = 0.0

    def __post_init__(self) -> None:
        check_range("[0, 1]", start=self.start, end=self.end)

    def factor(self, progress: Progress) -> float:
        return self.start + (self.end - self.start) * progress.step / progress.steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class Polynomial(Schedule):
    """A power of the part of the run that is left, as torch's `PolynomialLR`.

    Args:
        power: 0.9 is usual for segmentation (Chen et al. 2018, DeepLab); 1 is a line.
    """

    power: float = 0.9

    def __post_init__(self) -> None:
        check_range("(0, inf)", power=self.power)

    def factor(self, progress: Progress) -> float:
        return (1 - progress.step / progress.steps) ** self.power


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneCycle(Schedule):
    """Up and down again over the whole run (Smith & Topin 2018).

    As torch's `OneCycleLR` with `cycle_momentum=False`: momentum stays what the optimiser's is,
    while torch by default, like the paper, moves it against the learning rate.

    Args:
        warmup: Part of the run that goes up.
        start: Part of the learning rate to begin with.
        end: Part of the learning rate to finish with.
        linear: Whether to move along lines or half cosines.
    """

    warmup: float = 0.3
    start: float = 0.04
    end: float = 4e-6
    linear: bool = False

    def __post_init__(self) -> None:
        check_range("(0, 1)", warmup=self.warmup)
        check_range("[0, 1]", start=self.start, end=self.end)

    def factor(self, progress: Progress) -> float:
        peak = self.warmup * progress.steps - 1
        if progress.step <= peak:
            return self._between(self.start, 1.0, progress.step / max(peak, 1))
        part = (progress.step - peak) / max(progress.steps - 1 - peak, 1)
        return self._between(1.0, self.end, part)

    def _between(self, first: float, last: float, part: float) -> float:
        return first + (last - first) * part if self.linear else _anneal(first, last, part)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plateau(Schedule):
    """Multiplies the learning rate by `gamma` when the validation metric stops rising.

    The metric is the one that picks the best epoch: robust or clean accuracy, as `select_by`
    says. As torch's `ReduceLROnPlateau` in mode `max` with an absolute threshold of 0.

    Args:
        patience: Checks without a new best score that are put up with.
        gamma: Factor.
    """

    patience: int = 3
    gamma: float = 0.1

    def __post_init__(self) -> None:
        check_range("[0, inf)", patience=self.patience)
        check_range("(0, 1)", gamma=self.gamma)

    @property
    def watches(self) -> bool:
        return True

    def factor(self, progress: Progress) -> float:
        best, waited, drops = -math.inf, 0, 0
        for score in progress.scores:
            waited = 0 if score > best else waited + 1
            best = max(best, score)
            if waited > self.patience:
                waited, drops = 0, drops + 1
        return self.gamma**drops


@dataclasses.dataclass(frozen=True, kw_only=True)
class Warmup(Schedule):
    """A line from next to nothing up to where another schedule begins; then that schedule.

    The other schedule knows nothing of the warm-up: its times and its run count from the end of
    it, as in torch's `SequentialLR` of a `LinearLR` and the other. `Plateau` alone counts from the
    start: checks without a new best during the warm-up are put up with as later ones are.

    Args:
        length: Of the warm-up: epochs, or a text such as `"500 steps"`; 5 epochs in Goyal et al.
            (2017).
        then: The schedule that follows.

    Raises:
        ValueError: The length is no length, or `then` is a warm-up itself.

    Example:
        >>> from brolly.training import Progress, Step, Warmup
        >>> schedule = Warmup(length="2 steps", then=Step(every="3 steps"))
        >>> [schedule.factor(Progress(step, 6, 6)) for step in range(6)]
        [0.5, 1.0, 1.0, 1.0, 1.0, 0.1]
    """

    length: Length
    then: Schedule

    def __post_init__(self) -> None:
        check_length("[0, inf)", length=self.length)
        if isinstance(self.then, Warmup):
            raise ValueError("then is a Warmup itself; add its length to this one")

    @property
    def watches(self) -> bool:
        return self.then.watches

    def factor(self, progress: Progress) -> float:
        return _warmed_up(progress, self.length, self.then.factor)


def _warmed_up(progress: Progress, length: Length, factor: Callable[[Progress], float]) -> float:
    """A line up to where `factor` begins, which then has the rest of the run to itself."""
    warmup = parse_length(length, progress.steps_per_epoch)
    rest = dataclasses.replace(
        progress, step=max(progress.step - warmup, 0), steps=max(progress.steps - warmup, 1)
    )
    return factor(rest) * min((progress.step + 1) / max(warmup, 1), 1.0)


def _anneal(first: float, last: float, part: float) -> float:
    return last + (first - last) / 2 * (1 + math.cos(math.pi * part))
