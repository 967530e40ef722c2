"""Sweeps: a recipe trained with many values, and which of them validation prefers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from .._ranges import check_range
from ..training import OnStep, RunFolder, TrainingDiverged
from ._recipe import Recipe
from ._run import train_recipe
from ._sweep_plan import Plan, default_folder
from ._sweep_result import Configuration, Sweep, Trial, read_trial
from ._sweep_search import Search, load_optuna
from ._sweep_space import read_space
from ._text import recipe_text

#: Configurations of a search, where nothing else was said.
_TRIALS = 20

#: Seconds between looks at whether trials in other hands have ended.
_LOOK = 0.5

#: Called with the sweep so far, and the configuration and trial that just ended here.
OnTrial = Callable[[Sweep, Configuration, Trial], None]


def sweep(
    recipe: str | Path | Recipe,
    grid: Mapping[str, Any] | Sequence[str] = (),
    *,
    seeds: int = 3,
    search: Search = "grid",
    trials: int | None = None,
    workers: int = 1,
    output_dir: str | Path | None = None,
    data_dir: str | Path | None = None,
    device: str | None = None,
    on_trial: OnTrial | None = None,
) -> Sweep:
    """Trains a recipe with many values of some of its keys, several seeds each.

    The best is chosen by the mean validation accuracy (`select_by` of the recipe); the test split
    is never read. Each trial is a run folder, found again by the hash of its recipe: one that has
    ended is not trained again, and one that was cut off goes on. Any number of calls, in any
    number of processes, may work on one sweep at once; each trial is trained by one of them, and
    all return the whole. A trial whose loss becomes NaN is recorded as diverged.

    Args:
        recipe: A shipped recipe's name, a YAML file, or a recipe.
        grid: Values by key, `{"lr": [0.01, 0.1], "beta": "1..6"}`, or texts as on the command
            line, `["lr=0.01,0.1", "beta=1..6", "weight_decay=1e-5..1e-2:log"]`. A key is a path in
            the recipe, or the end of exactly one. Keys with one value hold for all.
        seeds: Trials of each configuration, with the recipe's seed and those after it.
        search: `grid` takes every combination; `random` draws them (Bergstra & Bengio 2012);
            `optuna` lets a tree-structured Parzen estimator choose (Bergstra et al. 2011; needs
            `pip install 'brolly[optuna]'`). Draws begin from the recipe's seed.
        trials: Configurations of a search, 20 if nothing is said; a grid takes all.
        workers: Processes to share the trials, and torch's threads, out among.
        output_dir: Folder of the sweep; `sweeps/<recipe>-<hash of what varies>` if not given.
        data_dir: First folder to search for data.
        device: Where to compute; None: CUDA where there is one.
        on_trial: Called when a trial of this call has ended.

    Returns:
        Trials, means and standard deviations over seeds, the best, the Pareto front; also written
        as `sweep.json` and `sweep.csv`.

    Raises:
        ValueError: With all that is wrong with the keys and values, before anything is trained;
            or the folder is in use by another sweep.
        RuntimeError: All workers were killed.

    Example:
        >>> import brolly
        >>> small = ["epochs=2", "data.examples=300", "batch_size=20", "validation.steps=2"]
        >>> found = brolly.sweep("digits-plain", ["lr=1e-5,0.1", *small], seeds=2)
        >>> found.best.values, len(found.trials)
        ({'optimizer.lr': '0.1'}, 4)
    """
    plan = _plan(recipe, grid, seeds, search, trials, workers, output_dir).checked(data_dir)
    tell = _Teller(plan, on_trial)
    with plan.joined():
        if workers == 1:
            work(plan, data_dir, device, tell)
        else:
            from ._sweep_workers import in_processes

            in_processes(plan, data_dir, device, tell, workers)
        found = plan.outcome()
        found.save()
    return found


def work(
    plan: Plan,
    data_dir: str | Path | None,
    device: str | None,
    on_end: Callable[[Path], None],
    on_step: OnStep | None = None,
) -> None:
    """Trains what no one else does, until every trial of the sweep has ended."""
    while True:
        left = [
            each
            for values in plan.configurations()
            for each in plan.runs(values)
            if not _ended(each[1])
        ]
        for recipe, run in left:
            if _train(recipe, run, data_dir, device, on_step):
                on_end(run.path)
                break
        else:  # others are at all of them
            if not plan.ask():
                if not left:
                    return
                time.sleep(_LOOK)


def _train(
    recipe: Recipe, run: RunFolder, data_dir: str | Path | None, device: str | None,
    on_step: OnStep | None,
) -> bool:  # fmt: skip
    """Trains a trial to its end; whether it was left to do."""
    with ExitStack() as held:
        try:
            held.enter_context(run.locked())
        except ValueError:  # another process holds it
            return False
        if _ended(run):
            return False
        with suppress(TrainingDiverged):  # the folder keeps where
            train_recipe(recipe, run, data_dir=data_dir, device=device, on_step=on_step)
    return True


def _ended(run: RunFolder) -> bool:
    return read_trial(0, run).status != "open"


class _Teller:
    """Tells the caller of a trial that has ended, and keeps the sweep's files up to date."""

    def __init__(self, plan: Plan, on_trial: OnTrial | None) -> None:
        self._plan, self._on_trial = plan, on_trial

    def __call__(self, folder: Path) -> None:
        found = self._plan.outcome()
        found.save()
        if self._on_trial is None:
            return
        for configuration in found.configurations:
            for trial in configuration.trials:
                if trial.folder == folder:
                    self._on_trial(found, configuration, trial)


def _plan(
    recipe: str | Path | Recipe, grid: Mapping[str, Any] | Sequence[str], seeds: int,
    search: Search, trials: int | None, workers: int, output_dir: str | Path | None,
) -> Plan:  # fmt: skip
    if search not in ("grid", "random", "optuna"):
        raise ValueError(f"search is {search!r}; expected grid, random or optuna")
    counts = {"seeds": seeds, "workers": workers, "trials": 1 if trials is None else trials}
    check_range("[1, inf)", **counts)
    if search == "grid" and trials is not None:
        raise ValueError("a grid takes all configurations; trials is for --search random or optuna")
    if search == "optuna":
        load_optuna()
    source = "the recipe" if isinstance(recipe, Recipe) else str(recipe)
    text = recipe.to_yaml() if isinstance(recipe, Recipe) else recipe_text(recipe)
    base, fixed, space = read_space(text, source, grid)
    if search != "grid" and not space:
        raise ValueError("nothing varies, so there is nothing to search; write e.g. lr=1e-3..1:log")
    folder = default_folder(base, space, search) if output_dir is None else Path(output_dir)
    return Plan(
        folder=folder, text=text, fixed=fixed, space=space, search=search,
        trials=(trials or _TRIALS) if search != "grid" else 0, seeds=seeds,
    )  # fmt: skip
