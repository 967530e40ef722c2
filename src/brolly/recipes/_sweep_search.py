"""Which configurations a sweep tries: all, some at random, or those Optuna asks for."""

from __future__ import annotations

import itertools
import math
import random
import warnings
from collections.abc import Sequence
from typing import Any, Literal

from ._sweep_space import Choices, Dimension, Values, told

Search = Literal["grid", "random", "optuna"]

#: More than anybody waits for; a range was probably meant for a random search.
_MOST = 10_000


def on_grid(space: Sequence[Dimension]) -> list[Values]:
    """Every combination, the last key changing fastest.

    Raises:
        ValueError: A range has no grid, or there are more combinations than anyone trains.
    """
    grids = [dimension.grid() for dimension in space]
    problems = [
        f"{dimension}: is a range, and a grid takes values; write them, such as "
        f"{dimension.path}={','.join(dimension.ends)}, or search at random (--search random)"
        for dimension, grid in zip(space, grids, strict=True)
        if grid is None
    ]
    if problems:
        raise ValueError(told(problems))
    columns = [grid for grid in grids if grid is not None]
    count = math.prod(len(column) for column in columns)
    if count > _MOST:
        raise ValueError(
            f"the grid has {count:,} configurations; expected at most {_MOST:,}. Search at random"
        )
    paths = [dimension.path for dimension in space]
    return [dict(zip(paths, row, strict=True)) for row in itertools.product(*columns)]


def at_random(space: Sequence[Dimension], trials: int, seed: int) -> list[Values]:
    """Different configurations, drawn independently (Bergstra & Bengio 2012).

    The first of many trials are the same as those of few. A space with fewer configurations than
    trials gives what a long search finds in it.
    """
    generator = random.Random(seed)
    found: dict[tuple[str, ...], None] = {}
    for _ in range(100 * trials):
        found.setdefault(tuple(dimension.draw(generator) for dimension in space))
        if len(found) == trials:
            break
    paths = [dimension.path for dimension in space]
    return [dict(zip(paths, row, strict=True)) for row in found]


def by_optuna(
    space: Sequence[Dimension], known: Sequence[tuple[Values, float | None]], seed: int
) -> Values:
    """What Optuna's tree-structured Parzen estimator tries next (Bergstra et al. 2011).

    The study is made anew from what is known, so that it needs no storage of its own.

    Args:
        space: What varies.
        known: Configurations that were asked for, with what they reached; None: not yet known,
            for which the estimator stays away from them (its "constant liar").
        seed: Of the draw, together with how many there were before.

    Raises:
        ValueError: Optuna is not installed.
    """
    optuna = load_optuna()
    distributions = {dimension.path: _distribution(optuna, dimension) for dimension in space}
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the constant liar is experimental
            sampler = optuna.samplers.TPESampler(seed=seed + len(known), constant_liar=True)
            study = optuna.create_study(direction="maximize", sampler=sampler)
            for values, reached in known:
                study.add_trial(_trial(optuna, space, distributions, values, reached))
            asked = study.ask(distributions).params
    finally:
        optuna.logging.set_verbosity(before)
    return {dimension.path: _written(dimension, asked[dimension.path]) for dimension in space}


def load_optuna() -> Any:
    """The library, which is an extra.

    Raises:
        ValueError: It is not installed, or broken.
    """
    try:
        import optuna
    except Exception as error:  # a broken dependency of it raises other kinds
        raise ValueError(
            f"Optuna cannot be imported ({type(error).__name__}: {error}); install it with "
            "`pip install 'brolly[optuna]'`, or search at random"
        ) from None
    return optuna


def _distribution(optuna: Any, dimension: Dimension) -> Any:
    if isinstance(dimension, Choices):
        return optuna.distributions.CategoricalDistribution(dimension.values)
    if dimension.integer:
        low, high = int(dimension.low), int(dimension.high)
        return optuna.distributions.IntDistribution(low, high, log=dimension.log)
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _trial(
    optuna: Any, space: Sequence[Dimension], distributions: dict[str, Any], values: Values,
    reached: float | None,
) -> Any:  # fmt: skip
    state = optuna.trial.TrialState
    return optuna.trial.create_trial(
        state=state.RUNNING if reached is None else state.COMPLETE,
        value=reached,
        params={dimension.path: _read(dimension, values[dimension.path]) for dimension in space},
        distributions=distributions,
    )


def _written(dimension: Dimension, value: Any) -> str:
    return value if isinstance(dimension, Choices) else dimension.text(value)


def _read(dimension: Dimension, text: str) -> Any:
    if isinstance(dimension, Choices):
        return text
    return int(text) if dimension.integer else float(text)
