"""Each class by itself, and what it is taken for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ._evaluation import Count, Evaluation


@dataclasses.dataclass(frozen=True)
class ClassAccuracy:
    """Accuracy on the examples of one class.

    Attributes:
        name: Of the class.
        clean: Examples that are right without an adversary.
        robust: Examples that are right, and that no attack broke.
    """

    name: str
    clean: Count
    robust: Count


@dataclasses.dataclass(frozen=True)
class ClassMeasures:
    """Accuracy by class and the flow between classes.

    Attributes:
        accuracies: One a class, in the order of the labels.
        flow: Entry `[label][prediction]` counts the adversarial inputs of a class that are taken
            for another or hold; the last column counts those whose logits are NaN.
        clean_flow: The same on clean inputs.
    """

    accuracies: tuple[ClassAccuracy, ...]
    flow: tuple[tuple[int, ...], ...]
    clean_flow: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, evaluation: Evaluation) -> ClassMeasures:
        """Those of an evaluation: its attacks, its examples."""
        return class_measures(
            evaluation.label,
            evaluation.clean_prediction,
            evaluation.adversarial_prediction,
            evaluation.data.classes,
        )


def class_measures(
    label: np.ndarray,
    clean_prediction: np.ndarray,
    adversarial_prediction: np.ndarray,
    classes: Sequence[str],
) -> ClassMeasures:
    """Accuracy and flow of each class.

    Args:
        label: `(n,)`.
        clean_prediction: `(n,)`; -1: the logits were NaN.
        adversarial_prediction: `(n,)`, on the worst input found; -1: the logits were NaN.
        classes: Their names.

    Example:
        >>> import numpy as np
        >>> from brolly.evaluation import class_measures
        >>> label = np.array([0, 0, 1])
        >>> class_measures(label, label, np.array([0, 1, 1]), ("cat", "dog")).flow
        ((1, 1, 0), (0, 1, 0))
    """
    right = clean_prediction == label
    held = right & (adversarial_prediction == label)
    accuracies = []
    for number, name in enumerate(classes):
        own = label == number
        total = int(own.sum())
        accuracies.append(
            ClassAccuracy(
                name, Count(int((own & right).sum()), total), Count(int((own & held).sum()), total)
            )
        )
    return ClassMeasures(
        accuracies=tuple(accuracies),
        flow=_flow(label, adversarial_prediction, len(classes)),
        clean_flow=_flow(label, clean_prediction, len(classes)),
    )


def _flow(label: np.ndarray, prediction: np.ndarray, classes: int) -> tuple[tuple[int, ...], ...]:
    matrix = np.zeros((classes, classes + 1), dtype=np.int64)
    np.add.at(matrix, (label, prediction), 1)  # -1, for NaN, lands in the last column
    return tuple(tuple(row) for row in matrix.tolist())
