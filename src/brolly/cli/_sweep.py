"""`brolly sweep`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ._command import command
from ._live import LiveTable, clock, visible_rows

if TYPE_CHECKING:
    from ..recipes import Configuration, Sweep, Trial


def sweep(
    recipe: str,
    *grid: str,
    seeds: int = 3,
    search: Literal["grid", "random", "optuna"] = "grid",
    trials: int | None = None,
    workers: int = 1,
    evaluate_best: Annotated[bool, Parameter(negative="")] = False,
    output_dir: Path | None = None,
    data_dir: Path | None = None,
    device: str | None = None,
) -> int:
    """Train a recipe with many values of its keys, and choose by the validation split.

    The same command goes on if interrupted, and several of it may run at once, on one folder.

    Parameters
    ----------
    recipe
        Name of a shipped recipe, or a YAML file.
    grid
        Keys and values: lr=0.01,0.1 beta=1..6 weight_decay=1e-5..1e-2:log epochs=5. A key is a
        path in the recipe, or the end of exactly one; with one value it holds for all.
    seeds
        Trials of each configuration, with the recipe's seed and those after it.
    search
        grid: every combination. random: drawn. optuna: chosen by what came before (an extra).
    trials
        Configurations of a random or Optuna search; 20 if not given.
    workers
        Processes to share the trials and threads out among.
    evaluate_best
        Attack the best configuration on the test split, once: its final number.
    output_dir
        Folder of the sweep; sweeps/RECIPE-HASH if not given.
    data_dir
        First folder to search for data; then $BROLLY_DATA and the cache.
    device
        Where to compute: cpu, cuda, cuda:1, ...
    """
    from ..recipes import sweep as search_for
    from ..report import write_sweep

    parts = ["sweep", recipe, *grid]
    parts += ["--seeds", str(seeds)] if seeds != 3 else []
    parts += ["--search", search] if search != "grid" else []
    parts += ["--trials", str(trials)] if trials is not None else []
    parts += ["--workers", str(workers)] if workers != 1 else []
    parts += ["--evaluate-best"] if evaluate_best else []
    parts += ["--output-dir", str(output_dir)] if output_dir else []
    again = command(*parts, data_dir=data_dir, device=device)
    try:
        with SweepTable(f"Sweep of {recipe}") as table:
            found = search_for(
                recipe, grid, seeds=seeds, search=search, trials=trials, workers=workers,
                output_dir=output_dir, data_dir=data_dir, device=device, on_trial=table.on_trial,
            )  # fmt: skip
            table.clear()
        table.show(found)
        if evaluate_best:
            found = _evaluate_best(found, data_dir, device)
    except KeyboardInterrupt:
        print(f"\nInterrupted; what is done is kept. Go on with: {again}", file=sys.stderr)
        return 130
    page = write_sweep(found.folder / "sweep.html", found.to_json(), again)
    if found.best is None:
        print("No configuration is done with all seeds, so there is none to choose.")
    else:
        print(f"Best by {found.metric} validation accuracy: {found.best}")
    print(f"Page: {page}\nData: {found.folder / 'sweep.json'}\nRepeat: {again}")
    return 0


def _evaluate_best(found: Sweep, data_dir: Path | None, device: str | None) -> Sweep:
    """The final evaluation of the best configuration's trials, unless it was done before."""
    from ..recipes import read_values
    from ..report import count_json
    from ._evaluate import evaluate_run

    if found.best is None:
        return found
    best = found.best
    with found.testing() as found:
        done = {test["folder"] for test in found.tests}
        for trial in best.trials:
            if str(trial.folder) in done:
                continue
            again = command("evaluate", str(trial.folder), data_dir=data_dir, device=device)
            result = evaluate_run(trial.folder, data_dir=data_dir, device=device, command=again)
            print(f"seed {trial.seed}: {result.verdict()}")
            found = found.with_test(
                {
                    "values": read_values(best.values),
                    "seed": trial.seed,
                    "folder": str(trial.folder),
                    "threat": str(result.threat),
                    "clean": count_json(result.clean),
                    "robust": count_json(result.robust),
                    "command": again,
                }
            )
        found.save()
    return found


class SweepTable(LiveTable):
    """One row a configuration: the latest ones meanwhile, all of them at the end."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title
        self._now: Sweep | None = None

    def on_trial(self, found: Sweep, configuration: Configuration, trial: Trial) -> None:
        self._now = found
        what = f"clean {trial.clean:.1%}  robust {trial.robust:.1%}" if (
            trial.clean is not None and trial.robust is not None
        ) else trial.status  # fmt: skip
        self.line(
            f"trial {_ended(found)} of {found.planned}  {configuration}  seed {trial.seed}  "
            f"{what}  {clock(trial.seconds)}"
        )

    def render(self) -> RenderableType:
        if self._now is None:
            return f"{self._title} ..."
        begun = [c for c in self._now.configurations if any(t.status != "open" for t in c.trials)]
        return self._table(self._now, begun[-visible_rows() :])

    def clear(self) -> None:
        """Makes room for what `show` prints."""
        self._now = None

    def show(self, found: Sweep) -> None:
        """The whole, once the sweep has ended."""
        self.line(f"\n{found!r}\n")
        if self._console.is_terminal:
            self._console.print(self._table(found, found.configurations))

    def _table(self, found: Sweep, configurations: Sequence[Configuration]) -> Table:
        title = f"{self._title}: {_ended(found)} of {found.planned} trials"
        table = Table("configuration", "clean", "robust", "seeds", "", title=title,
                      title_justify="left", box=None)  # fmt: skip
        best, front = found.best, found.pareto
        for each in configurations:
            done = sum(trial.status == "done" for trial in each.trials)
            mark = "best" if each is best else "front" if each in front else ""
            table.add_row(
                Text(str(each)),  # whose brackets are no markup
                str(each.clean or "-"), str(each.robust or "-"), f"{done}/{len(each.trials)}",
                Text("diverged", style="red") if each.status == "diverged"
                else Text(mark, style="bold green"),
            )  # fmt: skip
        return table


def _ended(found: Sweep) -> int:
    return sum(trial.status != "open" for trial in found.trials)
