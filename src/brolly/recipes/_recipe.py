"""The recipe: everything a training run is made of, as text."""

from __future__ import annotations

import dataclasses
import functools
import json
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from torch import nn

from .. import objectives, penalties, training, weights
from .._files import sha256
from .._names import suggest
from ..data import DATASETS, Colour, Dataset, load_data, may_be_data
from ..models import DualBatchNorm
from ..threats import Threat, parse_threat
from ._component import Component, Number, named
from ._entries import (
    Augmentation,
    Average,
    Model,
    Objective,
    Optimizer,
    Penalty,
    Schedule,
    Weights,
)
from ._errors import describe_errors, without_errors
from ._text import change, recipe_text

E = TypeVar("E", bound="_Entry")

#: In place of entries that have errors: with these, nothing speaks against the others.
_NEUTRAL: dict[str, Any] = {
    "name": "neutral",
    "data": {"name": "digits"},
    "model": {"name": "resnet", "dual": True},
    "threat": "linf:0.1",
    "objective": {"name": "plain"},
    "epochs": 1_000_000,
}


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def from_tree(cls: type[E], tree: Mapping[str, Any], source: str) -> E:
        """Checks keys and values that came from `source`.

        Raises:
            ValueError: They have errors; all of them are told at once.
        """
        try:
            return cls.model_validate(tree)
        except ValidationError as error:
            problems = "".join(f"\n  {problem}" for problem in cls._problems(tree, error))
            raise ValueError(f"{source} has errors:{problems}") from None

    @classmethod
    def _problems(cls, tree: Mapping[str, Any], error: ValidationError) -> list[str]:
        return describe_errors(error, cls)


class Data(_Entry):
    """Which data set, how it is split, how it is augmented.

    Attributes:
        name: A data set that `load_data` knows, or the path of a file or folder.
        validation, test, size, colour, skip_broken, label, mapping, bounds, in_memory: As in
            `load_data`.
        examples: Training examples to use, from the first; None: all.
        augment: Applied in turn to each training batch.
        balanced: Whether training examples are drawn so that each class is equally likely.
    """

    name: str
    validation: Number = Field(default=0.1, ge=0, lt=1)
    test: Number = Field(default=0.2, ge=0, lt=1)
    size: int | tuple[int, int] | None = None
    colour: Colour | None = None
    skip_broken: bool = False
    label: str | None = None
    mapping: dict[str, str] | None = None
    bounds: tuple[Number, Number] | None = None
    in_memory: bool | None = None
    examples: int | None = Field(default=None, ge=1)
    augment: tuple[Augmentation, ...] = ()
    balanced: bool = False

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if not may_be_data(name):
            raise ValueError(f"data set {name!r} is unknown. {suggest(name, DATASETS)}")
        return name

    def load(self, data_dir: str | Path | None = None) -> Dataset:
        """Loads it, with as many training examples as the recipe wants.

        Raises:
            ValueError: The data is not to be had, or has fewer.
        """
        options = self.model_dump(exclude={"examples", "augment", "balanced"})
        data = load_data(**options, data_dir=data_dir)
        if self.examples is None:
            return data
        if self.examples > len(data.train):
            raise ValueError(
                f"data.examples is {self.examples}, but {data.name} has {len(data.train)} training "
                f"examples; expected 1 to {len(data.train)}, or null for all"
            )
        return dataclasses.replace(data, train=data.train.first(self.examples))


class Validation(_Entry):
    """How much is checked after an epoch; see `brolly.training.Validation`."""

    examples: int = Field(default=1000, ge=1)
    train_examples: int = Field(default=500, ge=0)
    steps: int = Field(default=10, ge=1)
    every: int = Field(default=1, ge=1)


class Recipe(_Entry):
    """A training run, as `recipe.yaml` holds it. Entries name constructors and their arguments.

    Attributes:
        name: Of the run; letters, digits, `.`, `_` and `-`.
        data: Data set and augmentation.
        model: Network.
        threat: What the network is to stand, e.g. `linf:0.1`.
        objective: What training minimises.
        penalties: What it minimises beside that, from the weights alone; they add up.
        weights: Perturbations of the weights: a search for worse ones (one at most), and noise or
            weight normalisation, which become part of the model in the order written.
        optimizer, schedule, average: How.
        epochs, batch_size: How long.
        accumulate: Batches per step of the optimiser.
        clip: Largest norm of the gradient of all parameters together.
        precision: `float32`, or `bfloat16` for autocast.
        validation: What is checked after an epoch.
        select_by: Metric of the best epoch.
        patience: Epochs without a new best to stop after.
        seed: Of everything random.

    Example:
        >>> import brolly
        >>> recipe = brolly.Recipe.load("digits-robust", ["epochs=2", "optimizer.lr=0.05"])
        >>> recipe.epochs, recipe.optimizer.lr
        (2, 0.05)
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    data: Data
    model: Model
    threat: str
    objective: Objective
    penalties: tuple[Penalty, ...] = ()
    weights: tuple[Weights, ...] = ()
    optimizer: Optimizer = named("sgd")
    schedule: Schedule = named("one-cycle")
    average: Average | None = None
    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=128, ge=1)
    accumulate: int = Field(default=1, ge=1)
    clip: Number | None = Field(default=None, gt=0)
    precision: Literal["float32", "bfloat16"] = "float32"
    validation: Validation = Validation()
    select_by: Literal["robust", "clean"] = "robust"
    patience: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)

    @field_validator("threat")
    @classmethod
    def _is_threat(cls, threat: str) -> str:
        parse_threat(threat)
        return threat

    @field_validator("objective")
    @classmethod
    def _builds(cls, objective: Component, info: Any) -> Component:
        """Lets the constructor judge its arguments, if there is a threat to judge them by."""
        if "threat" in info.data:
            _build_objective(objective, parse_threat(info.data["threat"]))
        return objective

    @classmethod
    def _problems(cls, tree: Mapping[str, Any], error: ValidationError) -> list[str]:
        """Those of the entries, and what does not go together in the others."""
        problems = describe_errors(error, cls)
        while (others := _without_errors(tree, error)) != tree:
            try:
                cls.model_validate(others)
                return problems
            except ValidationError as left:
                tree, error = others, left
        return list(dict.fromkeys(problems + describe_errors(error, cls)))

    @model_validator(mode="after")
    def _go_together(self) -> Recipe:
        searches, reasons = self._searches(), []
        if len(searches) > 1:
            names = " and ".join(name for name, _ in searches)
            reasons.append(f"weights has {names}, which search for worse weights; use one")
        try:
            settings = self.build_settings(self.build_objective())
            training.check_combination(self._stand_in(), None, settings)
        except ValueError as error:
            reasons += str(error).split("\n")
        if reasons:
            raise ValueError("\n".join(reasons))
        return self

    def _stand_in(self) -> nn.Module:
        """A small model with all that is attached, for penalties to say what they cannot act on."""
        with torch.random.fork_rng(devices=[]):
            layers = {"linear": nn.Linear(2, 2), "convolution": nn.Conv2d(2, 2, 2)}
            model = nn.ModuleDict(layers)
            network = getattr(self.model, "model", self.model)  # of a wrapper
            if getattr(network, "dual", False):
                model["norm"] = DualBatchNorm(nn.BatchNorm2d(2))
            for reparametrization in self.build_reparametrizations():
                reparametrization.attach(model)
        return model

    @classmethod
    def load(cls, source: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
        """Reads a shipped recipe by name, a YAML file, or the recipe of a run folder.

        Args:
            source: Name or path.
            overrides: Texts `key.path=value`, with the value in YAML.

        Raises:
            ValueError: There is no such recipe, or it has errors; all of them are told at once.
        """
        return cls.from_text(recipe_text(source), overrides, str(source))

    @classmethod
    def from_text(
        cls, text: str, overrides: Sequence[str] = (), source: str = "the recipe"
    ) -> Recipe:
        """Reads YAML that came from `source`; otherwise like `load`."""
        try:
            tree = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"{source} is not YAML: {error}") from None
        if not isinstance(tree, dict):
            raise ValueError(f"{source} holds {type(tree).__name__}; expected keys and values")
        tree = {**_named_defaults(), **tree}
        for override in overrides:
            change(tree, override)
        return cls.from_tree(tree, source)

    def build_threat(self, bounds: tuple[float, float] = (0.0, 1.0)) -> Threat:
        """The threat, inside the bounds of the data."""
        return parse_threat(self.threat, bounds)

    def build_objective(
        self, bounds: tuple[float, float] = (0.0, 1.0), data_dir: str | Path | None = None
    ) -> objectives.Objective:
        """The objective, against the threat; `data_dir` is for networks of other runs in it."""
        return _build_objective(self.objective, self.build_threat(bounds), data_dir)

    def build_penalty(self) -> penalties.Penalty | None:
        """The sum of the penalties; None without any."""
        terms = [entry.build() for entry in self.penalties]
        return functools.reduce(operator.add, terms) if terms else None

    def build_weight_search(self) -> weights.WeightSearch | None:
        """The search for worse weights, if there is one."""
        searches = self._searches()
        return searches[0][1] if searches else None

    def _searches(self) -> list[tuple[str, weights.WeightSearch]]:
        built = ((entry.name, entry.build()) for entry in self.weights)
        return [(name, part) for name, part in built if isinstance(part, weights.WeightSearch)]

    def build_reparametrizations(self) -> list[weights.Reparametrization]:
        """What is attached to the model, in this order: noise, weight normalisation."""
        built = [entry.build() for entry in self.weights]
        return [part for part in built if isinstance(part, weights.Reparametrization)]

    def build_settings(
        self,
        objective: objectives.Objective,
        bounds: tuple[float, float] = (0.0, 1.0),
        device: str = "cpu",
    ) -> training.Settings:
        """What `fit` is to do, with the objective that was built."""
        return training.Settings(
            objective=objective,
            penalty=self.build_penalty(),
            weights=self.build_weight_search(),
            epochs=self.epochs,
            threat=self.build_threat(bounds),
            optimizer=self.optimizer.build(),
            schedule=self.schedule.build(),
            average=self.average and self.average.build(),
            batches=None,
            batch_size=self.batch_size,
            accumulate=self.accumulate,
            clip=self.clip,
            augment=[entry.build() for entry in self.data.augment],
            balanced=self.data.balanced,
            precision=self.precision,
            validation=training.Validation(**self.validation.model_dump()),
            select_by=self.select_by,
            patience=self.patience,
            seed=self.seed,
            device=device,
        )

    def to_yaml(self) -> str:
        """The whole recipe, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, width=100)

    @property
    def sha256(self) -> str:
        """Hash of what differs from the defaults, so that it outlives keys that are added."""
        tree = _without_defaults(self)
        return sha256(json.dumps(tree, sort_keys=True).encode())

    @property
    def folder(self) -> str:
        """Name of the run folder: the recipe's name and the beginning of its hash."""
        return f"{self.name}-{self.sha256[:8]}"


def _without_errors(tree: Mapping[str, Any], error: ValidationError) -> dict[str, Any]:
    """A recipe without what is wrong in it, and neutral entries for those that are needed."""
    wrong = {each["loc"][0] for each in error.errors() if each["loc"]}
    neutral = {key: value for key, value in _NEUTRAL.items() if key in wrong}
    left = without_errors(tree, error, Recipe)
    if "data" in wrong and "name" not in left.get("data", ()):
        left["data"] = {**_NEUTRAL["data"], **left.get("data", {})}
    return {**neutral, **left}


def _without_defaults(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_without_defaults(part) for part in value]
    if not isinstance(value, BaseModel):
        return value
    return {
        name: _without_defaults(getattr(value, name))
        for name, field in type(value).model_fields.items()
        if name == "name" or getattr(value, name) != field.default
    }


def _build_objective(
    objective: Component, threat: Threat, data_dir: str | Path | None = None
) -> objectives.Objective:
    return objective.build(threat=threat, adversary=threat, data_dir=data_dir)


def _named_defaults() -> dict[str, Any]:
    """Entries that need not be written, for overrides to change what is in them."""
    fields = Recipe.model_fields.items()
    return {name: dict(field.default) for name, field in fields if isinstance(field.default, dict)}
