"""From a recipe to a trained model, and back from a run folder."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import torch
from torch import nn

from .._device import pick_device
from .._environment import __version__, describe_environment
from ..data import Dataset
from ..objectives import Objective
from ..training import History, OnEpoch, OnStep, RunFolder, train
from ._recipe import Recipe
from ._trained import TrainedRun


def build_data(recipe: Recipe, data_dir: str | Path | None = None) -> Dataset:
    """Loads the recipe's data set.

    Raises:
        ValueError: The data is not to be had, or is less than one batch.
    """
    data = recipe.data.load(data_dir)
    if recipe.batch_size > len(data.train):
        raise ValueError(
            f"batch_size is {recipe.batch_size}, but {data.name} has {len(data.train)} training "
            f"examples here; expected 1 to {len(data.train)}"
        )
    return data


def build_model(recipe: Recipe, data: Dataset) -> nn.Module:
    """Makes the recipe's network, with weights drawn under its seed and their noise attached.

    Raises:
        ValueError: The network's arguments are out of range.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        try:
            model = recipe.model.build(
                features=math.prod(data.shape),
                in_channels=data.shape[0],
                shape=data.shape,
                classes=len(data.classes),
                normalize=data.statistics,
            )
        except (RuntimeError, ValueError) as error:  # torch raises both on sizes out of range
            raise ValueError(f"model: {recipe.model.name} cannot be built: {error}") from error
    for reparametrization in recipe.build_reparametrizations():
        reparametrization.attach(model)
    return model


def build_objective(recipe: Recipe, data: Dataset, data_dir: str | Path | None = None) -> Objective:
    """Makes the recipe's objective, with the networks of other runs that it names.

    Raises:
        ValueError: Such a run is not finished, or was trained on another data set.
    """
    objective = recipe.build_objective(data.bounds, data_dir)
    for name, part in vars(objective).items():
        if not isinstance(part, TrainedRun):
            continue
        theirs = part.load()
        if theirs.name != data.name and theirs.test.sha256 != data.test.sha256:
            raise ValueError(
                f"objective.{name}: {part.path} was trained on {theirs.name}, and this recipe "
                f"trains on {data.name}; expected a run of the same data set. From Python, fit "
                "takes any network"
            )
    return objective


def train_recipe(
    recipe: Recipe,
    run: RunFolder,
    *,
    data_dir: str | Path | None = None,
    device: str | None = None,
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
) -> History:
    """Trains a recipe in a run folder, going on where an earlier process left off.

    The caller holds `run.locked()`.

    Args:
        recipe: What to train.
        run: Where; made if it is not there.
        data_dir: First folder to search for data.
        device: Where to compute; None: CUDA where there is one.
        on_step, on_epoch: As in `brolly.fit`.

    Raises:
        ValueError: The data is not to be had, or the folder is damaged, of a newer brolly, or of
            another recipe.
        TrainingDiverged: The loss became NaN or infinite.
    """
    data = build_data(recipe, data_dir)
    run.create(recipe.to_yaml(), describe_environment())
    if Recipe.load(run.recipe) != recipe:
        raise ValueError(
            f"{run.path} holds a run of another recipe, or of this one with other defaults; it was "
            "left as it is. Train into another folder"
        )
    model = build_model(recipe, data)
    objective = build_objective(recipe, data, data_dir)
    settings = recipe.build_settings(objective, data.bounds, pick_device(device))
    history = train(model, data, settings, run=run, on_step=on_step, on_epoch=on_epoch)
    best = history.best
    run.finish(
        model.cpu(),
        {
            "brolly": __version__,
            "recipe": json.dumps(recipe.model_dump(mode="json")),
            "best_epoch": str(best.epoch if best else len(history.epochs)),
            "stopped": history.stopped or "",
        },
    )
    return history


@dataclasses.dataclass(frozen=True)
class DryRun:
    """What a training would begin with.

    Attributes:
        data: The data set.
        parameters: Of the network.
        loss: What the first step descends, penalties included.
        steps: In each epoch.
        device: Where.
    """

    data: Dataset
    parameters: int
    loss: float
    steps: int
    device: str


def dry_run(
    recipe: Recipe, *, data_dir: str | Path | None = None, device: str | None = None
) -> DryRun:
    """Takes the first step of a recipe's training and keeps nothing of it.

    So whatever `train_recipe` would refuse, before or in that step, is refused here.

    Args:
        recipe: What to try.
        data_dir: First folder to search for data.
        device: Where to compute; None: CUDA where there is one.

    Raises:
        ValueError: The recipe cannot be trained, here or at all.
        TrainingDiverged: The loss is NaN or infinite from the start.

    Example:
        >>> import brolly
        >>> found = brolly.recipes.dry_run(brolly.Recipe.load("digits-plain"))
        >>> len(found.data.train), found.steps
        (1260, 19)
    """
    device = pick_device(device)
    data = build_data(recipe, data_dir)
    model = build_model(recipe, data)
    objective = build_objective(recipe, data, data_dir)
    try:
        train(model, data, recipe.build_settings(objective, data.bounds, device), on_step=_stop)
    except _FirstStep as first:
        parameters = sum(parameter.numel() for parameter in model.parameters())
        return DryRun(data, parameters, first.loss, first.steps // recipe.epochs, device)
    raise AssertionError("a training has one step or more")


class _FirstStep(Exception):
    """Ends a training after it, with what is known by then."""

    def __init__(self, loss: float, steps: int) -> None:
        self.loss, self.steps = loss, steps


def _stop(done: int, steps: int, loss: float) -> None:
    raise _FirstStep(loss, steps)


def load_run(
    path: str | Path, data_dir: str | Path | None = None
) -> tuple[Recipe, nn.Module, Dataset]:
    """Recipe, trained model (in eval mode) and data set of a run.

    Raises:
        ValueError: It is no run folder, is not trained to the end, or is damaged.
    """
    run = RunFolder(path)
    run.check()
    recipe = Recipe.load(run.recipe)
    data = build_data(recipe, data_dir)
    model = build_model(recipe, data)
    run.load_weights(model)
    return recipe, model.eval(), data
