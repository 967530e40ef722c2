"""How a training is to go."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch

from ..data import Augmentation
from ..objectives import Objective
from ..penalties import Penalty
from ..threats import Threat
from ..weights import WeightSearch
from ._average import Average
from ._optimizers import Optimizer
from ._schedules import Schedule
from ._validation import SelectBy, Validation

#: Of forward passes; weights are float32.
Precision = Literal["float32", "bfloat16"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of `fit` that say how to train, under their names there, defaults filled in."""

    objective: Objective
    penalty: Penalty | None
    weights: WeightSearch | None
    epochs: int
    threat: Threat | None
    optimizer: Optimizer
    schedule: Schedule
    average: Average | None
    batches: Iterable[Any] | None
    batch_size: int
    accumulate: int
    clip: float | None
    augment: Sequence[Augmentation]
    balanced: bool
    precision: Precision
    validation: Validation
    select_by: SelectBy
    patience: int | None
    seed: int
    device: str

    def autocast(self, *, cache: bool = True) -> torch.autocast:
        """The precision of forward passes; `cache` keeps weights that were cast for the next."""
        return torch.autocast(
            torch.device(self.device).type,
            torch.bfloat16,
            enabled=self.precision == "bfloat16",
            cache_enabled=cache,
        )
