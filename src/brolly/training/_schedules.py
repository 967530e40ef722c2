"""Learning-rate schedules: pure functions of where training stands."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Sequence

from .._names import parse_number

#: A stretch of training: a number of epochs (`10`, `2.5`, `"10 epochs"`), or `"500 steps"`.
Length = int | float | str


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
        parse_length(self.every, 1)

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
            parse_length(time, 1)

    def factor(self, progress: Progress) -> float:
        times = [parse_length(time, progress.steps_per_epoch) for time in self.at]
        return self.gamma ** sum(progress.step >= time for time in times)


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
        parse_length(self.warmup, 1)

    def factor(self, progress: Progress) -> float:
        warmup = parse_length(self.warmup, progress.steps_per_epoch)
        if progress.step < warmup:
            return (progress.step + 1) / warmup
        part = (progress.step - warmup) / max(progress.steps - warmup, 1)
        return _anneal(1.0, self.end, part)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneCycle(Schedule):
    """Up and down again over the whole run (Smith & Topin 2018), as torch's `OneCycleLR`.

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
        if not 0 < self.warmup < 1:
            raise ValueError(f"warmup is {self.warmup}; expected a part of the run in (0, 1)")

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

    As torch's `ReduceLROnPlateau` in mode `max` with an absolute threshold of 0.

    Args:
        patience: Epochs without a new best score that are put up with.
        gamma: Factor.
    """

    patience: int = 3
    gamma: float = 0.1

    def factor(self, progress: Progress) -> float:
        best, waited, drops = -math.inf, 0, 0
        for score in progress.scores:
            waited = 0 if score > best else waited + 1
            best = max(best, score)
            if waited > self.patience:
                waited, drops = 0, drops + 1
        return self.gamma**drops


def parse_length(length: Length, steps_per_epoch: int) -> int:
    """Steps in a stretch of training.

    Raises:
        ValueError: It is neither a number of epochs nor a text such as `"500 steps"`.
    """
    number, _, unit = str(length).strip().partition(" ")
    if unit.strip() not in ("", "epoch", "epochs", "step", "steps"):
        raise ValueError(
            f"length {length!r} has an unknown unit; write a number of epochs, for example 10 or "
            "'2.5 epochs', or a number of steps, for example '500 steps'"
        )
    count = parse_number(number)
    if not count >= 0:
        raise ValueError(f"length is {length!r}; expected 0 or more")
    return round(count if unit.strip().startswith("step") else count * steps_per_epoch)


def _anneal(first: float, last: float, part: float) -> float:
    return last + (first - last) / 2 * (1 + math.cos(math.pi * part))
