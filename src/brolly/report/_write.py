"""The report as a file."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .._files import write_text
from .._names import suggest
from . import _words
from ._page import page
from ._publish import model_card, robustbench
from ._results import RunResults
from ._summary import markdown, summary

_TEMPLATES = Path(__file__).parent / "templates"
_SCRIPT = _TEMPLATES / "browser.js"

_FILTERS = (
    _words.percent,
    _words.points,
    _words.interval,
    _words.number,
    _words.duration,
    _words.thousands,
    _words.radius,
    _words.short,
    _words.norm,
    _words.allowed,
    _words.rate,
    _words.estimate,
    _words.chosen,
    _words.label,
    _words.spread,
)


#: Forms of a report, and what each file is called.
FILES: Mapping[str, str] = MappingProxyType(
    {
        "html": "report.html",
        "json": "report.json",
        "md": "report.md",
        "robustbench": "robustbench.json",
        "hf-card": "README.md",
    }
)

Format = Literal["html", "json", "md", "robustbench", "hf-card"]


def write_report(path: str | Path, runs: Sequence[RunResults], format: Format = "html") -> Path:
    """Writes a report about one run, or several side by side.

    `html` is one self-contained page; `json` and `md` are its numbers; `robustbench` is an entry
    for that leaderboard and `hf-card` a model card for the Hugging Face hub, both of one run.

    The page needs no network; without JavaScript only the walk through broken examples is missing.
    It depends on the results alone: the same results give the same bytes.

    Args:
        path: The file to write; it is replaced whole or not at all.
        runs: The results to show, in this order.
        format: One of `FILES`, which says what such a file is called.

    Returns:
        The path.

    Raises:
        ValueError: There are no runs, the format is unknown, or it is about one complete run.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from brolly.report import RunResults, write_report
        >>> run = RunResults("plain", recipe={}, metrics=[], evaluations=[], environment={})
        >>> write_report(Path(tempfile.mkdtemp()) / "report.html", [run]).name
        'report.html'
    """
    if not runs:
        raise ValueError("there is nothing to report: expected at least one run, got none")
    if format == "html":
        text = _page(runs)
    elif format == "md":
        text = markdown(runs)
    elif format == "hf-card":
        text = model_card(runs)
    elif format in FILES:
        value = robustbench(runs) if format == "robustbench" else summary(runs)
        text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    else:
        raise ValueError(f"format {format!r} is unknown. {suggest(format, FILES)}")
    write_text(path, text)
    return Path(path)


def _page(runs: Sequence[RunResults]) -> str:
    script = Markup(_SCRIPT.read_text(encoding="utf-8"))
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    template = environment().get_template("page.html")
    return template.render(page=page(runs), script=script, script_sha256=allowed)


@functools.cache
def environment() -> Environment:
    """Templates, and the words they use."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({word.__name__: word for word in _FILTERS})
    return environment
