"""What the loss of one or several models looks at."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..evaluation import Study
from ._broken import low_part, mean_power
from ._pictures import data_uri, diverging, is_image


@dataclasses.dataclass(frozen=True)
class GradientRow:
    """An input and the gradient of each model there, as data URIs."""

    index: int
    label: str
    clean: str
    gradients: tuple[tuple[str, str], ...]  # picture, prediction


@dataclasses.dataclass(frozen=True)
class GradientTable:
    """Gradients side by side.

    Attributes:
        models: Which ones.
        low: Of each model, the part of the gradients' power at low frequencies.
        white: The same of white noise.
        rows: One an input.
    """

    models: tuple[str, ...]
    low: tuple[float, ...]
    white: float
    rows: tuple[GradientRow, ...]


def gradient_tables(studies: Sequence[tuple[str, Study]]) -> tuple[GradientTable, ...]:
    """One table for each set of inputs; what was measured twice is shown once.

    Args:
        studies: What to call each model, and its study.
    """
    groups: dict[object, dict[str, Study]] = {}
    for label, study in studies:
        if is_image(study.gradients.inputs.shape[1:]):
            group = groups.setdefault((study.data.sha256, study.gradients.index), {})
            group.setdefault(label, study)
    return tuple(_table(group) for group in groups.values())


def _table(group: dict[str, Study]) -> GradientTable:
    studies = list(group.values())
    first = studies[0]
    names, (low, high) = first.data.classes, first.bounds
    inputs = (first.gradients.inputs.values - low) / (high - low)
    gradients = [study.gradients.gradients.values for study in studies]
    powers = [mean_power(gradient) for gradient in gradients]
    rows = tuple(
        GradientRow(
            index,
            names[first.gradients.label[k]],
            data_uri(inputs[k]),
            tuple(
                (_picture(gradient[k]), _name(names, study.gradients.prediction[k]))
                for study, gradient in zip(studies, gradients, strict=True)
            ),
        )
        for k, index in enumerate(first.gradients.index)
    )
    return GradientTable(
        models=tuple(group),
        low=tuple(low_part(power) for power in powers),
        white=low_part(np.ones_like(powers[0])),
        rows=rows,
    )


def _picture(gradient: np.ndarray) -> str:
    """Scaled so that the 99th percentile just fills the range of colours."""
    scaled = gradient / max(2 * float(np.quantile(np.abs(gradient), 0.99)), 1e-30)
    scaled = np.clip(scaled, -0.5, 0.5)
    return data_uri(diverging(scaled) if len(scaled) == 1 else scaled + 0.5)


def _name(classes: Sequence[str], label: int) -> str:
    return "NaN" if label < 0 else classes[label] if label < len(classes) else str(label)
