"""Which class is taken for which."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..evaluation import Evaluation
from . import _words
from ._pictures import class_name

#: With more classes than this a matrix is no longer readable; the worst pairs are listed instead.
MOST_CLASSES, MOST_PAIRS = 20, 10


@dataclasses.dataclass(frozen=True)
class Cell:
    """One entry: how many, which part of its row, and whether it lies on the diagonal."""

    count: int
    part: float
    right: bool


@dataclasses.dataclass(frozen=True)
class Confusion:
    """A confusion matrix: rows are labels, columns are predictions.

    Attributes:
        title: Which inputs it is about.
        rows: Class and its cells; empty if there are too many classes.
        columns: Predictions, in the order of the cells.
        upright: Whether their names are too long to stand side by side.
        pairs: The most frequent confusions: label, prediction, how often.
        finding: What it says.
    """

    title: str
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    columns: tuple[str, ...]
    upright: bool
    pairs: tuple[tuple[str, str, int], ...]
    finding: str


def confusions(evaluation: Evaluation) -> tuple[Confusion, Confusion]:
    """The confusions on clean and on adversarial inputs."""
    return (
        _confusion("Clean", evaluation, evaluation.clean_prediction),
        _confusion("Adversarial", evaluation, evaluation.adversarial_prediction),
    )


def _confusion(title: str, evaluation: Evaluation, prediction: np.ndarray) -> Confusion:
    label = evaluation.label
    size = max(
        len(evaluation.data.classes), int(max(label.max(initial=0), prediction.max(initial=0))) + 1
    )
    matrix = np.zeros((size, size + 1), dtype=np.int64)
    np.add.at(matrix, (label, prediction), 1)  # -1, for NaN, lands in the last column
    numbers = [*range(size), -1] if matrix[:, -1].any() else list(range(size))
    pairs = _pairs(evaluation, matrix)
    columns = tuple(class_name(evaluation, number) for number in numbers)
    shown = range(size) if size <= MOST_CLASSES else ()
    return Confusion(
        title=title,
        rows=tuple((columns[true], _cells(matrix[true], true, numbers)) for true in shown),
        columns=columns,
        upright=max(map(len, columns)) > 3,
        pairs=pairs,
        finding=_finding(title, pairs, int(matrix.sum())),
    )  # fmt: skip


def _cells(counts: np.ndarray, true: int, numbers: list[int]) -> tuple[Cell, ...]:
    total = max(int(counts.sum()), 1)
    return tuple(
        Cell(int(counts[number]), round(int(counts[number]) / total, 3), number == true)
        for number in numbers
    )


def _pairs(evaluation: Evaluation, matrix: np.ndarray) -> tuple[tuple[str, str, int], ...]:
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
    found = []
    for true, predicted in zip(*np.unravel_index(order, wrong.shape), strict=True):
        number = -1 if predicted == len(matrix) else int(predicted)
        if count := int(wrong[true, predicted]):
            found.append((class_name(evaluation, int(true)), class_name(evaluation, number), count))
    return tuple(found)


def _finding(title: str, pairs: tuple[tuple[str, str, int], ...], total: int) -> str:
    if not pairs:
        return f"{title}: no confusion, {_words.number(total)}."
    true, predicted, count = pairs[0]
    part = _words.percent(count / total)
    return f"{title}: most often {true} is taken for {predicted} ({count:,} of {total:,}, {part})."
