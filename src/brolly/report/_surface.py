"""The loss around some inputs."""

from __future__ import annotations

import dataclasses

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..evaluation import Study
from ._svg import inline_svg, paint


@dataclasses.dataclass(frozen=True)
class SurfaceFigure:
    """The loss around one input, drawn."""

    index: int
    svg: Markup
    finding: str


def surface_figures(key: str, study: Study) -> tuple[SurfaceFigure, ...]:
    """One figure an input, all with the same colours."""
    surface = study.surface
    if surface is None:
        return ()
    losses, margins = surface.cross_entropy.values, surface.margin.values
    finite = losses[np.isfinite(losses)]
    top = float(finite.max()) if len(finite) else 1.0
    return tuple(
        _figure(f"{key}-{number}", index, losses[number], margins[number], surface.extent, top)
        for number, index in enumerate(surface.index)
    )


def _figure(
    key: str, index: int, loss: np.ndarray, margin: np.ndarray, extent: float, top: float
) -> SurfaceFigure:
    finding = _finding(index, margin)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        edge = extent * (1 + 1 / (len(loss) - 1))  # each value is in the middle of its square
        image = axes.imshow(
            loss, origin="lower", extent=(-edge, edge, -edge, edge), vmin=0, vmax=max(top, 1e-6),
            cmap="viridis", interpolation="none",
        )  # fmt: skip
        places = np.linspace(-extent, extent, len(loss))
        if np.nanmin(margin) < 0 < np.nanmax(margin):
            line = paint("on-map")
            axes.contour(places, places, margin, levels=[0], colors=[line], linewidths=1.4)
        axes.add_patch(
            Rectangle((-1, -1), 2, 2, fill=False, edgecolor=paint("on-map"), linestyle=(0, (3, 2)))
        )
        axes.plot([0], [0], "+", color=paint("on-map"), markersize=6)
        axes.grid(visible=False)
        axes.set_xticks([-extent, -1, 0, 1, extent])
        axes.set_yticks([-extent, -1, 0, 1, extent])
        axes.set_xlabel("Along the gradient (ε)")
        axes.set_ylabel("Random direction (ε)")
        bar = figure.colorbar(image, ax=axes, shrink=0.8, ticks=[0, top / 2, top], format="%.2g")
        bar.outline.set_visible(False)  # pyright: ignore

    return SurfaceFigure(index, inline_svg(key, finding, (2.9, 2.4), draw), finding)


def _finding(index: int, margin: np.ndarray) -> str:
    wrong = float((~(margin < 0)).mean())
    if not wrong:
        return f"No. {index}: right on the whole square."
    return f"No. {index}: wrong on {wrong:.0%} of the square."
