"""Checks between epochs: clean, robust and single-step accuracy of train and validation data."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import torch
from torch import nn

from .._ranges import check_range
from ..attacks import FGSM, PGD, Attack
from ..attacks._engine import goal_reached, untouched
from ..data import Batches, Dataset, Split
from ..losses import cross_entropy
from ..threats import Threat
from ._history import EpochRecord

#: The metric that picks the best epoch, on the validation split.
SelectBy = Literal["robust", "clean"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Validation:
    """How much is checked after an epoch.

    Args:
        examples: Examples of the validation split.
        train_examples: Examples of the training split, for the gap between the two.
        steps: Steps of the PGD behind the robust accuracy, one restart.
        every: Epochs between checks; the last epoch is always checked.
    """

    examples: int = 1000
    train_examples: int = 500
    steps: int = 10
    every: int = 1

    def __post_init__(self) -> None:
        check_range("[1, inf)", examples=self.examples, steps=self.steps, every=self.every)
        check_range("[0, inf)", train_examples=self.train_examples)


@dataclasses.dataclass(frozen=True)
class Accuracies:
    """Results of one check."""

    clean: float | None = None
    robust: float | None = None
    single_step: float | None = None
    examples: int | None = None
    loss: float | None = None


class Checker:
    """Measures a model on fixed samples of a data set."""

    def __init__(
        self, data: Dataset, threat: Threat | None, settings: Validation, seed: int, device: str
    ) -> None:
        self._threat, self._settings, self._seed, self._device = threat, settings, seed, device
        self._validation = data.validation.first(settings.examples)
        self._train = data.train.first(settings.train_examples)

    def validation(self, model: nn.Module) -> Accuracies:
        """Clean, robust and single-step accuracy on the validation split."""
        accuracies = self.train(model, self._validation)
        if self._threat is None or accuracies.clean is None:
            return accuracies
        single = self._under(FGSM(self._threat), model, self._validation)
        return dataclasses.replace(accuracies, single_step=single)

    def train(self, model: nn.Module, split: Split | None = None) -> Accuracies:
        """Clean and robust accuracy on the sample of the training split."""
        split = self._train if split is None else split
        if len(split) == 0:
            return Accuracies()
        clean = self._clean(model, split)
        if self._threat is None:
            return clean
        attack = PGD(self._threat, steps=self._settings.steps)
        return dataclasses.replace(clean, robust=self._under(attack, model, split))

    def _clean(self, model: nn.Module, split: Split) -> Accuracies:
        hits, loss = 0, 0.0
        with untouched(model), torch.no_grad():
            for x, y, _ in self._batches(split):
                logits = model(x)
                hits += int((~goal_reached(logits, y)).sum())
                loss += float(cross_entropy(logits.float(), y).sum())
        mean = loss / len(split)
        return Accuracies(
            clean=hits / len(split),
            examples=len(split),
            loss=mean if math.isfinite(mean) else None,
        )

    def _under(self, attack: Attack, model: nn.Module, split: Split) -> float:
        held = 0
        for x, y, index in self._batches(split):
            generator = torch.Generator().manual_seed(self._seed)
            held += int((~attack(model, x, y, generator=generator, index=index).success).sum())
        return held / len(split)

    def _batches(self, split: Split) -> Batches:
        return Batches(split, 256, self._device)


def catastrophic_overfitting(before: EpochRecord | None, now: EpochRecord) -> bool:
    """Whether the model has learnt its own single step and lost all others.

    The robust accuracy under a small PGD fell by more than 0.2 between two checks, while the
    single-step accuracy rose (Wong, Rice & Kolter 2020, section 5.4).
    """
    if before is None or before.validation_robust is None or now.validation_robust is None:
        return False
    assert before.validation_single_step is not None
    assert now.validation_single_step is not None
    fell = before.validation_robust - now.validation_robust > 0.2
    return fell and now.validation_single_step > before.validation_single_step
