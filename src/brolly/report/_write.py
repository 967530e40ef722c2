"""The page itself."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .._files import write_text
from . import _words
from ._page import page
from ._results import RunResults

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
)


def write_report(path: str | Path, runs: Sequence[RunResults]) -> Path:
    """Writes one self-contained HTML page about one run, or several side by side.

    The page needs no network and no JavaScript. It depends on the results alone: the same results
    give the same bytes.

    Args:
        path: The file to write; it is replaced whole or not at all.
        runs: The results to show, in this order.

    Returns:
        The path.

    Raises:
        ValueError: There are no runs.

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
    path = Path(path)
    write_text(path, _environment().get_template("page.html").render(page=page(runs)))
    return path


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({word.__name__: word for word in _FILTERS})
    return environment
