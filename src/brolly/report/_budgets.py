"""Robust accuracy against what an attack may spend."""

from __future__ import annotations

import dataclasses

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from ..evaluation import BudgetCurve, Study
from . import _words
from ._svg import inline_svg, paint

_AXES = {"steps": "Steps", "restarts": "Restarts", "queries": "Queries (no gradients)"}
_TICKS = {"steps": (1, 2, 5, 10, 20, 50, 100), "restarts": (1, 2, 3, 4, 5)}
_DECADES = (1, 10, 100, 1000)


@dataclasses.dataclass(frozen=True)
class BudgetFigure:
    """One curve, drawn."""

    kind: str
    svg: Markup
    finding: str


def budget_figures(key: str, study: Study) -> tuple[BudgetFigure, ...]:
    """One figure a curve of a study."""
    return tuple(_figure(f"{key}-{curve.kind}", study, curve) for curve in study.budgets)


def _figure(key: str, study: Study, curve: BudgetCurve) -> BudgetFigure:
    budgets = [point.budget for point in curve.points]
    counts = [point.robust for point in curve.points]
    finding = _finding(curve)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        low, high = np.array([count.interval for count in counts]).T
        color = paint("robust")
        axes.fill_between(budgets, low, high, color=color, alpha=0.18, linewidth=0)
        axes.plot(budgets, [count.rate for count in counts], color=color, marker="o")
        axes.axhline(study.clean.rate, color=paint("clean"), linewidth=1, linestyle="--")
        axes.annotate(
            "clean", (1, study.clean.rate), xycoords=("axes fraction", "data"), xytext=(0, 2),
            textcoords="offset points", ha="right", color=paint("clean"),
        )  # fmt: skip
        axes.set_xscale("linear" if curve.kind == "restarts" else "log")
        axes.xaxis.set_major_locator(FixedLocator(_TICKS.get(curve.kind, _DECADES)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_ylim(0, 1.08)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xlabel(_AXES[curve.kind])

    return BudgetFigure(curve.kind, inline_svg(key, finding, (2.9, 2.2), draw), finding)


def _finding(curve: BudgetCurve) -> str:
    before, last = curve.points[-2:]
    lost = before.robust.rate - last.robust.rate
    return (
        f"{curve.attack}: {_words.rate(last.robust)} after {last.budget:,} {curve.kind}, "
        f"{_words.points(lost)} less than after {before.budget:,}."
    )
