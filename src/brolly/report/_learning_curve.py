"""A learning curve on one page: errors against the size of the training set or the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter

from .._files import write_text
from . import _words
from ._svg import inline_svg, paint
from ._write import environment

#: Colour, dash and marker of the errors on each split.
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
        curve=curve, columns=_columns(curve), finding=finding, figure=_figure(curve, finding),
        command=command,
    )  # fmt: skip
    write_text(path, text)
    return Path(path)


def _columns(curve: Mapping[str, Any]) -> list[str]:
    """Errors and gaps that were measured at any size."""
    points = curve["points"]
    names = dict.fromkeys(name for point in points for name in point["errors"])
    return [name for name in names if any(point["errors"].get(name) for point in points)]


def _finding(curve: Mapping[str, Any]) -> str:
    done = [point for point in curve["points"] if point["errors"]["validation"]]
    if not done:
        return "No network is trained yet."
    first, last = done[0], done[-1]
    texts = map(_sentence, [first, last] if len(done) > 1 else [last])
    return f"{curve['key']}: {'; '.join(texts)}."


def _sentence(point: Mapping[str, Any]) -> str:
    errors = point["errors"]
    text = (
        f"{_words.spread(errors['validation'])} validation error at {_value(point)}, a gap of "
        f"{_words.spread(errors['gap'])} to training error"
    )
    if robust := errors.get("robust validation"):
        text += f", {_words.spread(robust)} robust validation error"
    return text


def _value(point: Mapping[str, Any]) -> str:
    """The value of the key that varies."""
    return point.get("value") or f"{point['size']:g}"


def _figure(curve: Mapping[str, Any], alt: str) -> Markup | None:
    columns = _columns(curve)
    kinds = [kind for kind in ("", "robust ") if any(kind + name in columns for name in _LOOKS)]
    if not kinds:
        return None

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
        for axes, kind in zip(panels, kinds, strict=True):
            _draw_errors(axes, curve, kind)
            axes.set_ylabel(f"{kind or 'clean '}error".capitalize())
        panels[0].set_ylim(bottom=0)  # of all, once all is drawn
        panels[0].legend(frameon=False)

    return inline_svg("curve", alt, (1.4 + 3.8 * len(kinds), 3.4), draw)


def _draw_errors(axes: Axes, curve: Mapping[str, Any], kind: str) -> None:
    for name, (color, dash, marker) in _LOOKS.items():
        points = [point for point in curve["points"] if point["errors"].get(kind + name)]
        if not points:
            continue
        spreads = [point["errors"][kind + name] for point in points]
        axes.errorbar(
            [point["size"] for point in points], [spread["mean"] for spread in spreads],
            yerr=[spread["sd"] or 0.0 for spread in spreads], color=paint(color),
            linestyle=dash, marker=marker, label=name, elinewidth=0.8, capsize=2,
        )  # fmt: skip
    sizes = [point["size"] for point in curve["points"]]
    if min(sizes) > 0:
        axes.set_xscale("log")
    axis = str(curve.get("axis", curve["key"]))
    text = "{:,}" if axis == "parameters" else "{:g}"
    axes.set_xticks(sizes, [text.format(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(_AXES.get(axis, axis))
    axes.yaxis.set_major_formatter(PercentFormatter(1))


_AXES = {"data.examples": "Training examples", "parameters": "Parameters"}
