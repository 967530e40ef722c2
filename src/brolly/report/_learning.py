"""Learning curves."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from . import _words
from ._svg import inline_svg, paint

Rows = Sequence[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Learning:
    """Learning curves, what they say, and what happened on the way."""

    svg: Markup
    finding: str
    notes: tuple[tuple[int, str], ...]
    kinds: tuple[str, ...]


def learning(key: str, rows: Rows) -> Learning | None:
    """Draws the metrics of a run; None if there are none."""
    rows = [row for row in rows if "epoch" in row]
    if not rows:
        return None
    kinds = tuple(kind for kind in ("clean", "robust") if _any(rows, f"validation_{kind}"))
    finding = _finding(rows, kinds)

    def draw(figure: Figure) -> None:
        rates = _any(rows, "learning_rate")
        heights = [4, 1] if rates else [1]
        grid = figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)
        panels: list[Axes] = list(grid[:, 0])
        _draw_accuracy(panels[0], rows, kinds)
        if rates:
            panels[1].plot(_column(rows, "epoch"), _column(rows, "learning_rate"),
                           color=paint("muted"), drawstyle="steps-mid")  # fmt: skip
            panels[1].set_ylabel("Learning\nrate")
            panels[1].set_ylim(bottom=0)
            panels[1].yaxis.set_major_locator(MaxNLocator(2))
        panels[-1].set_xlabel("Epoch")
        panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        _mark_best(panels, rows)

    notes = tuple((int(row["epoch"]), str(row["note"])) for row in rows if row.get("note"))
    return Learning(inline_svg(key, finding, (4.4, 3.5), draw), finding, notes, kinds)


def best_row(rows: Rows) -> dict[str, Any] | None:
    """The epoch that was kept: the last that was the best so far."""
    return next((row for row in reversed(rows) if row.get("best")), None)


def _draw_accuracy(axes: Axes, rows: Rows, kinds: Sequence[str]) -> None:
    epochs = _column(rows, "epoch")
    for kind in kinds:
        train, validation = _column(rows, f"train_{kind}"), _column(rows, f"validation_{kind}")
        marker = "o" if len(rows) < 3 else ""
        axes.fill_between(epochs, train, validation, color=paint(kind), alpha=0.15, linewidth=0)
        axes.plot(epochs, train, "--", color=paint(kind), linewidth=1, marker=marker)
        axes.plot(epochs, validation, color=paint(kind), marker=marker)
    noted = [row["epoch"] for row in rows if row.get("note")]
    if noted:
        axes.plot(noted, [0.02] * len(noted), "^", color=paint("ink"), markersize=5)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("Accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def _mark_best(panels: Sequence[Axes], rows: Rows) -> None:
    best = best_row(rows)
    if best is None:
        return
    for axes in panels:
        axes.axvline(best["epoch"], color=paint("ink"), linewidth=0.8, linestyle=(0, (2, 2)))
    late = best["epoch"] > (rows[0]["epoch"] + rows[-1]["epoch"]) / 2
    panels[0].annotate(
        f"best: epoch {best['epoch']}", (best["epoch"], 0), xytext=(-4 if late else 4, 12),
        textcoords="offset points", ha="right" if late else "left",
    )  # fmt: skip


def _finding(rows: Rows, kinds: Sequence[str]) -> str:
    best = best_row(rows)
    if best is None:
        return f"{len(rows)} epochs; none was marked as the best."
    parts = []
    for kind in kinds:
        train, validation = best.get(f"train_{kind}"), best.get(f"validation_{kind}")
        if validation is None:
            continue
        gap = "" if train is None else f", {_gap(float(train - validation))} train"
        parts.append(f"{_words.percent(validation)} {kind} on validation{gap}")
    which = f"Best epoch {best['epoch']} of {rows[-1]['epoch']}"
    return f"{which}: {'; '.join(parts)}." if parts else f"{which}."


def _gap(difference: float) -> str:
    return f"{_words.points(abs(difference))} {'below' if difference >= 0 else 'above'}"


def _column(rows: Rows, name: str) -> list[float]:
    return [math.nan if row.get(name) is None else float(row[name]) for row in rows]


def _any(rows: Rows, name: str) -> bool:
    return any(row.get(name) is not None for row in rows)
