"""Which class turns into which under attack, as bands from left to right."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..evaluation import HELD, Evaluation
from . import _words
from ._pictures import class_name

_BANDS = 24
_WIDTH, _HEIGHT, _GAP, _LEFT, _NODE = 360.0, 250.0, 6.0, 90.0, 8.0


@dataclasses.dataclass(frozen=True)
class Node:
    """A class at one side: where it stands and how high."""

    name: str
    y: float
    height: float


@dataclasses.dataclass(frozen=True)
class Band:
    """Examples of one class that are taken for another."""

    label: str
    prediction: str
    count: int
    path: str
    thickness: float


@dataclasses.dataclass(frozen=True)
class Flow:
    """Bands between classes, in a picture of `width` by `height`.

    Attributes:
        left, right: Classes as they are, and as they are taken for.
        bands: The largest flows.
        shown, total: Examples in the bands, and in all that broke.
        finding: What it says.
    """

    left: tuple[Node, ...]
    right: tuple[Node, ...]
    bands: tuple[Band, ...]
    shown: int
    total: int
    finding: str
    width: float = _WIDTH
    height: float = _HEIGHT
    margin: float = _LEFT
    node: float = _NODE


def flow(evaluation: Evaluation) -> Flow | None:
    """Arranges the examples that attacks broke; None where there are none."""
    broken = evaluation.broken_by > HELD
    pairs = np.stack([evaluation.label, evaluation.adversarial_prediction])[:, broken]
    if pairs.shape[1] == 0:
        return None
    kinds, counts = np.unique(pairs, axis=1, return_counts=True)
    largest = np.argsort(-counts, kind="stable")[:_BANDS]
    flows = [(int(kinds[0, k]), int(kinds[1, k]), int(counts[k])) for k in largest]
    shown, total = sum(count for *_, count in flows), pairs.shape[1]
    left, right = (_nodes(evaluation, flows, side, shown) for side in (0, 1))
    return Flow(
        left=tuple(left.values()),
        right=tuple(right.values()),
        bands=tuple(_bands(evaluation, flows, left, right, shown)),
        shown=shown,
        total=total,
        finding=_finding(evaluation, flows[0], total),
    )


def _nodes(
    evaluation: Evaluation, flows: list[tuple[int, int, int]], side: int, shown: int
) -> dict[int, Node]:
    sizes: dict[int, int] = {}
    for each in sorted(flows, key=lambda each: each[side]):
        sizes[each[side]] = sizes.get(each[side], 0) + each[2]
    room, y, nodes = _HEIGHT - _GAP * (len(sizes) - 1), 0.0, {}
    for label, size in sizes.items():
        height = room * size / shown
        nodes[label] = Node(class_name(evaluation, label), round(y, 1), round(height, 1))
        y += height + _GAP
    return nodes


def _bands(
    evaluation: Evaluation,
    flows: list[tuple[int, int, int]],
    left: dict[int, Node],
    right: dict[int, Node],
    shown: int,
) -> list[Band]:
    used = {0: dict.fromkeys(left, 0.0), 1: dict.fromkeys(right, 0.0)}
    start, end = _LEFT + _NODE, _WIDTH - _LEFT - _NODE
    middle, bands = (start + end) / 2, []
    for label, prediction, count in sorted(flows):
        middles = []
        for side, nodes, name in ((0, left, label), (1, right, prediction)):
            total = sum(each[2] for each in flows if each[side] == name)
            part = nodes[name].height * count / total
            middles.append((nodes[name].y + used[side][name] + part / 2, part))
            used[side][name] += part
        (y0, thick), (y1, other) = middles
        bend = f"C{middle:g} {y0:.1f} {middle:g} {y1:.1f} {end:g} {y1:.1f}"
        bands.append(
            Band(
                label=class_name(evaluation, label),
                prediction=class_name(evaluation, prediction),
                count=count,
                path=f"M{start:g} {y0:.1f}{bend}",
                thickness=round(min(thick, other), 1),
            )
        )
    return bands


def _finding(evaluation: Evaluation, largest: tuple[int, int, int], total: int) -> str:
    label, prediction, count = largest
    part = _words.percent(count / total)
    return (
        f"Of {total:,} examples that broke, most often {class_name(evaluation, label)} became "
        f"{class_name(evaluation, prediction)} ({count:,}, {part})."
    )
