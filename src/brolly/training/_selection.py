"""What follows an epoch: the check, the choice of the best, and whether to go on."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence

from ..data import Dataset
from ._history import EpochRecord
from ._settings import Settings
from ._trainer import Trainer
from ._validation import Checker, catastrophic_overfitting


class Selection:
    """Chooses the best epoch, and ends the training early where that is called for."""

    def __init__(self, data: Dataset, settings: Settings) -> None:
        self._settings = settings
        self._check = Checker(
            data, settings.threat, settings.validation, settings.seed, settings.device
        )

    def judge(self, trainer: Trainer, record: EpochRecord) -> EpochRecord:
        """The record of the epoch that has just ended, with what was measured and decided."""
        record = self._decide(trainer, self._measured(trainer, record))
        trainer.records.append(record)
        return record

    def _measured(self, trainer: Trainer, record: EpochRecord) -> EpochRecord:
        settings, start = self._settings, time.perf_counter()
        if record.epoch % settings.validation.every and record.epoch != settings.epochs:
            return record
        with settings.autocast():
            train = self._check.train(trainer.shadow)
            validation = self._check.validation(trainer.shadow)
        trainer.seconds += time.perf_counter() - start
        return dataclasses.replace(
            record,
            seconds=trainer.seconds,
            train_clean=train.clean,
            train_robust=train.robust,
            train_examples=train.examples,
            validation_clean=validation.clean,
            validation_robust=validation.robust,
            validation_single_step=validation.single_step,
            validation_examples=validation.examples,
            validation_loss=validation.loss,
        )

    def _decide(self, trainer: Trainer, record: EpochRecord) -> EpochRecord:
        select_by, patience = self._settings.select_by, self._settings.patience
        score = getattr(record, f"validation_{select_by}")
        checked = [r for r in trainer.records if r.validation_clean is not None]
        if catastrophic_overfitting(checked[-1] if checked else None, record):
            best = next(r.epoch for r in reversed(checked) if r.best)
            trainer.stopped = (
                f"catastrophic overfitting: robust validation accuracy fell from "
                f"{checked[-1].validation_robust:.1%} to {record.validation_robust:.1%} while "
                f"single-step accuracy rose to {record.validation_single_step:.1%}; training "
                f"stopped and went back to epoch {best}"
            )
            return dataclasses.replace(record, note=trainer.stopped)
        if score is None:  # nothing was measured: the newest weights are kept, until something is
            if not checked:
                trainer.keep_best()
            return dataclasses.replace(record, best=not checked)
        better = score > max(trainer.scores, default=-math.inf)
        trainer.scores.append(score)
        if better:
            trainer.keep_best()
        elif patience is not None and _since_best(trainer.scores) >= patience:
            trainer.stopped = (
                f"early stopping: {select_by} validation accuracy had no new best in "
                f"{_since_best(trainer.scores)} checks"
            )
        return dataclasses.replace(record, best=better, note=trainer.stopped or None)


def _since_best(scores: Sequence[float]) -> int:
    return len(scores) - 1 - scores.index(max(scores))
