"""`brolly train`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from ..recipes import Recipe
    from ..recipes._component import Component
    from ..training import RunFolder


def train(
    recipe: str,
    *overrides: str,
    runs: Path = Path("runs"),
    data_dir: Path | None = None,
    device: str | None = None,
    print_config: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train a network from a recipe; the same command goes on with a half-finished run.

    Shipped recipes: digits-plain, digits-robust, fashion-mnist-plain, fashion-mnist-fast,
    fashion-mnist-trades, mnist-fast, photos.

    Parameters
    ----------
    recipe
        Name of a shipped recipe, a YAML file, or a run folder to go on with.
    overrides
        Changes to the recipe, such as epochs=5 or optimizer.lr=0.05.
    runs
        Folder that run folders are made in.
    data_dir
        First folder to search for data; then $BROLLY_DATA and the cache.
    device
        Where to compute: cpu, cuda, cuda:1, ...
    print_config
        Print the whole recipe, defaults included, and stop.
    dry_run
        Take one step, say what would be done, and stop; nothing is written.
    """
    from ..recipes import Recipe
    from ..training import RunFolder

    folder = Path(recipe)
    resuming = (folder / "recipe.yaml").is_file()
    if resuming and overrides:
        raise ValueError(
            f"{folder} is a run, whose recipe is fixed; overrides {list(overrides)} make another "
            f"one. Write brolly train {folder / 'recipe.yaml'} {' '.join(overrides)}"
        )
    parsed = Recipe.load(recipe, overrides)
    run = RunFolder(folder if resuming else runs / parsed.folder)
    if print_config:
        print(parsed.to_yaml(), end="")
        return 0
    if dry_run:
        return _dry_run(parsed, run, data_dir, device)
    return train_in(parsed, run, data_dir, device)


def train_in(
    recipe: Recipe, run: RunFolder, data_dir: Path | None = None, device: str | None = None
) -> int:
    """Trains with a live table, unless the run has ended before; says what comes next."""
    from ..recipes import train_recipe
    from ._command import command
    from ._live import TrainingTable

    path = str(run.path)
    following = f"Next: {command('evaluate', path, data_dir=data_dir, device=device)}"
    with run.locked():
        if run.finished:
            print(f"{path} is trained already.\n{following}")
            return 0
        if run.state.is_file():
            print(f"Going on in {run.path}", file=sys.stderr)
        try:
            with TrainingTable(recipe.name, recipe.epochs) as table:
                history = train_recipe(
                    recipe, run, data_dir=data_dir, device=device,
                    on_step=table.on_step, on_epoch=table.on_epoch,
                )  # fmt: skip
        except KeyboardInterrupt:
            if not run.recipe.is_file():  # while loading the data
                raise
            kept = "the last whole epoch is kept" if run.state.is_file() else "no epoch was whole"
            again = command("train", path, data_dir=data_dir, device=device)
            print(f"\nInterrupted; {kept}. Go on with: {again}", file=sys.stderr)
            return 130
    if history.stopped:
        print(f"Note: {history.stopped}")
    if history.best is not None:
        print(f"Kept the weights of epoch {history.best.epoch}.")
    print(f"Run: {path}\n{following}")
    return 0


def _dry_run(recipe: Recipe, run: RunFolder, data_dir: Path | None, device: str | None) -> int:
    from ..recipes import dry_run

    found = dry_run(recipe, data_dir=data_dir, device=device)
    data = found.data
    state = "ended" if run.finished else "begun" if run.state.is_file() else "new"
    lines = {
        "data": f"{data.name}: {len(data.train)} to train, {len(data.validation)} to validate, "
        f"{len(data.test)} to test",
        "model": f"{recipe.model.name}: {found.parameters:,} parameters",
        "objective": f"{recipe.objective.name} against {recipe.threat}: loss {found.loss:.4f} at "
        "the first step",
        "penalties": "; ".join(map(_named, recipe.penalties)),
        "weights": "; ".join(map(_named, recipe.weights)),
        "optimizer": _named(recipe.optimizer),
        "schedule": _named(recipe.schedule),
        "average": _named(recipe.average) if recipe.average else "",
        "training": f"{recipe.epochs} epochs of {found.steps} steps on {found.device}",
        "run": f"{run.path} ({state})",
    }
    print("\n".join(f"{name:<10}{text}" for name, text in lines.items() if text))
    return 0


def _named(part: Component) -> str:
    """A part of a recipe with its arguments: `sgd: lr 0.1, momentum 0.9`."""
    from ..recipes._component import Component

    arguments = (
        f"{name} {_named(value) if isinstance(value, Component) else value}"
        for name, value in part.arguments().items()
    )
    return ": ".join(filter(None, (part.name, ", ".join(arguments))))
