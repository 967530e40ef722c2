"""The training loop."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .._device import pick_device
from ..data import Augmentation, Batch, Batches, Dataset, LoaderBatches
from ..objectives import Loss, Objective, Plain
from ..penalties import Penalty
from ..threats import Threat
from ..weights import WeightSearch
from ._average import Average
from ._combination import Precision, check_combination
from ._history import EpochRecord, History
from ._kinds import check_kinds
from ._optimizers import SGD, Optimizer
from ._randomness import global_randomness, restore_global_randomness
from ._run import RunFolder
from ._schedules import OneCycle, Progress, Schedule, parse_length
from ._step_sizes import StepSizes
from ._validation import Accuracies, Checker, SelectBy, Validation, catastrophic_overfitting

#: Called after each step with steps done, steps in all, and its loss.
OnStep = Callable[[int, int, float], None]


class TrainingDiverged(ArithmeticError):
    """The loss is no number any more; the state after the last whole epoch is kept."""


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
    on_epoch: Callable[[EpochRecord], None] | None = None,
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
        validation=validation, run=run,
    )  # fmt: skip
    device = pick_device(device)
    objective, schedule = objective or Plain(), schedule or OneCycle()
    # Dropout and the like draw from the global generator; it is lent to the training and returned.
    with (
        _training_modes(model),
        torch.random.fork_rng(devices=[device] if device != "cpu" else []),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        torch.manual_seed(seed)
        check_combination(
            model, data, objective=objective, penalty=penalty, weights=weights, epochs=epochs,
            threat=threat, schedule=schedule, average=average, batches=batches,
            batch_size=batch_size, accumulate=accumulate, clip=clip, augment=augment,
            balanced=balanced, precision=precision, select_by=select_by, patience=patience,
            device=device,
        )  # fmt: skip
        threat = objective.threat if threat is None else threat
        if select_by is None:
            select_by = "clean" if threat is None else "robust"
        check = Checker(data, threat, validation or Validation(), seed, device)
        trainer = _Trainer(
            model, data, objective, penalty, weights, optimizer or SGD(), schedule, average,
            epochs, batches, batch_size, accumulate, clip, augment, balanced, precision, seed,
            device,
        )  # fmt: skip
        if run is not None and (state := run.load_state()) is not None:
            trainer.load_state(state)
        policy = _Policy(check, validation or Validation(), select_by, patience, epochs)
        while trainer.epoch < epochs and not trainer.stopped:
            try:
                loss, logs = trainer.train_epoch(on_step)
            except TrainingDiverged as error:
                if run is not None:
                    run.save_divergence(str(error))
                raise
            record = policy.judge(trainer, loss, logs)
            if run is not None:
                run.save_state(trainer.state(), trainer.records)
            if on_epoch is not None:
                on_epoch(record)
        model.load_state_dict(trainer.best)
    return History(tuple(trainer.records), trainer.stopped or None)


class _Trainer:
    """What changes while training: weights, their average, optimiser, randomness, records."""

    def __init__(
        self, model: nn.Module, data: Dataset, objective: Objective, penalty: Penalty | None,
        weights: WeightSearch | None, optimizer: Optimizer, schedule: Schedule,
        average: Average | None, epochs: int, batches: Iterable[Any] | None, batch_size: int,
        accumulate: int, clip: float | None, augment: Sequence[Augmentation], balanced: bool,
        precision: Precision, seed: int, device: str,
    ) -> None:  # fmt: skip
        self.model, self.schedule = model, schedule
        self.penalty, self.weights, self.accumulate, self.clip = penalty, weights, accumulate, clip
        self.objective = objective.begin(data.train, device)
        self.average, self.precision, self.device = average, precision, device
        self.shadow = copy.deepcopy(model) if average else model
        self.optimizer = optimizer.build(model)
        self._base_rates = [group["lr"] for group in self.optimizer.param_groups]
        self._order = torch.Generator().manual_seed(seed)
        self._noise = torch.Generator().manual_seed(seed + 1)
        self.batches: Batches | LoaderBatches
        if batches is None:
            self.batches = Batches(
                data.train, batch_size, device, self._order, augment,
                drop_last=True, balanced=balanced,
            )  # fmt: skip
        elif isinstance(batches, Batches):
            self.batches = dataclasses.replace(batches, device=device)
        else:
            rows = len(data.train) if self.objective.needs_index else None
            self.batches = LoaderBatches(batches, device, data.bounds, len(data.classes), rows)
        # Without a generator of its own, a DataLoader shuffles by the global one.
        self._order = getattr(batches, "generator", None) or self._order
        self.steps_per_epoch = math.ceil(len(self.batches) / accumulate) * self.objective.replays
        self.steps = epochs * self.steps_per_epoch
        self.epoch, self.seconds, self.stopped = 0, 0.0, ""
        self.scores: list[float] = []
        self.records: list[EpochRecord] = []
        self.steps_taken = StepSizes(model, self.steps_per_epoch)
        self.best = _copy(self.shadow)

    def train_epoch(self, on_step: OnStep | None) -> tuple[float, dict[str, float]]:
        """One pass over the training split; returns the mean loss and its parts."""
        start, step = time.perf_counter(), self.epoch * self.steps_per_epoch
        total, count = 0.0, 0
        logs: dict[str, float] = defaultdict(float)
        self.steps_taken = StepSizes(self.model, self.steps_per_epoch)
        for batches in _groups(self.batches, self.accumulate):
            for _ in range(self.objective.replays):
                self._set_rate(step)
                self.optimizer.zero_grad(set_to_none=True)
                values: list[float] = []
                for batch in batches:
                    loss = self._loss(batch, step)
                    values.append(self._finite(loss, step))
                    (loss.value / len(batches)).backward()
                    total, count = total + values[-1], count + 1
                    for name, part in loss.logs.items():
                        logs[name] += float(part)
                self._step(step)
                step += 1
                if on_step is not None:
                    on_step(step, self.steps, statistics.fmean(values))
        self.optimizer.zero_grad(set_to_none=True)
        self.epoch += 1
        if self.average:
            batches = self.batches
            if isinstance(batches, Batches):
                again = torch.Generator().manual_seed(self._order.initial_seed())
                batches = dataclasses.replace(batches, generator=again)
            self.average.after_epoch(self.shadow, self.model, self.epoch, batches)
        self.seconds += time.perf_counter() - start
        return total / count, {name: value / count for name, value in logs.items()}

    def _loss(self, batch: Batch, step: int) -> Loss:
        """The loss of a batch, at the worst weights nearby, and the penalty."""
        # Without the cache: a weight cast while crafting would lose its gradient later.
        with torch.autocast(
            torch.device(self.device).type,
            torch.bfloat16,
            enabled=self.precision == "bfloat16",
            cache_enabled=False,
        ):
            loss_of, place = self.objective.craft(self.model, batch, self._noise), self.model
            search = self.weights
            if search and step >= parse_length(search.warmup, self.steps_per_epoch):
                place = search(self.model, lambda model: loss_of(model).value)
            loss = loss_of(place)
        if self.penalty is not None:
            penalty = self.penalty(self.model)
            loss = Loss(loss.value + penalty, {**loss.logs, "penalty": penalty.detach()})
        return loss

    def _finite(self, loss: Loss, step: int) -> float:
        if not math.isfinite(value := float(loss.value.detach())):
            raise TrainingDiverged(
                f"the loss became {value} at epoch {self.epoch + 1}, step "
                f"{step % self.steps_per_epoch + 1} of {self.steps_per_epoch}; the state after "
                f"epoch {self.epoch} is kept. Lower the learning rate (optimizer.lr), lengthen the "
                "warm-up or clip gradients"
            )
        return value

    def _step(self, step: int) -> None:
        self.steps_taken.look_at_gradients()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        with self.steps_taken.measured():
            self.optimizer.step()
        if self.penalty is not None:
            self.penalty.after_step(self.model, self.rate)
        if self.average:
            self.average.after_step(self.shadow, self.model, step)

    @property
    def rate(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def keep_best(self) -> None:
        self.best = _copy(self.shadow)

    def state(self) -> dict[str, Any]:
        """Everything that a resumed run needs, as tensors and plain values."""
        return {
            "model": _copy(self.model),
            "shadow": _copy(self.shadow) if self.average else None,
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "objective": self.objective.state(),
            "order": self._order.get_state(),
            "noise": self._noise.get_state(),
            **global_randomness(self.device),
            "epoch": self.epoch,
            "seconds": self.seconds,
            "stopped": self.stopped,
            "scores": self.scores,
            "records": [record.to_json() for record in self.records],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        if self.average:
            self.shadow.load_state_dict(state["shadow"])
        self.best = state["best"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.objective.load_state(state.get("objective", {}))
        self._order.set_state(state["order"])
        self._noise.set_state(state["noise"])
        restore_global_randomness(state, self.device)
        self.epoch, self.seconds = state["epoch"], state["seconds"]
        self.stopped, self.scores = state["stopped"], state["scores"]
        self.records = [EpochRecord(**record) for record in state["records"]]

    def _set_rate(self, step: int) -> None:
        progress = Progress(step, self.steps, self.steps_per_epoch, self.scores)
        factor = self.schedule.factor(progress)
        for group, rate in zip(self.optimizer.param_groups, self._base_rates, strict=True):
            group["lr"] = rate * factor


@dataclasses.dataclass(frozen=True)
class _Policy:
    """After each epoch: check, choose the best, decide whether to go on."""

    check: Checker
    validation: Validation
    select_by: SelectBy
    patience: int | None
    epochs: int

    def judge(self, trainer: _Trainer, loss: float, logs: dict[str, float]) -> EpochRecord:
        start = time.perf_counter()
        due = trainer.epoch % self.validation.every == 0 or trainer.epoch == self.epochs
        train = validation = Accuracies()
        if due:
            with torch.autocast(
                torch.device(trainer.device).type,
                torch.bfloat16,
                enabled=trainer.precision == "bfloat16",
            ):
                train = self.check.train(trainer.shadow)
                validation = self.check.validation(trainer.shadow)
        trainer.seconds += time.perf_counter() - start
        steps = trainer.steps_taken
        record = EpochRecord(
            epoch=trainer.epoch,
            seconds=trainer.seconds,
            learning_rate=trainer.rate,
            train_loss=loss,
            train_clean=train.clean,
            train_robust=train.robust,
            validation_clean=validation.clean,
            validation_robust=validation.robust,
            validation_single_step=validation.single_step,
            logs=logs,
            train_examples=train.examples,
            validation_examples=validation.examples,
            validation_loss=validation.loss,
            gradient_norm=steps.gradient_norm,
            largest_gradient_norm=steps.largest_gradient_norm,
            update_ratio=steps.update_ratio,
        )
        record = self._decide(trainer, record)
        trainer.records.append(record)
        return record

    def _decide(self, trainer: _Trainer, record: EpochRecord) -> EpochRecord:
        score = getattr(record, f"validation_{self.select_by}")
        checked = [r for r in trainer.records if r.validation_clean is not None]
        if catastrophic_overfitting(checked[-1] if checked else None, record):
            best = next(r.epoch for r in reversed(checked) if r.best)
            trainer.stopped = (
                f"catastrophic overfitting: robust validation accuracy fell from "
                f"{checked[-1].validation_robust:.1%} to {record.validation_robust:.1%} while "
                f"single-step accuracy rose to {record.validation_single_step:.1%}; training "
                f"stopped and went back to epoch {best}"
            )
            return dataclasses.replace(record, note=trainer.stopped)
        if score is None:  # nothing was measured: the newest weights are kept, until something is
            if not checked:
                trainer.keep_best()
            return dataclasses.replace(record, best=not checked)
        better = score > max(trainer.scores, default=-math.inf)
        trainer.scores.append(score)
        if better:
            trainer.keep_best()
        elif self.patience is not None and _since_best(trainer.scores) >= self.patience:
            trainer.stopped = (
                f"early stopping: {self.select_by} validation accuracy had no new best in "
                f"{_since_best(trainer.scores)} checks"
            )
        return dataclasses.replace(record, best=better, note=trainer.stopped or None)


def _groups(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Batches in lists of `size`; the last may be shorter."""
    rest = iter(batches)
    while group := list(itertools.islice(rest, size)):
        yield group


def _since_best(scores: Sequence[float]) -> int:
    return len(scores) - 1 - scores.index(max(scores))


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


class _training_modes:
    """Training mode for a model that comes in eval mode as a whole; its own modes afterwards."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._modes = [(module, module.training) for module in model.modules()]

    def __enter__(self) -> None:
        if not any(training for _, training in self._modes):
            self._model.train()

    def __exit__(self, *exception: object) -> None:
        for module, training in self._modes:
            module.training = training
