"""Confidence against accuracy, and risk against coverage."""

from __future__ import annotations

import dataclasses

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ..evaluation import Calibration, Measures
from . import _words
from ._svg import inline_svg, paint


@dataclasses.dataclass(frozen=True)
class MeasuresView:
    """What is measured beside robust accuracy, drawn.

    Attributes:
        measures: The numbers.
        about: Which threat they are about, in words.
        reliability, risk: Figures.
        overconfidence: What the reliability diagram says.
        calibrations: Rows of the table: on which inputs, and the calibration there.
    """

    measures: Measures
    about: str
    reliability: Markup
    risk: Markup
    overconfidence: str
    calibrations: tuple[tuple[str, Calibration], ...]


def measures_view(key: str, measures: Measures, about: str) -> MeasuresView:
    """Draws the measures of a run."""
    found = measures.calibration
    finding = _finding(found.clean, found.adversarial)
    scaled = f"temperature {found.temperature:.3g}"
    return MeasuresView(
        measures=measures,
        about=about,
        reliability=inline_svg(
            f"{key}-reliability", finding, (4.4, 3.2),
            lambda figure: _draw_reliability(figure, found.clean, found.adversarial),
        ),
        risk=inline_svg(
            f"{key}-risk", "Risk against coverage", (4.4, 3.2),
            lambda figure: _draw_risk(figure, measures),
        ),
        overconfidence=finding,
        calibrations=(
            ("clean", found.clean),
            ("adversarial", found.adversarial),
            (f"clean, {scaled}", found.scaled_clean),
            (f"adversarial, {scaled}", found.scaled_adversarial),
        ),
    )  # fmt: skip


def _draw_reliability(figure: Figure, clean: Calibration, adversarial: Calibration) -> None:
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=paint("muted"), linewidth=0.8, linestyle=(0, (2, 2)))
    for name, dash, marker, found in (("clean", "-", "o", clean),
                                      ("robust", "--", "s", adversarial)):  # fmt: skip
        confidence = np.array([bar.confidence for bar in found.bins])
        rate = np.array([bar.right.rate for bar in found.bins])
        low, high = np.array([bar.right.interval for bar in found.bins]).reshape(-1, 2).T
        around = np.maximum([rate - low, high - rate], 0)
        axes.errorbar(
            confidence, rate, yerr=around, color=paint(name), linestyle=dash, marker=marker,
            elinewidth=0.8, capsize=2,
        )  # fmt: skip
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("Confidence")
    axes.set_ylabel("Accuracy")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def _draw_risk(figure: Figure, measures: Measures) -> None:
    axes = figure.subplots()
    for name, dash, found in (("clean", "-", measures.selective_clean),
                              ("robust", "--", measures.selective_adversarial)):  # fmt: skip
        coverage = [point.coverage for point in found.curve]
        axes.plot(coverage, [p.risk for p in found.curve], color=paint(name), linestyle=dash)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("Coverage: the surest part that is answered")
    axes.set_ylabel("Risk: errors among them")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def _finding(clean: Calibration, adversarial: Calibration) -> str:
    return (
        f"On clean inputs it is sure of {_words.percent(clean.confidence)} and right on "
        f"{_words.percent(clean.accuracy.rate)}; on adversarial ones sure of "
        f"{_words.percent(adversarial.confidence)} and right on "
        f"{_words.percent(adversarial.accuracy.rate)}."
    )
