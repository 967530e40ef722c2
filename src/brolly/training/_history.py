"""What happened in training, epoch by epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class EpochRecord:
    """One epoch. Accuracies are parts of 1; None where nothing was measured.

    Attributes:
        epoch: From 1.
        seconds: Time since the start of training, checks included.
        learning_rate: At the last step of the epoch.
        train_loss: Mean over the epoch's batches.
        train_clean, train_robust: On a fixed sample of the training split.
        validation_clean, validation_robust: On the validation split; robust under a small PGD.
        validation_single_step: Accuracy under FGSM, which betrays catastrophic overfitting.
        train_examples, validation_examples: How many were measured.
        validation_loss: Mean cross-entropy of the clean inputs.
        gradient_norm, largest_gradient_norm: Median and largest over the epoch's steps, of all
            parameters together and before clipping.
        update_ratio: Norm of one step in the middle of the epoch over that of the weights.
        best: Whether this epoch is the best so far.
        note: A remark, such as why training ended here.
        logs: Means of the parts of the loss.
    """

    epoch: int
    seconds: float
    learning_rate: float
    train_loss: float
    train_clean: float | None = None
    train_robust: float | None = None
    validation_clean: float | None = None
    validation_robust: float | None = None
    validation_single_step: float | None = None
    best: bool = False
    note: str | None = None
    logs: Mapping[str, float] = dataclasses.field(default_factory=dict)
    train_examples: int | None = None
    validation_examples: int | None = None
    validation_loss: float | None = None
    gradient_norm: float | None = None
    largest_gradient_norm: float | None = None
    update_ratio: float | None = None

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class History:
    """The epochs of a training run.

    Attributes:
        epochs: One record an epoch.
        stopped: Why training ended before its last epoch, if it did.
        diverged: Where the loss became no number, if it did.
    """

    epochs: tuple[EpochRecord, ...] = ()
    stopped: str | None = None
    diverged: str | None = None

    @classmethod
    def of_rows(cls, rows: Iterable[Mapping[str, Any]], diverged: str | None = None) -> History:
        """The history that lines of `metrics.jsonl` hold, of older and newer versions too.

        Lines without an epoch, its time, learning rate and training loss are left out.
        """
        fields = {field.name: field for field in dataclasses.fields(EpochRecord)}
        needed = {name for name, field in fields.items() if _has_no_default(field)}
        records = tuple(
            EpochRecord(**{name: value for name, value in row.items() if name in fields})
            for row in rows
            if all(row.get(name) is not None for name in needed)
        )
        return cls(records, records[-1].note if records else None, diverged)

    @property
    def best(self) -> EpochRecord | None:
        """The epoch whose weights the model was left with."""
        return next((record for record in reversed(self.epochs) if record.best), None)

    def __repr__(self) -> str:
        lines = ["epoch  seconds  train loss  clean (train/val)  robust (train/val)"]
        lines += [
            f"{r.epoch:5d}  {r.seconds:7.1f}  {r.train_loss:10.4f}"
            f"  {percent(r.train_clean):>8}/{percent(r.validation_clean):<8}"
            f"  {percent(r.train_robust):>8}/{percent(r.validation_robust):<8}"
            f"{'  best' if r is self.best else ''}"
            for r in self.epochs
        ]
        return "\n".join([*lines, *filter(None, [self.stopped, self.diverged])])


def _has_no_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def percent(value: float | None) -> str:
    """A rate for a table; a dash where nothing was measured."""
    return "-" if value is None else f"{value:.2%}"
