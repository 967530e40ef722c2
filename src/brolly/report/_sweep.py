"""A sweep on one page: clean against robust accuracy, and which configuration to take."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from .._files import write_text
from . import _words
from ._svg import inline_svg, paint
from ._write import environment

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class SweepPage:
    """A sweep, arranged for the page. `rows` are numbered and sorted, the best first."""

    sweep: Row
    command: str
    keys: tuple[str, ...]
    rows: tuple[tuple[int, Row], ...]
    best: Row | None
    finding: str
    doubt: str
    edges: tuple[str, ...]
    figure: Markup | None
    caption: str
    tested: int


def write_sweep(path: str | Path, sweep: Mapping[str, Any], command: str = "") -> Path:
    """Writes a sweep as one self-contained page, from its data alone.

    Args:
        path: The file to write; it is replaced whole or not at all.
        sweep: What `Sweep.to_json` gives, or `sweep.json` holds.
        command: What made it, for others to repeat.

    Returns:
        The path.

    Example:
        >>> import tempfile, brolly
        >>> from pathlib import Path
        >>> from brolly.recipes import Sweep
        >>> from brolly.report import write_sweep
        >>> folder = Path(tempfile.mkdtemp())
        >>> empty = Sweep("demo", folder, "grid", "robust", "linf:0.1", (), (), 100, ())
        >>> write_sweep(folder / "sweep.html", empty.to_json()).name
        'sweep.html'
    """
    page = _page(sweep, command)
    write_text(path, environment().get_template("sweep.html").render(page=page))
    return Path(path)


def _page(sweep: Row, command: str) -> SweepPage:
    every: Sequence[Row] = sweep["configurations"]
    metric = sweep["selected_by"]["metric"]
    rows = sorted(enumerate(every, 1), key=lambda pair: _rank(pair[1], metric))
    best = None if sweep["best"] is None else every[sweep["best"]]
    caption = _caption(every, sweep["pareto"])
    drawable = any(row["status"] == "done" for row in every)
    return SweepPage(
        sweep=sweep,
        command=command,
        keys=tuple(dict.fromkeys(key for row in every for key in row["values"])),
        rows=tuple(rows),
        best=best,
        finding=_finding(best, metric, sweep["selected_by"]["examples"]),
        doubt=_doubt([row for _, row in rows if row["status"] == "done"], metric),
        edges=tuple(_edges(best, every)),
        figure=_figure(sweep, caption) if drawable else None,
        caption=caption,
        tested=len({_words.label(test) for test in sweep["tests"]}),
    )


def _rank(row: Row, metric: str) -> tuple[bool, float, float]:
    means = [-1.0 if row[kind] is None else row[kind]["mean"] for kind in ("clean", "robust")]
    first, second = means if metric == "clean" else reversed(means)
    return row["status"] != "done", -first, -second


def _finding(best: Row | None, metric: str, examples: int) -> str:
    if best is None:
        return "No configuration is done yet, so there is none to choose."
    seeds = best[metric]["n"]
    over = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    other = "clean" if metric == "robust" else "robust"
    return (
        f"{_words.label(best) or 'The recipe as it is'}: {_words.spread(best[metric])} {metric}, "
        f"{_words.spread(best[other])} {other} ({over}; {_words.number(examples)} validation "
        "examples)."
    )


def _doubt(done: Sequence[Row], metric: str) -> str:
    """Whether chance may have put the first before the second."""
    if len(done) < 2:
        return ""
    first, second = done[0][metric], done[1][metric]
    if first["n"] < 2 or second["n"] < 2:
        return "With one seed each, chance may have set the order."
    if first["mean"] - second["mean"] <= max(first["sd"], second["sd"]):
        next_best = _words.label(done[1])
        return f"{next_best} is within one standard deviation, so chance may have set the order."
    return ""


def _edges(best: Row | None, every: Sequence[Row]) -> list[str]:
    """Keys whose best value is the least or largest of three or more that were tried."""
    if best is None:
        return []
    found = []
    for key, value in best["values"].items():
        tried = {row["values"][key] for row in every if _is_number(row["values"][key])}
        if _is_number(value) and len(tried) > 2 and value in (min(tried), max(tried)):
            end = "least" if value == min(tried) else "largest"
            found.append(f"{key} {_words.chosen(value)} is the {end} value tried")
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _caption(every: Sequence[Row], front: Sequence[int]) -> str:
    done = sum(row["status"] == "done" for row in every)
    if not done:
        return ""
    names = _words.listed([f"#{place + 1}" for place in front])
    are = "are on the Pareto front: none beats them" if len(front) > 1 else (
        "is the Pareto front: none beats it"
    )  # fmt: skip
    return f"Of {done} configurations, {names} {are} in one accuracy without losing in the other."


def _figure(sweep: Row, alt: str) -> Markup:
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        front = set(sweep["pareto"])
        for place, row in enumerate(sweep["configurations"]):
            if row["status"] == "done":
                _draw(axes, place, row, place in front, place == sweep["best"])
        points = [sweep["configurations"][place] for place in front]
        ends = sorted((row["clean"]["mean"], row["robust"]["mean"]) for row in points)
        axes.plot(
            *zip(*ends, strict=True), ":", color=paint("robust"), drawstyle="steps-pre",
            linewidth=1, zorder=1,
        )  # fmt: skip
        axes.set_xlabel("Clean accuracy, validation")
        axes.set_ylabel("Robust accuracy, validation")
        axes.margins(0.12)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1))

    return inline_svg("pareto", alt, (5.2, 3.6), draw)


def _draw(axes: Axes, place: int, row: Row, on_front: bool, is_best: bool) -> None:
    color = paint("robust" if on_front else "muted")
    clean, robust = row["clean"], row["robust"]
    axes.errorbar(
        [clean["mean"]], [robust["mean"]], xerr=clean["sd"], yerr=robust["sd"], color=color,
        marker="D" if is_best else "o", markersize=7 if is_best else 4, elinewidth=0.8, capsize=2,
        markerfacecolor=paint("paper") if is_best else color, markeredgewidth=1.3,
        zorder=4 if is_best else 3 if on_front else 2,
    )  # fmt: skip
    if on_front or is_best:
        axes.annotate(
            f"#{place + 1}", (clean["mean"], robust["mean"]), xytext=(6, 5),
            textcoords="offset points",
        )  # fmt: skip
