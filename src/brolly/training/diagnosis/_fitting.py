"""Underfitting and overfitting: errors on training and validation inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .._history import EpochRecord, History, percent
from ._finding import Finding, Observation, Rule

#: Part of the training inputs that a network which fits them may get wrong.
UNFITTED = 0.1
#: Points between training and validation accuracy that a sound network may show.
_GAP = 0.05
#: Two-sided 95 % of the normal distribution.
_Z = 1.96

UNDERFITTING = Rule(
    "underfitting",
    f"clean training error above {UNFITTED:.0%} in every epoch, and larger than the gap to "
    "validation",
    "what is larger, error or gap, is what to work on (Ng 2018, Machine Learning Yearning, "
    "chapter 20); 10 % is ours: sound networks on digits end below 4 %",
    "a wider or deeper model, more epochs, less regularisation (weight decay, dropout, "
    "augmentation), a smaller eps or beta; see whether the learning rate fits",
)
OVERFITTING = Rule(
    "overfitting",
    f"clean validation accuracy more than {_GAP:.0%} below training accuracy at the kept epoch, or "
    "below its own best at the end while training accuracy rose; and by more than the 95 % "
    "sampling error",
    f"a generalisation gap is the definition; {_GAP:.0%} is ours: sound networks on digits stay "
    "within 4 %. Sampling error of two independent samples",
    "more data or augmentation, weight decay, dropout, label smoothing, a smaller model, or "
    "fewer epochs (patience=...)",
)


def checked(history: History) -> list[EpochRecord]:
    """The epochs after which accuracies were measured."""
    return [r for r in history.epochs if r.validation_clean is not None]


def fitted(history: History) -> EpochRecord | None:
    """The last epoch with a training accuracy."""
    return next((r for r in reversed(history.epochs) if r.train_clean is not None), None)


def sampling_error(first: float, second: float, n: int | None, m: int | None) -> float:
    """Half the 95 % interval of a difference of two accuracies on n and m examples.

    `1.96 sqrt(p (1 - p) / n + q (1 - q) / m)`; 0 where old records do not say how many. On the same
    examples, as from epoch to epoch, the true error is smaller.
    """
    if not n or not m:
        return 0.0
    return _Z * math.sqrt(first * (1 - first) / n + second * (1 - second) / m)


def underfitting(history: History) -> Finding:
    """Whether the network stays wrong on the very inputs it is fitted to."""
    records = [r for r in history.epochs if r.train_clean is not None]
    if not records:
        return UNDERFITTING.unmeasured("No accuracy was measured on training inputs.")
    best = peak(records, "train_clean")
    assert best.train_clean is not None
    error = 1 - best.train_clean
    gap = 0.0 if best.validation_clean is None else best.train_clean - best.validation_clean
    return UNDERFITTING.judge(
        error > max(UNFITTED, gap),
        f"At its best the network is wrong on {percent(error)} of the clean training inputs.",
        Observation("clean training error", error, best.epoch),
        Observation("gap to validation", gap, best.epoch),
        Observation("training loss", history.epochs[-1].train_loss, history.epochs[-1].epoch),
    )


def overfitting(history: History) -> Finding:
    """Whether training inputs are learnt that teach nothing about others."""
    kept, records = _kept(history), checked(history)
    if kept is None or kept.train_clean is None or kept.validation_clean is None:
        return OVERFITTING.unmeasured("Training and validation accuracy were not both measured.")
    gap = kept.train_clean - kept.validation_clean
    error = sampling_error(
        kept.train_clean, kept.validation_clean, kept.train_examples, kept.validation_examples
    )
    best, last = peak(records, "validation_clean"), records[-1]
    drop, drop_error = fall(best, last, "validation_clean")
    rose = (last.train_clean or 0.0) >= (best.train_clean or 0.0)
    wide, fallen = gap > max(_GAP, error), rose and drop > max(_GAP, drop_error)
    side = "below" if gap >= 0 else "above"
    verdict = f"At the kept epoch validation is {points(gap)} {side} training accuracy"
    if fallen and not wide:
        verdict += f"; validation accuracy then fell by {points(drop)} to the last epoch"
    return OVERFITTING.judge(
        wide or fallen,
        f"{verdict}.",
        Observation("clean training accuracy", kept.train_clean, kept.epoch),
        Observation("clean validation accuracy", kept.validation_clean, kept.epoch),
        Observation("sampling error of the gap", error),
        Observation("best clean validation accuracy", _value(best, "validation_clean"), best.epoch),
        Observation("last clean validation accuracy", _value(last, "validation_clean"), last.epoch),
        *_losses(records),
    )


def points(difference: float) -> str:
    """The size of a difference of two rates, in words."""
    return f"{100 * abs(difference):.1f} points"


def peak(records: Sequence[EpochRecord], metric: str) -> EpochRecord:
    """The first epoch with the largest value of a metric."""
    return max(records, key=lambda record: _value(record, metric))


def fall(best: EpochRecord, last: EpochRecord, metric: str) -> tuple[float, float]:
    """How far a validation accuracy fell, and the sampling error of that."""
    high, low = _value(best, metric), _value(last, metric)
    return high - low, sampling_error(high, low, best.validation_examples, last.validation_examples)


def _value(record: EpochRecord, metric: str) -> float:
    value = getattr(record, metric)
    return -math.inf if value is None else float(value)


def _losses(records: Sequence[EpochRecord]) -> list[Observation]:
    known = [(r.validation_loss, r.epoch) for r in records if r.validation_loss is not None]
    if not known:
        return []
    return [
        Observation("lowest validation loss", *min(known)),
        Observation("last validation loss", *known[-1]),
    ]


def _kept(history: History) -> EpochRecord | None:
    """The epoch whose weights were kept, if it was measured; else the last that was."""
    best = history.best
    return best if best is not None and best.train_clean is not None else fitted(history)
