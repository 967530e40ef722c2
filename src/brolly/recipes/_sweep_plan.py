"""What a sweep is to do, agreed on among all processes that work on it."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .._files import sha256, write_json
from ..training import RunFolder
from ._recipe import Recipe
from ._run import build_data, build_model
from ._sweep_result import Configuration, Sweep, read_tests, read_trial
from ._sweep_search import Search, at_random, by_optuna, on_grid
from ._sweep_space import Dimension, Values, problem_lines, told


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A sweep before it is made; plain data, that another process can be sent.

    Attributes:
        folder: Of the sweep.
        text: The recipe, in YAML.
        fixed: Overrides that all configurations share.
        space: What varies.
        search: How to find configurations.
        trials: How many; 0: all of the grid.
        seeds: How many seeds each is trained with.
        examples: Of the validation split, that decide.
    """

    folder: Path
    text: str
    fixed: tuple[str, ...]
    space: tuple[Dimension, ...]
    search: Search
    trials: int
    seeds: int
    examples: int = 0

    @property
    def base(self) -> Recipe:
        return self.recipe({})

    def recipe(self, values: Values) -> Recipe:
        """The recipe of a configuration, with the first seed.

        Raises:
            ValueError: It has errors.
        """
        return _recipe(self.text, (*self.fixed, *(f"{k}={v}" for k, v in values.items())))

    def configurations(self) -> list[Values]:
        """Those to train, as far as they are known; none twice."""
        found: dict[str, Values] = {}
        for values in self._found():
            found.setdefault(self.recipe(values).sha256, values)
        return list(found.values())

    def _found(self) -> list[Values]:
        if self.search == "grid":
            return on_grid(self.space)
        if self.search == "random":
            return at_random(self.space, self.trials, self.base.seed)
        return _read_state(self.folder).get("asked", [])[: self.trials]

    def runs(self, values: Values) -> list[tuple[Recipe, RunFolder]]:
        """The trials of a configuration, one a seed."""
        first = self.recipe(values)
        recipes = [
            first.model_copy(update={"seed": first.seed + number}) for number in range(self.seeds)
        ]
        return [(each, RunFolder(self.folder / "trials" / each.folder)) for each in recipes]

    def ask(self) -> bool:
        """Lets Optuna add a configuration, if it is to; whether it did."""
        if self.search != "optuna":
            return False
        with (self.folder / ".asking").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = _read_state(self.folder)
            asked: list[Values] = state["asked"]
            if len(asked) >= self.trials:
                return False
            known = [(values, self._reached(values)) for values in asked]
            values = by_optuna(self.space, known, self.base.seed)
            self.recipe(values)
            write_json(self.folder / "state.json", {**state, "asked": [*asked, values]})
        return True

    def _reached(self, values: Values) -> float | None:
        """The metric of a configuration: none while it is open, 0 if it diverged."""
        found = self._configuration(values)
        if found.status != "done":
            return 0.0 if found.status == "diverged" else None
        spread = getattr(found, self.base.select_by)
        return spread.mean

    def outcome(self) -> Sweep:
        """What has been found so far."""
        configurations = tuple(map(self._configuration, self.configurations()))
        still_to_come = self.trials if self.search == "optuna" else 0
        return Sweep(
            recipe=self.base.name,
            folder=self.folder,
            search=self.search,
            metric=self.base.select_by,
            threat=self.base.threat,
            space=tuple(map(str, self.space)),
            fixed=self.fixed,
            examples=self.examples,
            configurations=configurations,
            tests=read_tests(self.folder),
            planned=self.seeds * max(len(configurations), still_to_come),
        )

    def _configuration(self, values: Values) -> Configuration:
        trials = (read_trial(recipe.seed, run) for recipe, run in self.runs(values))
        return Configuration(values, tuple(trials))

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        """Holds the folder together with all who do the same in it.

        Raises:
            ValueError: Others are at another sweep in it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("a+") as lock:
            with contextlib.suppress(BlockingIOError):  # someone is here and has begun
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._begin()
            fcntl.flock(lock, fcntl.LOCK_SH)
            if (doing := _read_state(self.folder).get("doing")) != self._doing():
                raise ValueError(
                    f"{self.folder} is in use by another sweep, {doing}; expected "
                    f"{self._doing()}. Wait for it to end, or choose another folder"
                )
            yield

    def _begin(self) -> None:
        for leftover in self.folder.glob(".*.tmp"):  # of a process that was killed
            leftover.unlink()
        before = _read_state(self.folder)
        goes_on = before.get("doing", {}).get("sweep") == self.sha256
        asked = before["asked"] if goes_on else []
        write_json(self.folder / "state.json", {"doing": self._doing(), "asked": asked})

    @property
    def sha256(self) -> str:
        """Hash of all but how many trials and seeds, which may grow."""
        return _hash(self.base, self.space, self.search)

    def _doing(self) -> dict[str, Any]:
        return {
            "sweep": self.sha256,
            "space": [str(dimension) for dimension in self.space],
            "search": self.search,
            "trials": self.trials,
            "seeds": self.seeds,
        }

    def checked(self, data_dir: str | Path | None) -> Plan:
        """The plan, once every configuration is known to be one that can be trained.

        Raises:
            ValueError: With all that is wrong.
        """
        if self.search == "optuna":  # which asks later, between these
            ways = [{d.path: d.ends[end] for d in self.space} for end in (0, 1)]
        else:
            ways = self._found()
        problems: list[str] = []
        for values in ways:
            try:
                self.recipe(values)
            except ValueError as error:
                where = " ".join(f"{key}={value}" for key, value in values.items())
                problems += [f"{where}: {line}" for line in problem_lines(error)]
        if problems:
            raise ValueError(told(problems))
        return dataclasses.replace(self, examples=_examples(map(self.recipe, ways), data_dir))


def default_folder(base: Recipe, space: tuple[Dimension, ...], search: Search) -> Path:
    """`sweeps/<recipe>-<hash of the sweep>`."""
    return Path("sweeps") / f"{base.name}-{_hash(base, space, search)[:8]}"


def _hash(base: Recipe, space: tuple[Dimension, ...], search: Search) -> str:
    return sha256(json.dumps([base.sha256, [str(d) for d in space], search]).encode())


def _examples(recipes: Iterable[Recipe], data_dir: str | Path | None) -> int:
    """How many examples decide, where every recipe has its data and can build its network."""
    parts: dict[str, list[Recipe]] = {}
    for recipe in sorted(recipes, key=lambda each: -each.batch_size):
        parts.setdefault(recipe.data.model_dump_json(), []).append(recipe)
    fewest, problems = [], []
    for same_data in parts.values():
        try:
            data = build_data(same_data[0], data_dir)
            for each in {recipe.model.model_dump_json(): recipe for recipe in same_data}.values():
                build_model(each, data)
            fewest.append(min(same_data[0].validation.examples, len(data.validation)))
        except ValueError as error:
            problems += problem_lines(error)
    if 0 in fewest:
        problems.append(
            "data.validation leaves no example to choose by; expected a part such as 0.1"
        )
    if problems:
        raise ValueError(told(problems))
    return min(fewest)


def _read_state(folder: Path) -> dict[str, Any]:
    file = folder / "state.json"
    if not file.is_file():
        return {}
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}. Remove it; trials are kept") from None


@functools.lru_cache(maxsize=10_000)
def _recipe(text: str, overrides: tuple[str, ...]) -> Recipe:
    return Recipe.from_text(text, overrides)
