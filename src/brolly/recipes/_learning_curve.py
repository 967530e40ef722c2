"""Learning curves: error against the size of the training set, or of the model."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from .._device import pick_device
from .._files import write_json
from .._names import parse_number
from ..attacks import quick
from ..data import Batches, Split
from ..evaluation import evaluate
from ..training import RunFolder
from ._recipe import Recipe, recipe_text
from ._run import load_run
from ._sweep import OnTrial, sweep
from ._sweep_result import Configuration, Spread
from ._sweep_space import read_space

SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class SizePoint:
    """What networks of one size, or with so many examples, get wrong. Errors are parts of 1.

    Attributes:
        size: Value of the key that varies.
        examples: Training examples.
        parameters: Of the network.
        seeds: Of the networks; those whose loss became NaN are left out.
        train: Clean error on the whole training split, for each seed.
        validation: On the whole validation split, at the epoch that was chosen on it.
        test: On the whole test split, from the final evaluation; empty without one.
        diverged: How many seeds were left out.
    """

    size: float
    examples: int
    parameters: int
    seeds: tuple[int, ...]
    train: tuple[float, ...]
    validation: tuple[float, ...]
    test: tuple[float, ...] = ()
    diverged: int = 0

    @property
    def gap(self) -> tuple[float, ...]:
        """Validation error less training error, for each seed."""
        return tuple(v - t for t, v in zip(self.train, self.validation, strict=True))

    def spreads(self) -> dict[str, Spread | None]:
        """Mean and standard deviation over seeds of each error and of the gap."""
        errors = {
            "train": self.train,
            "validation": self.validation,
            "gap": self.gap,
            "test (final evaluation)": self.test,
        }
        return {name: Spread.of(values) if values else None for name, values in errors.items()}


@dataclasses.dataclass(frozen=True)
class LearningCurve:
    """Errors against one key of a recipe; `curve.json` in its folder.

    Attributes:
        recipe: Name of the recipe.
        key: What varies, such as `data.examples`.
        folder: Where the trained networks are.
        points: In the order of their sizes.
    """

    recipe: str
    key: str
    folder: Path
    points: tuple[SizePoint, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything, as `curve.json` has it."""
        return {
            "schema": SCHEMA,
            "recipe": self.recipe,
            "key": self.key,
            "folder": str(self.folder),
            "points": [
                {
                    **dataclasses.asdict(point),
                    "errors": {
                        name: spread and dataclasses.asdict(spread)
                        for name, spread in point.spreads().items()
                    },
                }
                for point in self.points
            ],
        }

    def __repr__(self) -> str:
        final = any(point.test for point in self.points)
        names = ["train", "validation", "gap", *["test (final evaluation)"] * final]
        lines = [f"{self.key:>16}{'parameters':>12}" + "".join(f"  {name:>14}" for name in names)]
        for point in self.points:
            spreads = point.spreads()
            cells = [str(spreads[name] or "-").rjust(max(len(name), 14)) for name in names]
            lines.append("  ".join([f"{point.size:>16g}{point.parameters:>12,}", *cells]))
        return "\n".join(lines)


def learning_curve(
    recipe: str | Path | Recipe,
    grid: Mapping[str, Any] | Sequence[str],
    *,
    seeds: int = 3,
    final: bool = False,
    workers: int = 1,
    output_dir: str | Path | None = None,
    data_dir: str | Path | None = None,
    device: str | None = None,
    on_trial: OnTrial | None = None,
) -> LearningCurve:
    """Trains a recipe with training sets, or networks, of several sizes and compares the errors.

    It is a `sweep` along one key, and takes up where an earlier call ended: a size and seed that
    is done is not trained again. Each network is that of the epoch which the validation split
    chose, so its validation error is a little too low; training and validation error are measured
    on the whole splits. The test split is read for the final evaluation alone.

    The number of epochs is the recipe's at every size: with fewer examples there are fewer steps.

    Args:
        recipe: A shipped recipe's name, a YAML file, or a recipe.
        grid: One key with several numbers, `{"data.examples": [500, 1000]}` or
            `["model.width=4,8,16"]`; keys with one value hold for all.
        seeds: Networks of each size, with the recipe's seed and those after it.
        final: Evaluate each network on the test split, with the attacks `quick`. Do so once,
            when everything is decided.
        workers: Processes to share the trainings.
        output_dir: Folder of the trained networks; that of the sweep if not given.
        data_dir: First folder to search for data.
        device: Where to compute; None: CUDA where there is one.
        on_trial: Called when a network is trained.

    Raises:
        ValueError: Not exactly one key has several values, or they are not numbers; or what
            `sweep` would raise.

    Example:
        >>> import brolly
        >>> small = ["epochs=2", "batch_size=20", "validation.steps=1"]
        >>> curve = brolly.learning_curve(
        ...     "digits-plain", ["data.examples=60,240", *small], seeds=1, output_dir="curve"
        ... )
        >>> [point.examples for point in curve.points]
        [60, 240]
    """
    key = _key(recipe, grid)
    found = sweep(
        recipe, grid, seeds=seeds, workers=workers, output_dir=output_dir, data_dir=data_dir,
        device=device, on_trial=on_trial,
    )  # fmt: skip
    points = [
        _point(key, each, final, data_dir, pick_device(device)) for each in found.configurations
    ]
    curve = LearningCurve(
        found.recipe, key, found.folder, tuple(sorted(points, key=lambda point: point.size))
    )
    write_json(found.folder / "curve.json", curve.to_json())
    return curve


def _key(recipe: str | Path | Recipe, grid: Mapping[str, Any] | Sequence[str]) -> str:
    """The one key that varies, whose values are numbers."""
    text = recipe.to_yaml() if isinstance(recipe, Recipe) else recipe_text(recipe)
    _, _, space = read_space(text, str(getattr(recipe, "name", recipe)), grid)
    if len(space) == 1:
        with contextlib.suppress(ValueError):
            for value in space[0].grid() or ("a range without end",):
                parse_number(value)
            return space[0].path
    varies = " ".join(map(str, space)) or "nothing"
    raise ValueError(
        f"{varies} varies; expected one key with several numbers, such as "
        "data.examples=500,1000,2000"
    )


def _point(
    key: str, configuration: Configuration, final: bool, data_dir: str | Path | None, device: str
) -> SizePoint:
    train, validation, test, seeds = [], [], [], []
    examples = parameters = 0
    for trial in configuration.trials:
        if trial.status != "done":
            continue
        recipe, model, data = load_run(trial.folder, data_dir)
        model.to(device)
        train.append(_error(model, data.train, device))
        validation.append(_error(model, data.validation, device))
        seeds.append(trial.seed)
        examples, parameters = len(data.train), sum(p.numel() for p in model.parameters())
        if final:
            threat = recipe.build_threat(data.bounds)
            name = f"{str(threat).replace(':', '-')}.json"
            result = evaluate(
                model, data.test, threat, attacks=quick(threat), checks="", curve_examples=0,
                certificate=None, device=device, name=recipe.name,
                save_to=RunFolder(trial.folder).evaluations / name,
            )  # fmt: skip
            test.append(1 - result.clean.rate)
    return SizePoint(
        parse_number(configuration.values[key]), examples, parameters, tuple(seeds), tuple(train),
        tuple(validation), tuple(test), len(configuration.trials) - len(seeds),
    )  # fmt: skip


@torch.no_grad()
def _error(model: torch.nn.Module, split: Split, device: str) -> float:
    """Part of a split that a network in eval mode gets wrong."""
    hits = sum(int((model(x).argmax(1) == y).sum()) for x, y, _ in Batches(split, 256, device))
    return 1 - hits / len(split)
