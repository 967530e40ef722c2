"""Optimisers, described; torch's own do the work."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import torch
from torch import nn

from .._ranges import check_range
from ..penalties import Covers, choose

#: Which parameters weight decay touches, in the words of penalties.
Decays = Covers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer(abc.ABC):
    """A description of an optimiser; `build` makes it for a model's trainable parameters."""

    lr: float

    def __post_init__(self) -> None:
        check_range("(0, inf)", lr=self.lr)

    @abc.abstractmethod
    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimiser for those parameters of `model` that require gradients."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as `torch.optim.SGD`.

    Args:
        lr: Largest learning rate; the schedule scales it.
        momentum: Decay of the accumulated gradient.
        nesterov: Whether to look ahead along the momentum; no effect without momentum.
        weight_decay: Weight of the penalty `sum(w ** 2) / 2`, added to the gradient.
        decays: Which parameters it touches.
    """

    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    decays: Decays = "weights"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("[0, 1)", momentum=self.momentum)
        check_range("[0, inf)", weight_decay=self.weight_decay)

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            parameter_groups(model, self.weight_decay, self.decays),
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov and self.momentum > 0,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), as `torch.optim.AdamW`.

    Args:
        lr: Largest learning rate; the schedule scales it.
        betas: Decays of the first and second moment.
        weight_decay: Part of a weight that is taken away per step, times the learning rate.
        decays: Which parameters it touches.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-2
    decays: Decays = "weights"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("[0, 1)", betas=self.betas)
        check_range("[0, inf)", weight_decay=self.weight_decay)

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            parameter_groups(model, self.weight_decay, self.decays), lr=self.lr, betas=self.betas
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015), as `torch.optim.Adam`.

    Args:
        lr: Largest learning rate; the schedule scales it.
        betas: Decays of the first and second moment.
        weight_decay: Weight of the penalty `sum(w ** 2) / 2`, added to the gradient before its
            moments are taken; `AdamW` keeps decay out of them.
        decays: Which parameters it touches.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    decays: Decays = "weights"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("[0, 1)", betas=self.betas)
        check_range("[0, inf)", weight_decay=self.weight_decay)

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(
            parameter_groups(model, self.weight_decay, self.decays), lr=self.lr, betas=self.betas
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RMSprop(Optimizer):
    """Steps over the root of a running mean square (Tieleman & Hinton 2012), as
    `torch.optim.RMSprop`.

    Args:
        lr: Largest learning rate; the schedule scales it.
        alpha: Decay of the mean square.
        momentum: Decay of the accumulated step.
        weight_decay: Weight of the penalty `sum(w ** 2) / 2`, added to the gradient.
        decays: Which parameters it touches.
    """

    lr: float = 1e-2
    alpha: float = 0.99
    momentum: float = 0.0
    weight_decay: float = 0.0
    decays: Decays = "weights"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("[0, 1)", alpha=self.alpha, momentum=self.momentum)
        check_range("[0, inf)", weight_decay=self.weight_decay)

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(
            parameter_groups(model, self.weight_decay, self.decays),
            lr=self.lr,
            alpha=self.alpha,
            momentum=self.momentum,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adagrad(Optimizer):
    """Steps over the root of the summed squares (Duchi, Hazan & Singer 2011), as
    `torch.optim.Adagrad`.

    Args:
        lr: Largest learning rate; the schedule scales it, and so do the sums, which only grow.
        weight_decay: Weight of the penalty `sum(w ** 2) / 2`, added to the gradient.
        decays: Which parameters it touches.
    """

    lr: float = 1e-2
    weight_decay: float = 0.0
    decays: Decays = "weights"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("[0, inf)", weight_decay=self.weight_decay)

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adagrad(
            parameter_groups(model, self.weight_decay, self.decays), lr=self.lr
        )


def parameter_groups(model: nn.Module, weight_decay: float, decays: Decays) -> list[dict[str, Any]]:
    """Trainable parameters with and without decay.

    Raises:
        ValueError: No parameter requires gradients.
    """
    decayed = list(choose(model, decays).values())
    chosen = {id(parameter) for parameter in decayed}
    spared = [parameter for parameter in trainable(model) if id(parameter) not in chosen]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that require gradients.

    Raises:
        ValueError: There is none.
    """
    found = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not found:
        raise ValueError(
            "no parameter of the model requires gradients; expected at least one to train"
        )
    return found
