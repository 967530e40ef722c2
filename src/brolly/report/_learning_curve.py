"""A learning curve on one page: errors against the size of the training set or the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter

from .._files import write_text
from . import _words
from ._svg import inline_svg, paint
from ._write import environment

#: Colour, dash and marker of each error.
_LOOKS = {
    "train": ("clean", "--", "o"),
    "validation": ("robust", "-", "s"),
    "test (final evaluation)": ("proved", ":", "D"),
}


def write_curve(path: str | Path, curve: Mapping[str, Any], command: str = "") -> Path:
    """Writes a learning curve as one self-contained page, from its data alone.

    Args:
        path: The file to write; it is replaced whole or not at all.
        curve: What `LearningCurve.to_json` gives, or `curve.json` holds.
        command: What made it, for others to repeat.

    Returns:
        The path.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from brolly.recipes import LearningCurve
        >>> from brolly.report import write_curve
        >>> folder = Path(tempfile.mkdtemp())
        >>> empty = LearningCurve("demo", "data.examples", folder, ())
        >>> write_curve(folder / "curve.html", empty.to_json()).name
        'curve.html'
    """
    finding = _finding(curve)
    template = environment().get_template("curve.html")
    text = template.render(
        curve=curve, names=_names(curve), finding=finding, figure=_figure(curve, finding),
        command=command,
    )  # fmt: skip
    write_text(path, text)
    return Path(path)


def _names(curve: Mapping[str, Any]) -> list[str]:
    """Errors that were measured at any size."""
    return [name for name in _LOOKS if any(point["errors"].get(name) for point in curve["points"])]


def _finding(curve: Mapping[str, Any]) -> str:
    done = [point for point in curve["points"] if point["errors"]["validation"]]
    if not done:
        return "No network is trained yet."
    first, last = done[0], done[-1]
    texts = [
        f"{_words.spread(point['errors']['validation'])} validation error at {point['size']:g}, a "
        f"gap of {_words.spread(point['errors']['gap'])} to training error"
        for point in ([first, last] if len(done) > 1 else [last])
    ]
    return f"{curve['key']}: {'; '.join(texts)}."


def _figure(curve: Mapping[str, Any], alt: str) -> Markup | None:
    names = _names(curve)
    if not names:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for name in names:
            color, dash, marker = _LOOKS[name]
            points = [point for point in curve["points"] if point["errors"].get(name)]
            spreads = [point["errors"][name] for point in points]
            axes.errorbar(
                [point["size"] for point in points], [spread["mean"] for spread in spreads],
                yerr=[spread["sd"] or 0.0 for spread in spreads], color=paint(color),
                linestyle=dash, marker=marker, label=name, elinewidth=0.8, capsize=2,
            )  # fmt: skip
        sizes = [point["size"] for point in curve["points"]]
        if min(sizes) > 0:
            axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(_AXES.get(str(curve["key"]), str(curve["key"])))
        axes.set_ylabel("Clean error")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.legend(frameon=False)

    return inline_svg("curve", alt, (5.2, 3.4), draw)


_AXES = {"data.examples": "Training examples"}
