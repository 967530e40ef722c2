"""Robust accuracy against eps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..evaluation import WRONG, Count, Evaluation, Study
from . import _words
from ._svg import inline_svg, paint


@dataclasses.dataclass(frozen=True)
class Look:
    """How one line is told from the others."""

    color: str
    dash: str = "-"
    marker: str = "o"


#: Lines of single attacks, which are drawn where there is room for them.
_OF_ATTACKS = (("run-2", "--"), ("run-3", "-."), ("run-4", ":"), ("run-5", "--"), ("run-6", "-."))
_NEAREST = Look("run-1", "-.", "")
_CERTIFIED = Look("proved", "-", "")


@dataclasses.dataclass(frozen=True)
class CurveFigure:
    """A drawn curve and what it says; `lines` are what a legend has to name."""

    svg: Markup
    findings: tuple[str, ...]
    notes: tuple[str, ...]
    lines: tuple[tuple[Look, str], ...]


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
    key: str,
    evaluations: Sequence[Evaluation],
    looks: Sequence[Look],
    labels: Sequence[str],
    studies: Sequence[Study | None],
) -> CurveFigure:
    """Draws the curves of evaluations against threats of one norm on one axis.

    With one evaluation there is room for what single attacks reach, too. Certified accuracy is
    drawn of every one, where there is a study of the same model.
    """
    alone = len(evaluations) == 1
    findings = tuple(
        _finding(evaluation, "" if alone else label)
        for evaluation, label in zip(evaluations, labels, strict=True)
    )
    extra = _extra_lines(evaluations, looks, labels, studies)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for line in extra:
            _draw_line(axes, line)
        for evaluation, look in zip(evaluations, looks, strict=True):
            _draw_curve(axes, evaluation, look)
        _mark_radii(axes, {evaluation.threat.eps for evaluation in evaluations})
        _mark_chance(axes, {len(evaluation.data.classes) for evaluation in evaluations})
        axes.set_xlabel(f"ε ({_words.norm(evaluations[0].threat)}, input units)")
        axes.set_ylabel("Accuracy")
        axes.set_ylim(0, 1.02)
        axes.set_xlim(0, _reach(evaluations, extra))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(PercentFormatter(1))

    svg = inline_svg(key, " ".join(findings), (4.4, 2.9), draw)
    lines = [(line.look, line.name) for line in extra]
    own = [] if alone and not lines else [
        (look, "worst case of all attacks" if alone else label)
        for look, label in zip(looks, labels, strict=True)
    ]  # fmt: skip
    return CurveFigure(svg, findings, _notes(evaluations, studies), (*own, *lines))


@dataclasses.dataclass(frozen=True)
class _Line:
    """A curve beside the worst case: radii and counts."""

    name: str
    look: Look
    points: tuple[tuple[float, Count], ...]


def _extra_lines(
    evaluations: Sequence[Evaluation],
    looks: Sequence[Look],
    labels: Sequence[str],
    studies: Sequence[Study | None],
) -> list[_Line]:
    alone = len(evaluations) == 1
    lines: list[_Line] = []
    if alone:
        lines += _by_attack(evaluations[0])
    for look, label, study in zip(looks, labels, studies, strict=True):
        if study is None:
            continue
        if alone:
            lines.append(_by_nearest(study))
        if study.certified is not None:
            points = tuple((point.eps, point.robust) for point in study.certified.points)
            name = f"certified ({study.certified.certificate})"
            shown = _CERTIFIED if alone else dataclasses.replace(look, dash=":", marker="")
            lines.append(_Line(name if alone else f"{label}, {name}", shown, points))
    return lines


def _by_attack(evaluation: Evaluation) -> list[_Line]:
    """What is left after each attack, by the distances of what it found, up to the radius."""
    if len(evaluation.attacks) < 2 or not evaluation.complete:
        return []
    # Of the examples of the curve, so that the lines meet where they say the same.
    total = evaluation.curve[0].robust.total if evaluation.curve else len(evaluation.index)
    broken_by, distance_of = evaluation.broken_by[:total], evaluation.distance[:total]
    right, eps = int((broken_by != WRONG).sum()), evaluation.threat.eps
    lines = []
    for number, attack in enumerate(evaluation.attacks[: len(_OF_ATTACKS)]):
        found = (broken_by >= 0) & (broken_by <= number)
        distance = np.sort(np.minimum(distance_of[found], eps))
        places = _spread(len(distance), 60)
        points = [(0.0, Count(right, total))]
        points += [(float(distance[k]), Count(right - int(k) - 1, total)) for k in places]
        points.append((eps, Count(right - len(distance), total)))
        color, dash = _OF_ATTACKS[number]
        name = f"{'after ' if number else ''}{attack.name}, by distance"
        lines.append(_Line(name, Look(color, dash, ""), tuple(points)))
    return lines


def _by_nearest(study: Study) -> _Line:
    """Accuracy at every radius by the minimal distances of a study."""
    found = sorted({d for d in study.minimal.distance if d is not None})
    radii = [0.0, *(found[k] for k in _spread(len(found), 120))]
    points = tuple((radius, study.minimal.robust(radius)) for radius in radii)
    return _Line(f"{study.minimal.attack}, by distance", _NEAREST, points)


def _spread(count: int, most: int) -> np.ndarray:
    """Up to `most` places out of `count`, evenly, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _draw_line(axes: Axes, line: _Line) -> None:
    radii = [radius for radius, _ in line.points]
    rates = [count.rate for _, count in line.points]
    color = paint(line.look.color)
    axes.plot(radii, rates, line.look.dash, color=color, linewidth=1.1, clip_on=True)
    low, high = np.array([count.interval for _, count in line.points]).T
    axes.fill_between(radii, low, high, color=color, alpha=0.08, linewidth=0)


def _reach(evaluations: Sequence[Evaluation], lines: Sequence[_Line]) -> float:
    """How far the axis goes: as the curves do, or, without any, as the distances."""
    curves = [curve_of(evaluation)[-1][0] for evaluation in evaluations if evaluation.curve]
    eps = [1.05 * evaluation.threat.eps for evaluation in evaluations]
    ends = [line.points[-1][0] for line in lines]
    return max([*eps, *(curves or ends)]) or 1.0


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


def _notes(evaluations: Sequence[Evaluation], studies: Sequence[Study | None]) -> tuple[str, ...]:
    size = _sizes({len(evaluation.index) for evaluation in evaluations})
    notes = [f"Open markers: clean inputs, and all attacks together, {size}."]
    drawn = [evaluation for evaluation in evaluations if evaluation.curve]
    for attack in sorted({evaluation.curve_attack for evaluation in drawn}):
        sizes = {e.curve[0].robust.total for e in drawn if e.curve_attack == attack}
        by = f": {attack}" if attack else ""
        notes.append(f"Line{by}, {_sizes(sizes)}.")
    if not drawn:
        notes.append("Other radii were not tried.")
    totals = {study.clean.total for study in studies if study is not None}
    if totals:
        notes.append(
            f"Certified accuracy{' and nearest inputs' if len(evaluations) == 1 else ''}: "
            f"{_sizes(totals)} (brolly study); but for the intervals, true accuracies lie "
            "between the certified and the lowest other line."
        )
    if len(evaluations) == 1 and len(evaluations[0].attacks) > 1 and evaluations[0].complete:
        notes.append(
            "By distance: an attack that was not asked for the nearest input breaks nothing "
            "nearer, so those lines are upper bounds that fall late."
        )
    notes.append("Bands and bars are 95% Wilson intervals.")
    return tuple(notes)


def _sizes(totals: set[int]) -> str:
    return " or ".join(_words.number(total) for total in sorted(totals))
