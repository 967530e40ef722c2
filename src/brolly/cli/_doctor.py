"""`brolly doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from ..evaluation import Finding

_STYLES = {"pass": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    model: str | None = None, *, data: str | None = None, data_dir: Path | None = None
) -> int:
    """Look at the environment and, if one is given, at a model before it is attacked.

    Exits with 1 if a check fails.

    Parameters
    ----------
    model
        A run folder, or package.module:factory for a model of your own.
    data
        Data set to try a model of your own on, such as digits.
    data_dir
        First folder to search for data; then $BROLLY_DATA and the cache.
    """
    console = Console()
    console.print(_environment(data_dir))
    if model is None:
        return 0
    from ..evaluation import preflight
    from ._model import load_model_and_data

    network, dataset = load_model_and_data(model, data, data_dir)
    findings = preflight(network, dataset.test, dataset.bounds)
    console.print(_preflight(model, findings))
    return 1 if any(finding.status == "fail" for finding in findings) else 0


def _environment(data_dir: Path | None) -> Table:
    from .._environment import describe_environment
    from ..data import find_data

    table = Table("environment", "", box=None, title_justify="left", show_header=False)
    for name, value in describe_environment().items():
        table.add_row(name, "none" if value is None else str(value))
    for name, place in find_data(data_dir).items():
        table.add_row(f"data: {name}", place)
    return table


def _preflight(model: str, findings: list[Finding]) -> Table:
    table = Table("check", "", "finding", box=None, title=f"\nPreflight of {model}",
                  title_justify="left")  # fmt: skip
    for finding in findings:
        style = _STYLES[finding.status]
        table.add_row(finding.check, f"[{style}]{finding.status}[/]", finding.message)
    return table
