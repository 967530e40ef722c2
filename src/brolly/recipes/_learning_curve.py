"""Learning curves: error against the size of the training set, or of the model."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import defaultdict
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
from ._recipe import Recipe
from ._run import build_data, build_model
from ._sweep import OnTrial, sweep
from ._sweep_result import Configuration, Spread
from ._sweep_space import read_space
from ._text import recipe_text

SCHEMA = 1


#: Errors of a point, and differences of them, by the names that the table and the page give them.
CLEAN = ("train", "validation", "gap", "test (final evaluation)", "test gap")
ROBUST = ("robust train", "robust validation", "robust gap", "robust test (final evaluation)")


@dataclasses.dataclass(frozen=True)
class SizePoint:
    """What networks of one size, or with so many examples, get wrong. Errors are parts of 1.

    Attributes:
        size: Value of the key that varies; where its values are no numbers, `parameters`.
        examples: Training examples.
        parameters: Of the network.
        seeds: Of the networks; those whose loss became NaN are left out.
        train: Clean error on the whole training split, for each seed.
        validation: On the whole validation split, at the epoch that was chosen on it.
        test: On the whole test split, from the final evaluation; empty without one.
        diverged: How many seeds were left out.
        value: Of the key that varies, as it was written, where it is no number.
        robust_train: Error under the attack that `fit` checks with, on the training examples that
            it checks (`validation.train_examples` of the recipe), at the epoch that was chosen;
            empty where it checks none.
        robust_validation: The same on the validation split.
        robust_test: Robust error on the whole test split, from the final evaluation.
    """

    size: float
    examples: int
    parameters: int
    seeds: tuple[int, ...]
    train: tuple[float, ...]
    validation: tuple[float, ...]
    test: tuple[float, ...] = ()
    diverged: int = 0
    value: str = ""
    robust_train: tuple[float, ...] = ()
    robust_validation: tuple[float, ...] = ()
    robust_test: tuple[float, ...] = ()

    @property
    def gap(self) -> tuple[float, ...]:
        """Validation error less training error, for each seed."""
        return _less(self.validation, self.train)

    @property
    def test_gap(self) -> tuple[float, ...]:
        """Test error less training error, for each seed; empty without a final evaluation."""
        return _less(self.test, self.train)

    @property
    def robust_gap(self) -> tuple[float, ...]:
        """Robust validation error less robust training error, for each seed."""
        return _less(self.robust_validation, self.robust_train)

    def spreads(self) -> dict[str, Spread | None]:
        """Mean and standard deviation over seeds of each error and of the gaps."""
        clean = (self.train, self.validation, self.gap, self.test, self.test_gap)
        robust = (self.robust_train, self.robust_validation, self.robust_gap, self.robust_test)
        errors = zip((*CLEAN, *ROBUST), (*clean, *robust), strict=True)
        return {name: Spread.of(values) if values else None for name, values in errors}


@dataclasses.dataclass(frozen=True)
class LearningCurve:
    """Errors against one key of a recipe; `curve.json` in its folder.

    Attributes:
        recipe: Name of the recipe.
        key: What varies, such as `data.examples`.
        folder: Where the trained networks are.
        points: In the order of their sizes.
        threat: What the robust errors are against.
    """

    recipe: str
    key: str
    folder: Path
    points: tuple[SizePoint, ...]
    threat: str = ""

    @property
    def axis(self) -> str:
        """What sizes are: the key that varies, or `parameters`."""
        return "parameters" if any(point.value for point in self.points) else self.key

    def to_json(self) -> dict[str, Any]:
        """Everything, as `curve.json` has it."""
        return {
            "schema": SCHEMA,
            "recipe": self.recipe,
            "key": self.key,
            "axis": self.axis,
            "threat": self.threat,
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
        blocks = {"Clean error": CLEAN, f"Robust error against {self.threat}": ROBUST}
        return "\n\n".join(
            self._block(title, names)
            for title, all_names in blocks.items()
            if (names := [n for n in all_names if any(p.spreads()[n] for p in self.points)])
        )

    def _block(self, title: str, names: Sequence[str]) -> str:
        rows = [[self.key, "parameters", *(name.removeprefix("robust ") for name in names)]]
        for point in self.points:
            spreads, value = point.spreads(), point.value or f"{point.size:g}"
            rows.append([value, f"{point.parameters:,}", *(str(spreads[n] or "-") for n in names)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join([title, *("  ".join(map(str.rjust, row, widths)) for row in rows)])


def _less(larger: Sequence[float], smaller: Sequence[float]) -> tuple[float, ...]:
    """Differences seed by seed; none where one of them was not measured."""
    if not larger or not smaller:
        return ()
    return tuple(a - b for a, b in zip(larger, smaller, strict=True))


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
    on the whole splits. Robust errors are those that `fit` found at that epoch. The test split is
    read for the final evaluation alone.

    The number of epochs is the recipe's at every size: with fewer examples there are fewer steps.

    Args:
        recipe: A shipped recipe's name, a YAML file, or a recipe.
        grid: One key with several numbers, `{"data.examples": [500, 1000]}` or
            `["model.width=4,8,16"]`, or `model` or a key below it with values of any kind,
            `["model.hidden=[8],[16,16]"]`, whose size is then the number of parameters. Keys with
            one value hold for all.
        seeds: Networks of each size, with the recipe's seed and those after it.
        final: Evaluate each network on the test split, with the attacks `quick`. Do so once,
            when everything is decided.
        workers: Processes to share the trainings.
        output_dir: Folder of the trained networks; that of the sweep if not given.
        data_dir: First folder to search for data.
        device: Where to compute; None: CUDA where there is one.
        on_trial: Called when a network is trained.

    Raises:
        ValueError: Not exactly one key has several values, or they are neither numbers nor of the
            model; or what `sweep` would raise.

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
        found.recipe, key, found.folder, tuple(sorted(points, key=lambda point: point.size)),
        found.threat,
    )  # fmt: skip
    write_json(found.folder / "curve.json", curve.to_json())
    return curve


def _key(recipe: str | Path | Recipe, grid: Mapping[str, Any] | Sequence[str]) -> str:
    """The one key that varies, whose values have sizes."""
    text = recipe.to_yaml() if isinstance(recipe, Recipe) else recipe_text(recipe)
    _, _, space = read_space(text, str(getattr(recipe, "name", recipe)), grid)
    if len(space) == 1 and (values := space[0].grid()):
        path = space[0].path
        if path.partition(".")[0] == "model" or all(_number(v) is not None for v in values):
            return path
    varies = " ".join(map(str, space)) or "nothing"
    raise ValueError(
        f"{varies} varies; expected one key with several numbers, such as "
        "data.examples=500,1000,2000, or one of the model with any values, such as "
        "model.hidden=[8],[16]"
    )


def _number(text: str) -> float | None:
    with contextlib.suppress(ValueError):
        return parse_number(text)
    return None


def _point(
    key: str, configuration: Configuration, final: bool, data_dir: str | Path | None, device: str
) -> SizePoint:
    runs = {trial.seed: RunFolder(trial.folder) for trial in configuration.trials}
    recipes = {seed: Recipe.load(run.recipe) for seed, run in runs.items()}
    first, *_ = recipes.values()
    data = build_data(first, data_dir)
    threat = first.build_threat(data.bounds)
    parameters = sum(parameter.numel() for parameter in build_model(first, data).parameters())
    seeds = tuple(trial.seed for trial in configuration.trials if trial.status == "done")
    errors: dict[str, list[float]] = defaultdict(list)
    for seed in seeds:
        run, model = runs[seed], build_model(recipes[seed], data).to(device).eval()
        run.load_weights(model)
        errors["train"].append(_error(model, data.train, device))
        errors["validation"].append(_error(model, data.validation, device))
        history = run.history()
        best = history.best or history.epochs[-1]
        if best.train_robust is not None:
            errors["robust_train"].append(1 - best.train_robust)
        if best.validation_robust is not None:
            errors["robust_validation"].append(1 - best.validation_robust)
        if final:
            name = f"{str(threat).replace(':', '-')}.json"
            result = evaluate(
                model, data.test, threat, attacks=quick(threat), checks="", curve_examples=0,
                certificate=None, device=device, name=first.name, save_to=run.evaluations / name,
            )  # fmt: skip
            errors["test"].append(1 - result.clean.rate)
            errors["robust_test"].append(1 - result.robust.rate)
    value = configuration.values[key]
    number = _number(value)
    return SizePoint(
        size=parameters if number is None else number,
        examples=len(data.train),
        parameters=parameters,
        seeds=seeds,
        diverged=len(runs) - len(seeds),
        value=value if number is None else "",
        **{"train": (), "validation": ()} | {name: tuple(each) for name, each in errors.items()},
    )


@torch.no_grad()
def _error(model: torch.nn.Module, split: Split, device: str) -> float:
    """Part of a split that a network in eval mode gets wrong."""
    hits = sum(int((model(x).argmax(1) == y).sum()) for x, y, _ in Batches(split, 256, device))
    return 1 - hits / len(split)
