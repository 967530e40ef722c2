"""The learning-rate range test of a recipe."""

from __future__ import annotations

from pathlib import Path

from ..training import LearningRateRange, learning_rate_range
from ._recipe import Recipe
from ._run import build_data, build_model, build_objective


def range_of_recipe(
    recipe: Recipe, *, data_dir: str | Path | None = None, device: str | None = None
) -> LearningRateRange:
    """`brolly.learning_rate_range` with a fresh network and all else that a recipe names.

    Its schedule and average have no part in it, and gradients are not accumulated.

    Raises:
        ValueError: The data is not to be had, or the loss never fell.
    """
    data = build_data(recipe, data_dir)
    return learning_rate_range(
        build_model(recipe, data),
        data,
        objective=build_objective(recipe, data, data_dir),
        penalty=recipe.build_penalty(),
        weights=recipe.build_weight_search(),
        optimizer=recipe.optimizer.build(),
        batch_size=recipe.batch_size,
        clip=recipe.clip,
        augment=[entry.build() for entry in recipe.data.augment],
        balanced=recipe.data.balanced,
        precision=recipe.precision,
        seed=recipe.seed,
        device=device,
    )
