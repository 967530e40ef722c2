"""Robust accuracy against eps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..evaluation import WRONG, Count, Evaluation
from . import _words
from ._svg import inline_svg, paint


@dataclasses.dataclass(frozen=True)
class Look:
    """How one line is told from the others."""

    color: str
    dash: str = "-"
    marker: str = "o"


@dataclasses.dataclass(frozen=True)
class CurveFigure:
    """A drawn curve and what it says."""

    svg: Markup
    findings: tuple[str, ...]
    notes: tuple[str, ...]


def curve_of(evaluation: Evaluation) -> list[tuple[float, Count]]:
    """Radii and counts, beginning with the clean inputs at 0; empty if no curve was made."""
    if not evaluation.curve:
        return []
    points = [(point.eps, point.robust) for point in evaluation.curve]
    if points[0][0] > 0:
        total = points[0][1].total
        right = int((evaluation.broken_by[:total] != WRONG).sum())
        points.insert(0, (0.0, Count(right, total)))
    return points


def curve_figure(
    key: str, evaluations: Sequence[Evaluation], looks: Sequence[Look], labels: Sequence[str]
) -> CurveFigure:
    """Draws the curves of evaluations against threats of one norm on one axis."""
    findings = tuple(
        _finding(evaluation, label if len(labels) > 1 else "")
        for evaluation, label in zip(evaluations, labels, strict=True)
    )

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for evaluation, look in zip(evaluations, looks, strict=True):
            _draw_curve(axes, evaluation, look)
        _mark_radii(axes, {evaluation.threat.eps for evaluation in evaluations})
        _mark_chance(axes, {len(evaluation.data.classes) for evaluation in evaluations})
        axes.set_xlabel(f"ε ({_words.norm(evaluations[0].threat)}, input units)")
        axes.set_ylabel("Accuracy")
        axes.set_ylim(0, 1.02)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(PercentFormatter(1))

    svg = inline_svg(key, " ".join(findings), (4.4, 2.9), draw)
    return CurveFigure(svg, findings, _notes(evaluations))


def _draw_curve(axes: Axes, evaluation: Evaluation, look: Look) -> None:
    color, points = paint(look.color), curve_of(evaluation)
    if points:
        eps = [radius for radius, _ in points]
        low, high = np.array([count.interval for _, count in points]).T
        axes.fill_between(eps, low, high, color=color, alpha=0.18, linewidth=0)
        rates = [count.rate for _, count in points]
        axes.plot(eps, rates, look.dash, color=color, marker=look.marker, clip_on=False)
    for eps, count in ((0, evaluation.clean), (evaluation.threat.eps, evaluation.robust)):
        low, high = count.interval
        around = [[max(count.rate - low, 0)], [max(high - count.rate, 0)]]
        axes.errorbar(
            [eps], [count.rate], yerr=around, color=color, marker=look.marker, markersize=6,
            markerfacecolor=paint("paper"), markeredgewidth=1.5, capsize=2.5, zorder=5,
            clip_on=False,
        )  # fmt: skip


def _mark_radii(axes: Axes, radii: set[float]) -> None:
    for eps in sorted(radii):
        axes.axvline(eps, color=paint("muted"), linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
        axes.annotate(
            f"ε = {eps:.4g}", (eps, 1.02), xytext=(3, -1), textcoords="offset points",
            va="top", color=paint("muted"), xycoords=("data", "data"),
        )  # fmt: skip


def _mark_chance(axes: Axes, classes: set[int]) -> None:
    if len(classes) != 1 or (number := classes.pop()) < 2:
        return
    axes.axhline(1 / number, color=paint("muted"), linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    axes.annotate(
        "chance", (0, 1 / number), xycoords=("axes fraction", "data"), xytext=(3, 2),
        textcoords="offset points", color=paint("muted"),
    )  # fmt: skip


def _finding(evaluation: Evaluation, label: str) -> str:
    who = f"{label}: from" if label else "From"
    so_far = "" if evaluation.complete else ", so far"
    return (
        f"{who} {_words.percent(evaluation.clean.rate)} on clean inputs to "
        f"{_words.percent(evaluation.robust.rate)} {_words.interval(evaluation.robust)} at "
        f"{_words.radius(evaluation.threat)}{so_far}."
    )


def _notes(evaluations: Sequence[Evaluation]) -> tuple[str, ...]:
    size = _sizes({len(evaluation.index) for evaluation in evaluations})
    notes = [f"Open markers: clean inputs, and all attacks together, {size}."]
    drawn = [evaluation for evaluation in evaluations if evaluation.curve]
    for attack in sorted({evaluation.curve_attack for evaluation in drawn}):
        sizes = {e.curve[0].robust.total for e in drawn if e.curve_attack == attack}
        by = f": {attack}" if attack else ""
        notes.append(f"Line{by}, {_sizes(sizes)}.")
    if not drawn:
        notes.append("Other radii were not tried.")
    notes.append("Bands and bars are 95% Wilson intervals.")
    return tuple(notes)


def _sizes(totals: set[int]) -> str:
    return " or ".join(_words.number(total) for total in sorted(totals))
