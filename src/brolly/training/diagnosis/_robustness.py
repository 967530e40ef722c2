"""Robust and catastrophic overfitting: how robust validation accuracy falls."""

from __future__ import annotations

import itertools

from .._history import EpochRecord, History
from .._validation import catastrophic_overfitting as fell_catastrophically
from ._finding import Finding, Observation, Rule
from ._fitting import checked, fall, peak, points

ROBUST_OVERFITTING = Rule(
    "robust overfitting",
    "robust validation accuracy at the end below its best by more than the 95 % sampling error, "
    "while robust training accuracy did not fall",
    "best against final robust accuracy (Rice, Wong & Kolter 2020); the sampling error is that of "
    "two independent samples, and thus wide for the same examples",
    "keep the best epoch (select_by=robust, as by default) and stop earlier (patience=...); "
    "weight averaging (EMA), AWP, augmentation, or more data",
)
CATASTROPHIC_OVERFITTING = Rule(
    "catastrophic overfitting",
    "robust validation accuracy falls by more than 20 points from the check before, or from the "
    "best, while single-step accuracy rises",
    "Wong, Rice & Kolter 2020, section 5.4",
    "N-FGSM, or more noise (k); a smaller step (alpha); PGD with two steps or more; a smaller "
    "learning rate",
)
_NO_THREAT = "No robust accuracy was measured; give fit a threat."


def robust_overfitting(history: History) -> Finding:
    """Whether robust accuracy was better before the end, as training went on to fit."""
    records = [r for r in checked(history) if r.validation_robust is not None]
    if len(records) < 2:
        return ROBUST_OVERFITTING.unmeasured(_NO_THREAT)
    best, last = peak(records, "validation_robust"), records[-1]
    drop, error = fall(best, last, "validation_robust")
    rose = (last.train_robust or 0.0) >= (best.train_robust or 0.0)
    return ROBUST_OVERFITTING.judge(
        drop > error and rose,
        f"Robust validation accuracy ended {points(drop)} below its best"
        + (
            f", that of epoch {best.epoch}, while that of training inputs rose."
            if drop > error and rose
            else "."
        ),
        *_pair("best", best),
        *_pair("last", last),
        Observation("sampling error of the fall", error),
    )


def catastrophic_overfitting(history: History) -> Finding:
    """Whether the network learnt its own single step and lost all others."""
    records = [r for r in checked(history) if r.validation_single_step is not None]
    if len(records) < 2:
        return CATASTROPHIC_OVERFITTING.unmeasured(_NO_THREAT)
    for place in range(1, len(records)):
        now = records[place]
        for before in (records[place - 1], peak(records[:place], "validation_robust")):
            if fell_catastrophically(before, now):
                return CATASTROPHIC_OVERFITTING.judge(
                    True,
                    f"At epoch {now.epoch} the network withstands its own single step better than "
                    "before, and others no more.",
                    *_single("before", before),
                    *_single("after", now),
                )
    worst = max(
        itertools.pairwise(records),
        key=lambda pair: (pair[0].validation_robust or 0.0) - (pair[1].validation_robust or 0.0),
    )
    return CATASTROPHIC_OVERFITTING.judge(
        False,
        "Robust accuracy never collapsed while single-step accuracy rose.",
        *_single("before the largest fall", worst[0]),
        *_single("after it", worst[1]),
    )


def _pair(which: str, record: EpochRecord) -> list[Observation]:
    found = [("validation", record.validation_robust), ("training", record.train_robust)]
    return [
        Observation(f"{which} robust {split} accuracy", value, record.epoch)
        for split, value in found
        if value is not None
    ]


def _single(when: str, record: EpochRecord) -> list[Observation]:
    assert record.validation_robust is not None
    assert record.validation_single_step is not None
    return [
        Observation(f"robust accuracy {when}", record.validation_robust, record.epoch),
        Observation(f"single-step accuracy {when}", record.validation_single_step, record.epoch),
    ]
