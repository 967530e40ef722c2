"""What a sweep has found, as data."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import fcntl
import io
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from .._files import write_json, write_text
from .._names import parse_number
from ..training import RunFolder
from ._sweep_space import Values

SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (of a sample; None of a single one) over `n` seeds."""

    mean: float
    sd: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        sd = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), sd, len(values))

    def __str__(self) -> str:
        return f"{self.mean:.1%}" if self.sd is None else f"{self.mean:.1%} ± {self.sd:.1%}"


@dataclasses.dataclass(frozen=True)
class Trial:
    """One configuration with one seed; accuracies on the validation split, at the best epoch.

    Attributes:
        seed: Of everything random in it.
        folder: Its run folder.
        status: `open` as long as it has not ended.
        clean, robust: Parts of 1; None if it is not done.
        epoch: The best.
        seconds: That training took, checks included.
        note: Why it ended early, if it did.
    """

    seed: int
    folder: Path
    status: Literal["open", "done", "diverged"]
    clean: float | None = None
    robust: float | None = None
    epoch: int | None = None
    seconds: float | None = None
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Configuration:
    """Values of the keys that vary, and the trials with them."""

    values: Values
    trials: tuple[Trial, ...]

    @property
    def status(self) -> Literal["open", "done", "diverged"]:
        """`done` if every trial is; `diverged` if one did."""
        found = {trial.status for trial in self.trials}
        return "diverged" if "diverged" in found else "open" if "open" in found else "done"

    @property
    def clean(self) -> Spread | None:
        """Clean validation accuracy, over the seeds that are done."""
        return self._spread([trial.clean for trial in self.trials])

    @property
    def robust(self) -> Spread | None:
        """Robust validation accuracy, over the seeds that are done."""
        return self._spread([trial.robust for trial in self.trials])

    def _spread(self, found: Sequence[float | None]) -> Spread | None:
        known = [value for value in found if value is not None]
        return Spread.of(known) if known else None

    def __str__(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.values.items()) or "as it is"


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A recipe trained with many values; `sweep.json` and `sweep.csv` in its folder.

    Everything in it is about the validation split, but for `tests`.

    Attributes:
        recipe: Name of the recipe.
        folder: Where its trials are.
        search: How configurations were found.
        metric: `robust` or `clean`: what the best is the best in.
        threat: What the robust accuracy is against.
        space: What varies, as it was written.
        fixed: Overrides that all configurations share.
        examples: Examples of the validation split that accuracies are measured on.
        configurations: In the order in which they were asked for.
        tests: Final evaluations on the test split, if there were any, oldest first.
        planned: Trials in all, with those of configurations that Optuna has yet to ask for.
    """

    recipe: str
    folder: Path
    search: str
    metric: str
    threat: str
    space: tuple[str, ...]
    fixed: tuple[str, ...]
    examples: int
    configurations: tuple[Configuration, ...]
    tests: tuple[Mapping[str, Any], ...] = ()
    planned: int = 0

    @property
    def best(self) -> Configuration | None:
        """The highest mean of the metric; the other accuracy decides between equals.

        A configuration counts once all its seeds are done, and not at all if one diverged.
        """
        return max(self._ranked(), key=lambda pair: pair[0], default=(None, None))[1]

    @property
    def pareto(self) -> tuple[Configuration, ...]:
        """Configurations that none beats in one mean accuracy without losing in the other."""
        done = [(c.clean.mean, c.robust.mean, c) for c in self._done() if c.clean and c.robust]
        front = pareto_front([(clean, robust) for clean, robust, _ in done])
        return tuple(done[place][2] for place in front)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All of all configurations."""
        return tuple(trial for each in self.configurations for trial in each.trials)

    def to_json(self) -> dict[str, Any]:
        """Everything, as `sweep.json` has it; `best` and `pareto` are places in the list."""
        place = {id(each): number for number, each in enumerate(self.configurations)}
        return {
            "schema": SCHEMA,
            "recipe": self.recipe,
            "folder": str(self.folder),
            "search": self.search,
            "selected_by": {
                "split": "validation", "metric": self.metric, "examples": self.examples,
            },
            "threat": self.threat,
            "space": list(self.space),
            "fixed": list(self.fixed),
            "best": None if self.best is None else place[id(self.best)],
            "pareto": [place[id(each)] for each in self.pareto],
            "configurations": [_configuration(each) for each in self.configurations],
            "tests": [dict(test) for test in self.tests],
        }  # fmt: skip

    def to_csv(self) -> str:
        """One row a trial."""
        keys = list(dict.fromkeys(key for each in self.configurations for key in each.values))
        buffer = io.StringIO()
        rows = csv.writer(buffer, lineterminator="\n")
        rows.writerow(["configuration", *keys, "seed", "status", "validation_clean",
                       "validation_robust", "best_epoch", "seconds", "folder"])  # fmt: skip
        for number, each in enumerate(self.configurations):
            values = [each.values.get(key, "") for key in keys]
            for t in each.trials:
                found = (t.seed, t.status, t.clean, t.robust, t.epoch, t.seconds, t.folder)
                rows.writerow([number, *values, *found])
        return buffer.getvalue()

    def save(self) -> None:
        """Writes `sweep.json` and `sweep.csv`."""
        write_json(self.folder / "sweep.json", self.to_json())
        write_text(self.folder / "sweep.csv", self.to_csv())

    @contextlib.contextmanager
    def testing(self) -> Iterator[Sweep]:
        """This sweep with the final evaluations so far, while no other process adds to them."""
        with (self.folder / ".testing").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield dataclasses.replace(self, tests=read_tests(self.folder))

    def with_test(self, test: Mapping[str, Any]) -> Sweep:
        """This sweep with one more final evaluation, kept in its folder; inside `testing`."""
        tests = (*self.tests, test)
        write_json(self.folder / "tests.json", [dict(each) for each in tests])
        return dataclasses.replace(self, tests=tests)

    def __repr__(self) -> str:
        lines = [f"{self.recipe}, {self.metric} accuracy on {self.examples} validation examples"]
        best, front = self.best, self.pareto
        for each in self.configurations:
            mark = "  best" if each is best else "  front" if each in front else ""
            lines.append(f"{each}  {describe(each)}{mark}")
        return "\n".join(lines)

    def _done(self) -> list[Configuration]:
        return [each for each in self.configurations if each.status == "done"]

    def _ranked(self) -> list[tuple[tuple[float, float], Configuration]]:
        pairs = []
        for each in self._done():
            first, second = (each.clean, each.robust)[:: 1 if self.metric == "clean" else -1]
            if first is not None:
                pairs.append(((first.mean, second.mean if second else 0.0), each))
        return pairs


def describe(configuration: Configuration) -> str:
    """Its accuracies, or why it has none."""
    if configuration.status == "diverged":
        seeds = [str(t.seed) for t in configuration.trials if t.status == "diverged"]
        return f"diverged with seed {', '.join(seeds)}"
    if configuration.clean is None:
        return "not done"
    done = sum(trial.status == "done" for trial in configuration.trials)
    part = "" if done == len(configuration.trials) else f"  ({done} of {len(configuration.trials)})"
    return f"clean {configuration.clean}  robust {configuration.robust}{part}"


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Places of the points that no other is at least as high as in both and higher in one.

    Example:
        >>> pareto_front([(0.9, 0.1), (0.8, 0.5), (0.7, 0.4), (0.8, 0.5)])
        [0, 1, 3]
    """
    return [
        place
        for place, (x, y) in enumerate(points)
        if not any(a >= x and b >= y and (a > x or b > y) for a, b in points)
    ]


def read_trial(seed: int, run: RunFolder) -> Trial:
    """What the folder of a trial says.

    Raises:
        ValueError: Its metrics are damaged.
    """
    history = run.history()
    if run.finished:
        if not history.epochs:
            raise ValueError(f"{run.metrics} is missing. Remove {run.path} to train it again")
        best = history.best or history.epochs[-1]
        return Trial(
            seed, run.path, "done", best.validation_clean, best.validation_robust, best.epoch,
            history.epochs[-1].seconds, history.epochs[-1].note or "",
        )  # fmt: skip
    if history.diverged is not None:
        return Trial(seed, run.path, "diverged", note=history.diverged)
    return Trial(seed, run.path, "open")


def read_tests(folder: Path) -> tuple[Mapping[str, Any], ...]:
    """Final evaluations that a sweep's folder keeps."""
    file = folder / "tests.json"
    return tuple(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else ()


def _configuration(each: Configuration) -> dict[str, Any]:
    return {
        "values": read_values(each.values),
        "status": each.status,
        "clean": each.clean and dataclasses.asdict(each.clean),
        "robust": each.robust and dataclasses.asdict(each.robust),
        "trials": [
            {**dataclasses.asdict(trial), "folder": str(trial.folder)} for trial in each.trials
        ],
    }


def read_values(values: Values) -> dict[str, Any]:
    """Values as data: numbers where they are some, fractions included."""
    return {key: _read(text) for key, text in values.items()}


def _read(text: str) -> Any:
    try:
        number = parse_number(text)
    except ValueError:
        return yaml.safe_load(text)
    return int(text) if text.lstrip("+-").isdigit() else number
