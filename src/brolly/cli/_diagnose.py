"""`brolly diagnose`."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from ..training import Finding

_WIDTH = 100


def diagnose(
    *runs: str,
    lr_range: Annotated[bool, Parameter(negative="")] = False,
    data_dir: Path | None = None,
    device: str | None = None,
) -> int:
    """Name what is wrong with a training, with evidence and thresholds; or find a learning rate.

    Looks for underfitting, overfitting, robust and catastrophic overfitting, unstable training and
    learning rates too high or too low in the metrics of a run, finished or not; for dead units and
    BatchNorm mismatch in its network, where the run is finished and its data is on this machine.
    Keeps what it finds as diagnosis.json and in report.html of the run.

    brolly diagnose RECIPE [OVERRIDES] --lr-range tries rising learning rates on a fresh network of
    a recipe, or of that of a run, instead, and suggests one.

    Parameters
    ----------
    runs
        Run folders that `brolly train` made; with --lr-range a recipe, or a run, and changes to it.
    lr_range
        Learning-rate range test: train a fresh network with learning rates from 1e-5 to 10.
    data_dir
        First folder to search for data; then $BROLLY_DATA and the cache.
    device
        Where to compute the range test: cpu, cuda, cuda:1, ...
    """
    if not runs:
        raise ValueError(
            "no run given; write for example brolly diagnose runs/digits-robust-1a2b3c4d, or "
            "brolly diagnose digits-robust --lr-range"
        )
    if lr_range:
        return _range(runs[0], runs[1:], data_dir, device)
    found = {run: _diagnose(Path(run), data_dir) for run in runs}
    if len(runs) > 1:
        _print_matrix(found)
    for run, findings in found.items():
        _print_findings(run, findings, briefly=len(runs) > 1)
    return 0


def _diagnose(path: Path, data_dir: Path | None) -> tuple[Finding, ...]:
    from ..data import is_here
    from ..recipes import Recipe, load_run
    from ..report import write_report
    from ..training import RunFolder, save_findings
    from ..training import diagnose as look
    from ._report import read_results

    folder = RunFolder(path)
    folder.check()
    recipe = Recipe.load(folder.recipe)
    model = data = None
    if folder.finished and is_here(recipe.data.name, data_dir):
        _, model, data = load_run(path, data_dir)
    findings = look(folder.history(), model, data, batch_size=recipe.batch_size)
    save_findings(folder.diagnosis, findings)
    write_report(folder.report, [read_results(path, data_dir)])
    return findings


def _print_findings(run: str, findings: tuple[Finding, ...], briefly: bool) -> None:
    found = [finding for finding in findings if finding.state == "found"]
    print(f"{run}: {len(found)} of {len(findings)} found")
    for finding in found if briefly else findings:
        lead = f"  {finding.state:<13} {finding.name}: "
        print(textwrap.fill(lead + finding.verdict, _WIDTH, subsequent_indent=" " * 16))
        if finding.state == "found":
            if finding.evidence:
                _print_part("evidence", "; ".join(map(str, finding.evidence)))
            _print_part("threshold", finding.threshold)
            _print_part("source", finding.source)
            _print_part("try", finding.advice)


def _print_part(name: str, text: str) -> None:
    print(textwrap.fill(f"{'':16}{name}: {text}", _WIDTH, subsequent_indent=" " * 18))


def _print_matrix(found: dict[str, tuple[Finding, ...]]) -> None:
    """Findings against runs."""
    for number, run in enumerate(found, start=1):
        print(f"{number:>3}  {run}")
    first = next(iter(found.values()))
    print(f"{'':28}{''.join(f'{number:>14}' for number in range(1, len(found) + 1))}")
    for place, finding in enumerate(first):
        states = "".join(f"{findings[place].state:>14}" for findings in found.values())
        print(f"{finding.name:<28}{states}")
    print()


def _range(
    source: str, overrides: tuple[str, ...], data_dir: Path | None, device: str | None
) -> int:
    from ..recipes import Recipe, range_of_recipe

    recipe = Recipe.load(source, overrides)
    found = range_of_recipe(recipe, data_dir=data_dir, device=device)
    print(
        f"{recipe.name}: the loss fell from {found.smoothed[0]:.4g} to {min(found.smoothed):.4g} "
        f"at a learning rate of {found.highest:.2g}"
        + (f" and rose beyond it, up to {found.rates[-1]:.2g}." if found.turned else ".")
    )
    print(
        f"Suggested: optimizer.lr={found.suggested:.2g}, a tenth of that; the short peak of a "
        f"one-cycle schedule may go up to {found.highest:.2g}. The recipe has "
        f"{recipe.optimizer.build().lr:g}, with {recipe.schedule.name}."
    )
    return 0
