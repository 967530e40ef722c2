"""Unstable training, and learning rates too high or too low: what the loss and the steps do."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from .._history import EpochRecord, History
from ._finding import Finding, Observation, Rule
from ._fitting import UNFITTED, fitted

#: Rise of an epoch's loss above the lowest before it, in parts of the first epoch's loss.
_RISE = 0.2
#: A gradient this many times the typical one of any epoch.
_SPIKE = 10.0
#: Net fall of the loss over all its ups and downs, below which it goes nowhere.
_STEADY = 0.5
#: Part of its fall that an exponentially falling loss has done at half of one time constant.
_ONE_TIME_CONSTANT = 1 / (1 + math.exp(-0.5))
#: Usual norm of an update in parts of that of the weights.
_USUAL_UPDATE = 1e-3

UNSTABLE = Rule(
    "unstable training",
    "the loss became NaN or infinite; or an epoch's mean loss lies above the lowest before it by "
    f"more than {_RISE:.0%} of the first epoch's; or a step's gradient norm is more than "
    f"{_SPIKE:g} times the typical one of any epoch",
    f"{_SPIKE:g} times the typical norm is the upper end of where Pascanu, Mikolov & Bengio 2013 "
    f"clip; {_RISE:.0%} is ours: sound losses on digits rise by 8 % at most",
    "a lower learning rate, a longer warm-up, gradient clipping (clip=1), a larger batch",
)
TOO_HIGH = Rule(
    "learning rate too high",
    f"the loss became NaN; or clean training error stays above {UNFITTED:.0%}, while from the "
    f"second epoch on the net fall of the loss is less than {_STEADY:g} of the sum of its moves",
    "at high rates the weights bounce about and the loss settles on nothing (CS231n, Neural "
    f"Networks 3); {_STEADY:g} is ours: networks that learn at all reach 0.9 on digits",
    "a tenth of the learning rate, or what `brolly diagnose RECIPE --lr-range` suggests",
)
TOO_LOW = Rule(
    "learning rate too low",
    f"clean training error stays above {UNFITTED:.0%}, while the loss falls steadily but nearly "
    f"straight: less than {_ONE_TIME_CONSTANT:.2f} of its fall in the first half of the summed "
    f"learning rate, and no update is above {10 * _USUAL_UPDATE:g} of the weights; or none is "
    f"above {_USUAL_UPDATE / 10:g} of them",
    "at low rates losses fall in a straight line (CS231n, Neural Networks 3); "
    f"{_ONE_TIME_CONSTANT:.2f} is where an exponential fall is cut off within one time constant. "
    f"Updates of {_USUAL_UPDATE:g} of the weights are usual (ibid.)",
    "ten times the learning rate, or what `brolly diagnose RECIPE --lr-range` suggests; or more "
    "epochs",
)
_TOO_SHORT = "Fewer than three epochs, which show no course."


def unstable_training(history: History) -> Finding:
    """Whether training undid what it had done."""
    if history.diverged is not None:
        return UNSTABLE.judge(True, f"Training diverged: {history.diverged}.", *_losses(history))
    if len(history.epochs) < 2:
        return UNSTABLE.unmeasured("Fewer than two epochs.")
    first = history.epochs[0].train_loss
    rises = [
        (now.train_loss - min(r.train_loss for r in history.epochs[:place]), now.epoch)
        for place, now in enumerate(history.epochs)
        if place
    ]
    rise, epoch = max(rises)
    spike = _spike(history.epochs)
    jumped = rise > _RISE * abs(first)
    reasons = [f"the loss rose by {rise:.3g} to epoch {epoch}"] if jumped else []
    evidence = [
        Observation("first epoch's loss", first, history.epochs[0].epoch),
        Observation("largest rise above the lowest loss before", rise, epoch),
    ]
    if spike is not None:
        record, typical = spike
        assert record.largest_gradient_norm is not None
        times = record.largest_gradient_norm / typical
        reasons += [
            f"a gradient {times:.3g} times the typical one came at epoch {record.epoch}"
        ] * (times > _SPIKE)
        evidence += [
            Observation("largest gradient norm", record.largest_gradient_norm, record.epoch),
            Observation("largest typical gradient norm of an epoch", typical),
        ]
    said = " and ".join(reasons) or "no epoch undid the ones before it"
    return UNSTABLE.judge(bool(reasons), f"{said[0].upper()}{said[1:]}.", *evidence)


def learning_rate_too_high(history: History) -> Finding:
    """Whether the loss goes up and down instead of down."""
    if history.diverged is not None:
        return TOO_HIGH.judge(True, f"Training diverged: {history.diverged}.", *_losses(history))
    course = _Course.of(history)
    if isinstance(course, str):
        return TOO_HIGH.unmeasured(course)
    found = course.unfitted and course.steadiness < _STEADY and not course.tiny
    said = "The loss wanders" if found else "The training inputs are learnt"
    if not found and course.unfitted:
        said = "The loss goes down more than up"
    return TOO_HIGH.judge(found, f"{said}.", *course.evidence)


def learning_rate_too_low(history: History) -> Finding:
    """Whether training was still on its way when it ended."""
    course = _Course.of(history)
    if isinstance(course, str):
        return TOO_LOW.unmeasured(course)
    straight = course.steadiness >= _STEADY and course.first_half < _ONE_TIME_CONSTANT
    found = course.unfitted and (course.tiny or (straight and not course.bold))
    said = "The training inputs are learnt"
    if course.unfitted:
        said = "The loss does not go down in a straight line"
    if found:
        said = "The weights hardly move" if course.tiny else "The loss was still on its way down"
    return TOO_LOW.judge(found, f"{said}.", *course.evidence)


class _Course:
    """How the loss went, and whether it led to the training inputs being learnt."""

    def __init__(self, records: Sequence[EpochRecord], checked: EpochRecord) -> None:
        assert checked.train_clean is not None
        self.error = 1 - checked.train_clean
        self.unfitted = self.error > UNFITTED
        losses = [record.train_loss for record in records]
        self.steadiness = steadiness(losses[1:])
        self.first_half = first_half(losses, [record.learning_rate for record in records])
        ratios = [(r.update_ratio, r.epoch) for r in records if r.update_ratio is not None]
        self.largest = max(ratios) if ratios else None
        self.tiny = self.largest is not None and self.largest[0] < _USUAL_UPDATE / 10
        self.bold = self.largest is not None and self.largest[0] > _USUAL_UPDATE * 10
        self.evidence = [
            Observation("clean training error", self.error, checked.epoch),
            Observation("net fall of the loss over its moves", self.steadiness),
            Observation("part of the fall in the first half", self.first_half),
            *([Observation("largest update ratio", *self.largest)] if self.largest else []),
        ]

    @classmethod
    def of(cls, history: History) -> _Course | str:
        """None of it where too little is known: then the reason."""
        last = fitted(history)
        if last is None:
            return "No accuracy was measured on training inputs."
        if len(history.epochs) < 3:
            return _TOO_SHORT
        return cls(history.epochs, last)


def steadiness(losses: Sequence[float]) -> float:
    """Net fall over the sum of all moves: 1 for a falling course, 0 for one that goes nowhere."""
    moves = sum(abs(b - a) for a, b in itertools.pairwise(losses))
    return max(losses[0] - losses[-1], 0.0) / moves if moves else 0.0


def first_half(losses: Sequence[float], rates: Sequence[float]) -> float:
    """Part of the whole fall of the loss that is done at half of the summed learning rate.

    A straight line gives 1/2, `exp(-t / tau)` over a time T gives `1 / (1 + exp(-T / (2 tau)))`.
    """
    times = list(itertools.accumulate(rates))
    middle, whole = (times[0] + times[-1]) / 2, losses[0] - losses[-1]
    if whole <= 0 or times[0] == times[-1]:
        return 1.0
    place = next(k for k, time in enumerate(times) if time >= middle)
    part = (middle - times[place - 1]) / (times[place] - times[place - 1])
    loss = losses[place - 1] + part * (losses[place] - losses[place - 1])
    return (losses[0] - loss) / whole


def _spike(records: Sequence[EpochRecord]) -> tuple[EpochRecord, float] | None:
    """The epoch with the largest gradient, and the largest typical norm of any epoch."""
    typical = [r.gradient_norm for r in records if r.gradient_norm]
    spiked = [r for r in records if r.largest_gradient_norm is not None]
    if not typical or not spiked:
        return None
    return max(spiked, key=lambda r: r.largest_gradient_norm or 0.0), max(typical)


def _losses(history: History) -> list[Observation]:
    return [Observation("training loss", r.train_loss, r.epoch) for r in history.epochs[-2:]]
