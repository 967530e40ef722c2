"""How far the nearest adversarial inputs are."""

from __future__ import annotations

import dataclasses

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..evaluation import Study
from ..threats import Threat
from . import _words
from ._svg import inline_svg, paint


@dataclasses.dataclass(frozen=True)
class DistanceFigure:
    """A histogram, drawn, and what it says."""

    svg: Markup
    finding: str


def distance_figure(key: str, study: Study, threat: Threat) -> DistanceFigure | None:
    """Draws the distances of a study; None where no example that is right was broken."""
    # Those at 0 were wrong already.
    distance = np.array([d for d in study.minimal.distance if d is not None and d > 0])
    if len(distance) == 0:
        return None
    finding = _finding(study, distance, threat)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        bins = min(30, max(5, round(len(distance) ** 0.5) * 2))
        axes.hist(distance, bins=bins, range=(0, float(distance.max())), color=paint("robust"))
        axes.axvline(threat.eps, color=paint("ink"), linewidth=1, linestyle=(0, (2, 2)))
        axes.annotate(
            f"ε = {threat.eps:.4g}", (threat.eps, 1), xycoords=("data", "axes fraction"),
            xytext=(3, -1), textcoords="offset points", va="top",
        )  # fmt: skip
        axes.margins(y=0.14)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"Distance of the nearest adversarial input ({_words.norm(threat)})")
        axes.set_ylabel("Examples")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))

    return DistanceFigure(inline_svg(key, finding, (4.4, 2.5), draw), finding)


def _finding(study: Study, distance: np.ndarray, threat: Threat) -> str:
    low, middle, high = (f"{value:.3g}" for value in np.quantile(distance, (0.1, 0.5, 0.9)))
    inside = int((distance <= threat.eps).sum())
    nowhere = sum(d is None for d in study.minimal.distance)
    missed = f"; for {nowhere:,} more nothing was found" if nowhere else ""
    return (
        f"Median distance {middle}, with 80% between {low} and {high}; {inside:,} of "
        f"{len(distance):,} lie within ε{missed}."
    )
