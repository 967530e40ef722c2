"""The training loop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from .._device import pick_device
from ..data import Augmentation, Dataset
from ..objectives import Objective, Plain
from ..penalties import Penalty
from ..threats import Threat
from ..weights import WeightSearch
from ._average import Average
from ._combination import check_combination
from ._history import EpochRecord, History
from ._kinds import check_kinds
from ._optimizers import SGD, Optimizer
from ._run import RunFolder
from ._schedules import OneCycle, Schedule
from ._selection import Selection
from ._settings import Precision, Settings
from ._trainer import OnStep, Trainer, TrainingDiverged
from ._validation import SelectBy, Validation

#: Called after each epoch.
OnEpoch = Callable[[EpochRecord], None]


def fit(
    model: nn.Module,
    data: Dataset,
    *,
    objective: Objective | None = None,
    penalty: Penalty | None = None,
    weights: WeightSearch | None = None,
    epochs: int = 20,
    threat: Threat | None = None,
    optimizer: Optimizer | None = None,
    schedule: Schedule | None = None,
    average: Average | None = None,
    batches: Iterable[Any] | None = None,
    batch_size: int = 128,
    accumulate: int = 1,
    clip: float | None = None,
    augment: Sequence[Augmentation] = (),
    balanced: bool = False,
    precision: Precision = "float32",
    validation: Validation | None = None,
    select_by: SelectBy | None = None,
    patience: int | None = None,
    seed: int = 0,
    device: str | None = None,
    run: RunFolder | None = None,
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
) -> History:
    """Trains a model in place and leaves it with the weights of its best epoch.

    After each epoch clean, robust (small PGD) and single-step accuracy are measured on the
    validation split; the test split is never looked at. When the robust accuracy collapses while
    the single-step accuracy rises (catastrophic overfitting), training stops and goes back to the
    best epoch. Submodules that come in eval mode stay in it (frozen BatchNorm), unless all do;
    parameters that require no gradient stay as they are.

    Args:
        model: Any module that maps `(batch, ...)` to logits `(batch, classes)`.
        data: Train and validation split.
        objective: What to minimise; None: `Plain()`.
        penalty: What to minimise beside it, from the weights alone.
        weights: Search for worse weights nearby, which each step then descends at (`AWP`, `SAM`).
        epochs: Passes over the training split.
        threat: For the robust validation accuracy; None: that of the objective.
        optimizer: None: `SGD()`.
        schedule: Learning-rate schedule, per step; None: `OneCycle()`.
        average: Average of the weights, which is then what is checked and kept; None: no average.
        batches: What gives the batches of an epoch in place of `data.train`: a `DataLoader` of
            `(x, y)` or `(x, y, index)`, with rows of `data.train` as index, or `Batches`. Batch
            size, order and augmentation are then its own.
        batch_size: Examples per batch; a last, smaller batch of an epoch is left out.
        accumulate: Batches per step of the optimiser, whose gradients are averaged; batches that
            are left over at the end of an epoch make a step of their own.
        clip: Largest norm of the gradient of all parameters together; None: as it is.
        augment: Applied to each training batch in turn.
        balanced: Whether training examples are drawn with replacement, each class equally likely,
            as many as there are, instead of each once an epoch.
        precision: `bfloat16` runs forward passes under autocast; weights stay float32.
        validation: How much to check; None: `Validation()`.
        select_by: Metric of the best epoch; None: `robust` where there is a threat, else `clean`.
            Without a validation split the last epoch is kept.
        patience: Epochs without a new best to stop after; None: never.
        seed: Of the order of examples, augmentation, noise and dropout. The same seed on the same
            machine gives the same bits.
        device: `cpu`, `cuda`, ...; None: CUDA where there is one.
        run: A folder that keeps the state after each epoch. Training goes on from the state
            found there and ends with the same bits as if it had never been interrupted.
        on_step: Called with (steps done, steps in all, loss of the step: the mean of its batches,
            penalty included).
        on_epoch: Called after each epoch.

    Returns:
        What happened, epoch by epoch.

    Raises:
        ValueError: Arguments are out of range, of another kind, or do not go together, or the
            model does not fit the data.
        TrainingDiverged: The loss became NaN or infinite.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> history = brolly.fit(model, data, objective=brolly.NFGSM(brolly.Linf(0.1)), epochs=2)
        >>> len(history.epochs)
        2
    """
    check_kinds(
        model=model, data=data, objective=objective, penalty=penalty, weights=weights,
        threat=threat, optimizer=optimizer, schedule=schedule, average=average, augment=augment,
        validation=validation, run=run, epochs=epochs, batch_size=batch_size,
        accumulate=accumulate, seed=seed,
    )  # fmt: skip
    objective = Plain() if objective is None else objective
    threat = objective.threat if threat is None else threat
    check_kinds(threat=threat)
    if select_by is None:
        select_by = "clean" if threat is None else "robust"
    settings = Settings(
        objective=objective, penalty=penalty, weights=weights, epochs=epochs, threat=threat,
        optimizer=optimizer or SGD(), schedule=schedule or OneCycle(), average=average,
        batches=batches, batch_size=batch_size, accumulate=accumulate, clip=clip, augment=augment,
        balanced=balanced, precision=precision, validation=validation or Validation(),
        select_by=select_by, patience=patience, seed=seed, device=pick_device(device),
    )  # fmt: skip
    return train(model, data, settings, run=run, on_step=on_step, on_epoch=on_epoch)


def train(
    model: nn.Module,
    data: Dataset,
    settings: Settings,
    *,
    run: RunFolder | None = None,
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
) -> History:
    """`fit`, where all that says how is in one object."""
    # Dropout and the like draw from the global generator; it is lent to the training and returned.
    with (
        _training_modes(model),
        torch.random.fork_rng(devices=[settings.device] if settings.device != "cpu" else []),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        torch.manual_seed(settings.seed)
        check_combination(model, data, settings)
        trainer, selection = Trainer(model, data, settings), Selection(data, settings)
        if run is not None and (state := run.load_state()) is not None:
            try:
                trainer.load_state(state)
            except (KeyError, TypeError, ValueError, RuntimeError) as error:
                raise ValueError(
                    f"{run.path} holds the state of a training with another network, objective, "
                    "optimizer or average; it was left as it is. Go on with those, or give "
                    "another folder"
                ) from error
        while trainer.epoch < settings.epochs and not trainer.stopped:
            try:
                record = trainer.train_epoch(on_step)
            except TrainingDiverged as error:
                if run is not None:
                    run.save_divergence(str(error))
                raise
            record = selection.judge(trainer, record)
            if run is not None:
                run.save_state(trainer.state(), trainer.records)
            if on_epoch is not None:
                on_epoch(record)
        model.load_state_dict(trainer.best)
    return History(tuple(trainer.records), trainer.stopped or None)


@contextlib.contextmanager
def _training_modes(model: nn.Module) -> Iterator[None]:
    """Training mode for a model that comes in eval mode as a whole; its own modes afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    if not any(training for _, training in modes):
        model.train()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
