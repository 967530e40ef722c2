"""Which parts of a training do not go together, told before its first step."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import nn

from .._untouched import untouched
from ..data import Augmentation, Batches, Dataset
from ..data._sampling import check_every_class
from ..models import check_logits
from ..objectives import Objective
from ..penalties import Penalty
from ..threats import Threat
from ..weights import WeightSearch
from ._average import Average
from ._optimizers import trainable
from ._schedules import Schedule
from ._validation import SelectBy

#: Of forward passes; weights are float32.
Precision = Literal["float32", "bfloat16"]


def check_combination(
    model: nn.Module,
    data: Dataset | None,
    *,
    objective: Objective,
    penalty: Penalty | None,
    weights: WeightSearch | None,
    epochs: int,
    threat: Threat | None,
    schedule: Schedule,
    average: Average | None,
    batches: Iterable[Any] | None = None,
    batch_size: int,
    accumulate: int,
    clip: float | None,
    augment: Sequence[Augmentation],
    balanced: bool,
    precision: Precision,
    select_by: SelectBy | None,
    patience: int | None,
    device: str = "cpu",
) -> None:
    """Whether `fit` can begin with these arguments, which are named as its own.

    With data, the model is moved to the device in the end and run on two examples, so that a
    randomised one draws from the global generator.

    Args:
        model: To be trained; without data, one with layers of the same kinds.
        data: None: what depends on it is not judged.

    Raises:
        ValueError: With all reasons why not, one a line; or the model does not fit the data.
    """
    name, reasons = type(objective).__name__, []
    if epochs < 1:
        reasons.append(f"epochs is {epochs}; expected 1 or more")
    if accumulate < 1:
        reasons.append(f"accumulate is {accumulate}; expected 1 or more")
    if clip is not None and not clip > 0:
        reasons.append(f"clip is {clip}; expected more than 0, or None")
    if patience is not None and patience < 1:
        reasons.append(f"patience is {patience}; expected 1 or more, or None")
    if precision not in typing.get_args(Precision):
        reasons.append(f"precision is {precision!r}; expected 'float32' or 'bfloat16'")
    if select_by not in (None, *typing.get_args(SelectBy)):
        reasons.append(f"select_by is {select_by!r}; expected 'robust', 'clean' or None")
    if select_by == "robust" and threat is None and objective.threat is None:
        reasons.append("select_by is 'robust', but there is no threat; pass threat=Linf(...)")
    if batches is not None and (augment or balanced):
        reasons.append(
            "batches comes with its own order and augmentation, so augment and balanced have no "
            "use; leave them out, or give Batches(data.train, ...) that do both"
        )
    if data is not None:
        count = len(data.train)
        if batches is None and not 0 < batch_size <= count:
            reasons.append(
                f"batch_size is {batch_size} for {count} training examples; expected 1 to {count}"
            )
        if batches is None and balanced:
            reasons += _complaint(lambda: check_every_class(data.train))
        if schedule.watches and len(data.validation) == 0:
            reasons.append(
                f"{schedule} goes by the validation metric, but there is no validation split; set "
                "one aside, or use a schedule that goes by time, such as Cosine()"
            )
        reasons += _complaint(lambda: trainable(model))
    if isinstance(batches, Batches):
        augment, balanced = batches.augment, batches.balanced
    if augment and objective.remembers:
        reasons.append(
            f"{name} remembers a perturbation for each pixel, and augmentation would move the "
            "pixels from under it. Leave augment empty, or train with NFGSM"
        )
    if balanced and objective.needs_index:
        reasons.append(
            f"{name} tells examples apart and meets each once an epoch, but balanced draws some "
            "of them several times; leave balanced out"
        )
    if accumulate > 1 and weights:
        reasons.append(
            f"accumulate is {accumulate}, but {type(weights).__name__} would search for worse "
            "weights for each batch alone; use a larger batch_size instead"
        )
    if accumulate > 1 and objective.replays > 1:
        reasons.append(
            f"accumulate is {accumulate}, but {name} steps on each batch {objective.replays} "
            "times; use one of the two"
        )
    if objective.replays > 1 and weights:
        reasons.append(
            f"{name} takes its next perturbation from the backward pass of the step, which a "
            "search for worse weights would disturb; leave weights out"
        )
    reasons += objective.reasons_against(model)
    if average is not None:
        reasons += average.reasons_against(epochs)
    if penalty is not None:
        reasons += penalty.reasons_against(model)
    if reasons:
        raise ValueError("\n".join(reasons))
    if data is not None:
        _check_outputs(model.to(device), data, device)


def _complaint(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except ValueError as error:
        return [str(error)]
    return []


def _check_outputs(model: nn.Module, data: Dataset, device: str) -> None:
    """Raises ValueError where the model does not give a logit to each class of the data."""
    x = next(iter(Batches(data.train.first(2), 2, device))).x
    with untouched(model), torch.no_grad():
        logits = model(x)
    check_logits(logits, len(x))
    if logits.shape[1] < len(data.classes):
        raise ValueError(
            f"the model has {logits.shape[1]} classes; expected {len(data.classes)} or more for "
            f"{data.name}"
        )
