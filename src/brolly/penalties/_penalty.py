"""The contract of every penalty, and which parameters one covers."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

#: Which parameters: `weights`, those with two axes or more (of linear and convolutional layers,
#: embeddings); `no_norm`, those and the biases, but nothing of normalisation layers; `all`; or a
#: function of (name, parameter) that says so. Parameters that require no gradient never are.
Covers: TypeAlias = Literal["weights", "no_norm", "all"] | Callable[[str, nn.Parameter], bool]

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclasses.dataclass(frozen=True)
class Penalty(abc.ABC):
    """A scalar of the weights that training minimises beside the loss; penalties add up with `+`.

    Some act after the optimiser's step instead, or as well: a proximal step, a projection.
    """

    @abc.abstractmethod
    def __call__(self, model: nn.Module) -> Tensor:
        """The penalty, a scalar whose graph reaches the parameters."""

    def after_step(self, model: nn.Module, lr: float) -> None:  # noqa: B027
        """Changes the weights in place after a step of learning rate `lr`."""

    def __add__(self, other: Penalty) -> Penalty:
        return Sum((*_terms(self), *_terms(other)))


@dataclasses.dataclass(frozen=True)
class Sum(Penalty):
    """Several penalties, added."""

    terms: tuple[Penalty, ...]

    def __call__(self, model: nn.Module) -> Tensor:
        return torch.stack([term(model) for term in self.terms]).sum()

    def after_step(self, model: nn.Module, lr: float) -> None:
        for term in self.terms:
            term.after_step(model, lr)


def _terms(penalty: Penalty) -> tuple[Penalty, ...]:
    return penalty.terms if isinstance(penalty, Sum) else (penalty,)


def covered(model: nn.Module, covers: Covers) -> dict[str, nn.Parameter]:
    """The trainable parameters that are covered, by name, each once.

    Raises:
        ValueError: `covers` is no such word, or no parameter is covered.
    """
    if not callable(covers) and covers not in ("weights", "no_norm", "all"):
        raise ValueError(
            f"covers is {covers!r}; expected 'weights', 'no_norm', 'all', or a function of "
            "(name, parameter)"
        )
    norms = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, _NORMS)
        for parameter in module.parameters(recurse=False)
    }
    chosen = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        and (
            covers(name, parameter)
            if callable(covers)
            else covers == "all"
            or (id(parameter) not in norms and (covers == "no_norm" or parameter.ndim > 1))
        )
    }
    if not chosen:
        raise ValueError(
            f"covers is {covers!r}, which no trainable parameter of the model is; expected one at "
            "least"
        )
    return chosen
