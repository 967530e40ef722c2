"""`brolly report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..report import RunResults


def report(
    *runs: Path,
    format: Literal["html", "json", "md", "robustbench", "hf-card"] = "html",
    output: Path | None = None,
    data_dir: Path | None = None,
) -> int:
    """Write a report about a run, or about several side by side.

    Parameters
    ----------
    runs
        Run folders that `brolly train` made.
    format
        html: the page. json, md: its numbers, for machines and as Markdown. robustbench: an entry
        for that leaderboard. hf-card: a model card for the Hugging Face hub.
    output
        The file; report.html (report.json, report.md, robustbench.json, README.md) in the run's
        folder, or in the current one for several runs.
    data_dir
        First folder to search for data, whose clean inputs stand beside what broke them; then
        $BROLLY_DATA and the cache. Without the data the page shows the pictures that were kept.
    """
    if not runs:
        raise ValueError(
            "no run given; write for example brolly report runs/digits-robust-1a2b3c4d"
        )
    from ..report import FILES, write_report

    if output is None:
        output = (runs[0] if len(runs) == 1 else Path()) / FILES[format]
    print(write_report(output, [read_results(run, data_dir) for run in runs], format))
    return 0


def read_results(run: Path, data_dir: Path | None) -> RunResults:
    """What a run holds, with the clean inputs beside its evidence if the data is here."""
    from ..data import is_here
    from ..recipes import Recipe, build_data
    from ..report import read_run
    from ..training import RunFolder

    folder = RunFolder(run)
    folder.check()
    if not any(folder.evidence.glob("*.h5")):
        return read_run(run)
    recipe = Recipe.load(folder.recipe)
    here = is_here(recipe.data.name, data_dir)
    return read_run(run, build_data(recipe, data_dir).test if here else None)
