"""Which parts of a training do not go together, told before its first step."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator

import torch
from torch import nn

from .._ranges import out_of_range
from .._untouched import untouched
from ..data import Batches, Dataset
from ..data._sampling import check_every_class
from ..models import check_logits
from ._optimizers import trainable
from ._settings import Precision, Settings
from ._validation import SelectBy


def check_combination(model: nn.Module, data: Dataset | None, settings: Settings) -> None:
    """Whether `fit` can begin with these settings.

    With data, the model is moved to the device in the end and run on two examples, so that a
    randomised one draws from the global generator.

    Args:
        model: To be trained; without data, one with layers of the same kinds.
        data: None: what depends on it is not judged.
        settings: To be judged.

    Raises:
        ValueError: With all reasons why not, one a line; or the model does not fit the data.
    """
    reasons = [
        *_of_values(settings),
        *(_of_data(model, data, settings) if data is not None else ()),
        *_of_sampling(settings),
        *_of_steps(settings),
        *settings.objective.reasons_against(model),
        *(settings.average.reasons_against(settings.epochs) if settings.average else ()),
        *(settings.penalty.reasons_against(model) if settings.penalty is not None else ()),
    ]
    if reasons:
        raise ValueError("\n".join(reasons))
    if data is not None:
        _check_outputs(model.to(settings.device), data, settings.device)


def _of_values(settings: Settings) -> Iterator[str]:
    """Numbers out of range and unknown words."""
    if reason := out_of_range("[1, inf)", epochs=settings.epochs, accumulate=settings.accumulate):
        yield reason
    if settings.clip is not None and (reason := out_of_range("(0, inf)", clip=settings.clip)):
        yield f"{reason}, or None"
    patience = settings.patience
    if patience is not None and (reason := out_of_range("[1, inf)", patience=patience)):
        yield f"{reason}, or None"
    if settings.precision not in typing.get_args(Precision):
        yield f"precision is {settings.precision!r}; expected 'float32' or 'bfloat16'"
    if settings.select_by not in typing.get_args(SelectBy):
        yield f"select_by is {settings.select_by!r}; expected 'robust', 'clean' or None"
    if settings.select_by == "robust" and settings.threat is None:
        yield "select_by is 'robust', but there is no threat; pass threat=Linf(...)"


def _of_data(model: nn.Module, data: Dataset, settings: Settings) -> Iterator[str]:
    """What the data lacks, or the model."""
    size, count = settings.batch_size, len(data.train)
    if settings.batches is None and not 0 < size <= count:
        yield f"batch_size is {size} for {count} training examples; expected 1 to {count}"
    if settings.batches is None and settings.balanced:
        yield from _complaint(lambda: check_every_class(data.train))
    if settings.schedule.watches and len(data.validation) == 0:
        yield (
            f"{settings.schedule} goes by the validation metric, but there is no validation split; "
            "set one aside, or use a schedule that goes by time, such as Cosine()"
        )
    yield from _complaint(lambda: trainable(model))


def _of_sampling(settings: Settings) -> Iterator[str]:
    """Ways to draw and to augment examples that an objective cannot follow."""
    objective, batches = settings.objective, settings.batches
    augment, balanced = settings.augment, settings.balanced
    if batches is not None and (augment or balanced):
        yield (
            "batches comes with its own order and augmentation, so augment and balanced have no "
            "use; leave them out, or give Batches(data.train, ...) that do both"
        )
    if isinstance(batches, Batches):
        augment, balanced = batches.augment, batches.balanced
    if augment and objective.remembers:
        yield (
            f"{type(objective).__name__} remembers a perturbation for each pixel, and augmentation "
            "would move the pixels from under it. Leave augment empty, or train with NFGSM"
        )
    if balanced and objective.needs_index:
        yield (
            f"{type(objective).__name__} tells examples apart and meets each once an epoch, but "
            "balanced draws some of them several times; leave balanced out"
        )


def _of_steps(settings: Settings) -> Iterator[str]:
    """Searches for worse weights, replays and gathered gradients, of which each wants the step."""
    objective, accumulate = settings.objective, settings.accumulate
    if accumulate > 1 and settings.weights:
        yield (
            f"accumulate is {accumulate}, but {type(settings.weights).__name__} would search for "
            "worse weights for each batch alone; use a larger batch_size instead"
        )
    if accumulate > 1 and objective.replays > 1:
        yield (
            f"accumulate is {accumulate}, but {type(objective).__name__} steps on each batch "
            f"{objective.replays} times; use one of the two"
        )
    if objective.replays > 1 and settings.weights:
        yield (
            f"{type(objective).__name__} takes its next perturbation from the backward pass of the "
            "step, which a search for worse weights would disturb; leave weights out"
        )


def _complaint(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except ValueError as error:
        return [str(error)]
    return []


def _check_outputs(model: nn.Module, data: Dataset, device: str) -> None:
    """Raises ValueError where the model does not give a logit to each class of the data."""
    x = next(iter(Batches(data.train.first(2), 2, device))).x
    with untouched(model), torch.no_grad():
        try:
            logits = model(x)
        except RuntimeError as error:
            raise ValueError(
                f"the model fails on inputs of {data.name}, of shape {tuple(x.shape)}: {error}"
            ) from error
    check_logits(logits, len(x))
    if logits.shape[1] < len(data.classes):
        raise ValueError(
            f"the model has {logits.shape[1]} classes; expected {len(data.classes)} or more for "
            f"{data.name}"
        )
