"""Which parts of a training do not go together."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..data import Augmentation
from ..objectives import Objective
from ..penalties import Penalty
from ..weights import WeightSearch
from ._average import Average
from ._schedules import parse_length


def check_combination(
    objective: Objective,
    penalty: Penalty | None,
    weights: WeightSearch | None,
    augment: Sequence[Augmentation],
    accumulate: int,
    clip: float | None,
    average: Average | None,
    epochs: int,
    model: nn.Module,
    balanced: bool = False,
) -> None:
    """Raises ValueError, with all reasons at once, where parts do not go together."""
    name, reasons = type(objective).__name__, []
    if accumulate < 1:
        reasons.append(f"accumulate is {accumulate}; expected 1 or more")
    if clip is not None and not clip > 0:
        reasons.append(f"clip is {clip}; expected more than 0, or None")
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
    if weights:
        try:
            parse_length(weights.warmup, 1)
        except ValueError as error:
            reasons.append(str(error))
    reasons += objective.reasons_against(model)
    if average is not None:
        reasons += average.reasons_against(epochs)
    if penalty is not None:
        reasons += penalty.reasons_against(model)
    if reasons:
        raise ValueError("; ".join(reasons))
