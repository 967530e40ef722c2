"""`brolly report`."""

from __future__ import annotations

from pathlib import Path


def report(*runs: Path, output: Path | None = None) -> int:
    """Write one HTML page about a run, or about several side by side.

    Parameters
    ----------
    runs
        Run folders that `brolly train` made.
    output
        The page; report.html in the run's folder, or in the current one for several runs.
    """
    if not runs:
        raise ValueError(
            "no run given; write for example brolly report runs/digits-robust-1a2b3c4d"
        )
    from ..report import read_run, write_report
    from ..training import RunFolder

    for run in runs:
        RunFolder(run).check()
    if output is None:
        output = runs[0] / "report.html" if len(runs) == 1 else Path("report.html")
    print(write_report(output, [read_run(run) for run in runs]))
    return 0
