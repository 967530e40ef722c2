"""The epochs of a training, and everything that changes in them."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..data import Batch, Batches, Dataset, LoaderBatches
from ..objectives import Loss, Objective
from ._history import EpochRecord
from ._randomness import global_randomness, restore_global_randomness
from ._schedules import Progress, parse_length
from ._settings import Settings
from ._step_sizes import StepSizes

#: Called after each step with steps done, steps in all, and its loss.
OnStep = Callable[[int, int, float], None]


class TrainingDiverged(ArithmeticError):
    """The loss is no number any more; the state after the last whole epoch is kept."""


class Trainer:
    """What changes while training: weights, their average, optimiser, randomness, records."""

    def __init__(self, model: nn.Module, data: Dataset, settings: Settings) -> None:
        self.model, self.settings = model, settings
        self.objective = settings.objective.begin(data.train, settings.device)
        self.shadow = copy.deepcopy(model) if settings.average else model
        self.optimizer = settings.optimizer.build(model)
        self._base_rates = [group["lr"] for group in self.optimizer.param_groups]
        self._order = torch.Generator().manual_seed(settings.seed)
        self._noise = torch.Generator().manual_seed(settings.seed + 1)
        self.batches = self._batches(data)
        # Without a generator of its own, a DataLoader shuffles by the global one.
        self._order = getattr(settings.batches, "generator", None) or self._order
        steps = math.ceil(len(self.batches) / settings.accumulate)
        self.steps_per_epoch = steps * self.objective.replays
        self.epoch, self.seconds, self.stopped = 0, 0.0, ""
        self.scores: list[float] = []
        self.records: list[EpochRecord] = []
        self.best = _copy(self.shadow)

    def _batches(self, data: Dataset) -> Batches | LoaderBatches:
        settings = self.settings
        if settings.batches is None:
            return Batches(
                data.train, settings.batch_size, settings.device, self._order, settings.augment,
                drop_last=True, balanced=settings.balanced,
            )  # fmt: skip
        if isinstance(settings.batches, Batches):
            return dataclasses.replace(settings.batches, device=settings.device)
        rows = len(data.train) if self.objective.needs_index else None
        return LoaderBatches(
            settings.batches, settings.device, data.bounds, len(data.classes), rows
        )

    def train_epoch(self, on_step: OnStep | None) -> EpochRecord:
        """One pass over the training split."""
        start, step = time.perf_counter(), self.epoch * self.steps_per_epoch
        objective = self.objective.at(self.epoch + 1, self.settings.epochs)
        losses: list[float] = []
        logs: dict[str, float] = defaultdict(float)
        sizes = StepSizes(self.model, self.steps_per_epoch)
        for batches in _groups(self.batches, self.settings.accumulate):
            for _ in range(self.objective.replays):
                self._set_rate(step)
                self.optimizer.zero_grad(set_to_none=True)
                for batch in batches:
                    loss = self._loss(objective, batch, step)
                    losses.append(self._finite(loss, step))
                    (loss.value / len(batches)).backward()
                    for name, part in loss.logs.items():
                        logs[name] += float(part)
                self._step(step, sizes)
                step += 1
                if on_step is not None:
                    mean = statistics.fmean(losses[-len(batches) :])
                    on_step(step, self.settings.epochs * self.steps_per_epoch, mean)
        self.optimizer.zero_grad(set_to_none=True)
        self.epoch += 1
        self._average_epoch()
        self.seconds += time.perf_counter() - start
        return EpochRecord(
            epoch=self.epoch,
            seconds=self.seconds,
            learning_rate=self._rate,
            train_loss=sum(losses) / len(losses),
            logs={name: value / len(losses) for name, value in logs.items()},
            gradient_norm=sizes.gradient_norm,
            largest_gradient_norm=sizes.largest_gradient_norm,
            update_ratio=sizes.update_ratio,
        )

    def _loss(self, objective: Objective, batch: Batch, step: int) -> Loss:
        """The loss of a batch, at the worst weights nearby, and the penalty."""
        search, penalty = self.settings.weights, self.settings.penalty
        # Without the cache: a weight cast while crafting would lose its gradient later.
        with self.settings.autocast(cache=False):
            loss_of, place = objective.craft(self.model, batch, self._noise), self.model
            if search and step >= parse_length(search.warmup, self.steps_per_epoch):
                place = search(self.model, lambda model: loss_of(model).value)
            loss = loss_of(place)
        if penalty is not None:
            added = penalty(self.model)
            if not isinstance(added, Tensor) or added.ndim > 0:
                shape = f" of shape {tuple(added.shape)}" if isinstance(added, Tensor) else ""
                raise ValueError(
                    f"{penalty} is a {type(added).__name__}{shape}; expected a tensor without axes"
                )
            loss = Loss(loss.value + added, {**loss.logs, "penalty": added.detach()})
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

    def _set_rate(self, step: int) -> None:
        steps = self.settings.epochs * self.steps_per_epoch
        progress = Progress(step, steps, self.steps_per_epoch, self.scores)
        factor = self.settings.schedule.factor(progress)
        for group, rate in zip(self.optimizer.param_groups, self._base_rates, strict=True):
            group["lr"] = rate * factor

    @property
    def _rate(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def _step(self, step: int, sizes: StepSizes) -> None:
        settings = self.settings
        sizes.look_at_gradients()
        if settings.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        with sizes.measured():
            self.optimizer.step()
        if settings.penalty is not None:
            settings.penalty.after_step(self.model, self._rate)
        if settings.average:
            settings.average.after_step(self.shadow, self.model, step)

    def _average_epoch(self) -> None:
        if not self.settings.average:
            return
        batches = self.batches
        if isinstance(batches, Batches):
            again = torch.Generator().manual_seed(self._order.initial_seed())
            batches = dataclasses.replace(batches, generator=again)
        self.settings.average.after_epoch(self.shadow, self.model, self.epoch, batches)

    def keep_best(self) -> None:
        """Makes the weights as they are now those that training ends with."""
        self.best = _copy(self.shadow)

    def state(self) -> dict[str, Any]:
        """Everything that a resumed run needs, as tensors and plain values."""
        return {
            "model": _copy(self.model),
            "shadow": _copy(self.shadow) if self.settings.average else None,
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "objective": self.objective.state(),
            "order": self._order.get_state(),
            "noise": self._noise.get_state(),
            **global_randomness(self.settings.device),
            "epoch": self.epoch,
            "seconds": self.seconds,
            "stopped": self.stopped,
            "scores": self.scores,
            "records": [record.to_json() for record in self.records],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state` returned."""
        self.model.load_state_dict(state["model"])
        if self.settings.average:
            self.shadow.load_state_dict(state["shadow"])
        self.best = state["best"]
        theirs, ours = state["optimizer"], self.optimizer.state_dict()
        if theirs["param_groups"][0].keys() != ours["param_groups"][0].keys():
            raise ValueError("the state is that of another optimizer")  # which torch would take
        self.optimizer.load_state_dict(theirs)
        self.objective.load_state(state.get("objective", {}))
        self._order.set_state(state["order"])
        self._noise.set_state(state["noise"])
        restore_global_randomness(state, self.settings.device)
        self.epoch, self.seconds = state["epoch"], state["seconds"]
        self.stopped, self.scores = state["stopped"], state["scores"]
        self.records = [EpochRecord(**record) for record in state["records"]]


def _groups(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Batches in lists of `size`; the last may be shorter."""
    rest = iter(batches)
    while group := list(itertools.islice(rest, size)):
        yield group


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
