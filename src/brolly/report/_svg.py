"""Charts as inline SVG whose colours follow the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

#: Runs are told apart by hue, dash and marker together.
HUES, DASHES, MARKERS = 6, ("-", "--", "-.", ":"), ("o", "s", "^", "D", "v", "P")

_RUNS = [f"run-{number}" for number in range(1, HUES + 1)]
_NAMES = ["paper", "ink", "muted", "rule", "clean", "robust", "proved", "on-map", *_RUNS]
# matplotlib knows no CSS variables, so each stands in as a colour that nothing else uses.
_STAND_INS = {name: f"#fe01{number:02x}" for number, name in enumerate(_NAMES)}
_CSS = {stand_in: f"var(--{name})" for name, stand_in in _STAND_INS.items()}

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "brolly",
    "font.size": 8.5,
    "text.color": _STAND_INS["ink"],
    "axes.edgecolor": _STAND_INS["muted"],
    "axes.labelcolor": _STAND_INS["ink"],
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _STAND_INS["rule"],
    "grid.linewidth": 0.6,
    "xtick.color": _STAND_INS["muted"],
    "ytick.color": _STAND_INS["muted"],
    "xtick.labelcolor": _STAND_INS["ink"],
    "ytick.labelcolor": _STAND_INS["ink"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 6,
    "lines.linewidth": 1.5,
    "lines.markersize": 3.5,
}

_CLUTTER = re.compile(
    r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>|font-family: [^;\"]*;?",
    re.DOTALL,
)


def paint(name: str) -> str:
    """A colour for matplotlib that becomes the CSS variable `--name` on the page."""
    return _STAND_INS[name]


def inline_svg(
    key: str, alt: str, size: tuple[float, float], draw: Callable[[Figure], None]
) -> Markup:
    """Draws a figure and returns it as an `<svg>` element for a page.

    Text stays text, in the font of the page. It must be ours, not a user's: matplotlib reads `$`
    as mathematics and has no glyphs for many scripts.

    Args:
        key: Unique on the page; every id of the figure begins with it.
        alt: What the figure shows, for those who cannot see it.
        size: Width and height in inches; the page scales it.
        draw: Draws into the empty figure.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever style the user's own session has on
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return Markup(_for_page(buffer.getvalue(), key, alt))


def _for_page(svg: str, key: str, alt: str) -> str:
    body = svg[svg.index("<svg") :]
    start = body.index(">") + 1
    box = re.search(r'viewBox="([^"]*)"', body[:start])
    assert box is not None
    body = _CLUTTER.sub("", body[start:]).replace("xlink:href", "href")
    body = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{key}-", body)
    body = re.sub(r"#fe01[0-9a-f]{2}", lambda match: _CSS[match.group()], body)
    body = re.sub(r"\n\s*", "\n", body)
    return f'<svg role="img" aria-label="{escape(alt)}" viewBox="{box.group(1)}">{body}'
