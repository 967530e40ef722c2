"""`brolly demo`."""

from __future__ import annotations

from pathlib import Path


def demo(*, folder: Path = Path("demo")) -> int:
    """Train a plain and a robust network on handwritten digits, attack both, show the difference.

    Takes about a minute on two CPU cores and needs no download.

    Parameters
    ----------
    folder
        Where runs and report.html go.
    """
    from ..recipes import Recipe
    from ..report import write_report
    from ..training import RunFolder
    from ._evaluate import evaluate_run
    from ._report import read_results
    from ._train import train_in

    runs = []
    for name in ("digits-plain", "digits-robust"):
        recipe = Recipe.load(name)
        run = RunFolder(folder / recipe.folder)
        if code := train_in(recipe, run):
            return code
        command = f"brolly evaluate {run.path}"
        print(evaluate_run(run.path, command=command).verdict())
        runs.append(run.path)
    page = write_report(folder / "report.html", [read_results(run, None) for run in runs])
    print(f"\nReport: {page.resolve()}")
    return 0
