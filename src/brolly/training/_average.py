"""Averages of the weights along the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .._ranges import check_range
from ..data import Batch


class Average:
    """Keeps the average in a second copy of the model, which is then what is checked and kept.

    Either method may do nothing. What an average remembers is that copy alone, so that training
    goes on from its state as if it had never been interrupted.
    """

    def reasons_against(self, epochs: int) -> list[str]:
        """Why a training of so many epochs cannot be averaged; empty where it can."""
        return []

    def after_step(self, average: nn.Module, model: nn.Module, step: int) -> None:
        """Moves `average` after the step number `step`, from 0."""

    def after_epoch(
        self, average: nn.Module, model: nn.Module, epoch: int, batches: Iterable[Batch]
    ) -> None:
        """Moves `average` after epoch number `epoch`, from 1; `batches` are those of an epoch."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EMA(Average):
    """Exponential moving average of weights and buffers.

    After n steps the average moves towards the weights by `1 - min(decay, (1 + n) / (10 + n))`,
    so that it does not cling to the first ones. Running statistics of BatchNorm are averaged
    along; whole-number buffers are copied.

    Args:
        decay: What is kept per step; about `1 / (1 - decay)` steps are averaged.
    """

    decay: float = 0.995

    def __post_init__(self) -> None:
        check_range("[0, 1)", decay=self.decay)

    @torch.no_grad()
    def after_step(self, average: nn.Module, model: nn.Module, step: int) -> None:
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        mine, theirs = _tensors(average), _tensors(model)
        floating = [k for k, tensor in enumerate(mine) if tensor.is_floating_point()]
        torch._foreach_lerp_([mine[k] for k in floating], [theirs[k] for k in floating], weight)
        for old, new in zip(mine, theirs, strict=True):
            if not old.is_floating_point():
                old.copy_(new)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SWA(Average):
    r"""Stochastic weight averaging (Izmailov et al. 2018): the plain mean of epoch ends.

    .. math:: \bar w_e = \frac{1}{e - s} \sum_{k = s + 1}^{e} w_k
              \quad \text{after epoch } e > s; \quad \bar w_e = w_e \text{ before}

    Running statistics of BatchNorm fit none of the averaged nets, so they are computed anew from
    the clean training batches, augmented as in training, after each epoch that is averaged
    (BatchNorm that is in eval mode keeps its own). The other buffers are the newest.

    The mean gains where the weights still move: the paper holds the learning rate constant and
    high, or restarts it, in the epochs that are averaged. `OneCycle` and `Cosine` end at a rate
    where there is little left to average.

    Cost: one forward pass over the training split for each epoch that is averaged.

    Args:
        start: Epochs before the first one that counts; three quarters of the run in the paper.

    Raises:
        ValueError: start is below 0, or, in `fit`, no epoch is left to average.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> schedule = brolly.MultiStep(at=[1], gamma=0.5)
        >>> average = brolly.SWA(start=1)
        >>> history = brolly.fit(model, data, epochs=3, schedule=schedule, average=average)
        >>> len(history.epochs)
        3
    """

    start: int

    def __post_init__(self) -> None:
        check_range("[0, inf)", start=self.start)

    def reasons_against(self, epochs: int) -> list[str]:
        if self.start < epochs:
            return []
        return [
            f"SWA starts after {self.start} epochs of {epochs}, so there is nothing to average; "
            f"let it start earlier, such as {3 * epochs // 4}, or train longer"
        ]

    @torch.no_grad()
    def after_epoch(
        self, average: nn.Module, model: nn.Module, epoch: int, batches: Iterable[Batch]
    ) -> None:
        weight = 1 / max(epoch - self.start, 1)
        for old, new in zip(average.parameters(), model.parameters(), strict=True):
            old.lerp_(new, weight)
        for old, new in zip(average.buffers(), model.buffers(), strict=True):
            old.copy_(new)
        if epoch > self.start:
            _recompute_statistics(average, batches)


def _recompute_statistics(model: nn.Module, batches: Iterable[Batch]) -> None:
    """Sets the running statistics of BatchNorm to their plain mean over batches."""
    norms = [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
    ]
    if not norms:
        return
    before = [(norm.momentum, _copies(norm)) for norm in norms]
    modes = [(module, module.training) for module in model.modules()]
    model.eval()  # dropout is off where the statistics will be used
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None  # makes it a plain mean
    for batch in batches:
        model(batch.x)
    for norm, (momentum, buffers) in zip(norms, before, strict=True):
        norm.momentum = momentum
        if norm.num_batches_tracked == 0:  # such as the statistics of adversarial batches
            for buffer, kept in zip(norm.buffers(), buffers, strict=True):
                buffer.copy_(kept)
    for module, training in modes:
        module.training = training


def _copies(module: nn.Module) -> list[Tensor]:
    return [buffer.clone() for buffer in module.buffers()]


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
