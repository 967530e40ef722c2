"""The contract of every penalty, and which parameters one covers."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrize import ParametrizationList, type_before_parametrizations

#: Which parameters: `weights`, those with two axes or more (of linear, convolutional and recurrent
#: layers, embeddings), so neither biases nor anything of normalisation layers; `no_norm`, all but
#: those of normalisation layers, so biases too; `all`; or a function of (name, parameter) that says
#: so. Parameters that require no gradient never are.
Covers: TypeAlias = Literal["weights", "no_norm", "all"] | Callable[[str, nn.Parameter], bool]

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclasses.dataclass(frozen=True)
class Penalty(abc.ABC):
    """A scalar of the weights that training minimises beside the loss; penalties add up with `+`.

    Some act after the optimiser's step instead, or as well: a proximal step, a projection. What
    is done there carries no gradient.
    """

    @abc.abstractmethod
    def __call__(self, model: nn.Module) -> Tensor:
        """The penalty, a scalar; its graph reaches the parameters, or it acts after the step."""

    def after_step(self, model: nn.Module, lr: float) -> None:  # noqa: B027
        """Changes the weights in place after a step of learning rate `lr`."""

    def reasons_against(self, model: nn.Module) -> list[str]:
        """Why it cannot act on `model`, one sentence each; empty where it can."""
        return []

    def __add__(self, other: Penalty) -> Penalty:
        if not isinstance(other, Penalty):
            return NotImplemented
        return Sum((*_terms(self), *_terms(other)))

    def __radd__(self, other: object) -> Penalty:
        """`sum` begins with 0."""
        return self if other == 0 else NotImplemented


@dataclasses.dataclass(frozen=True)
class Weighted(Penalty):
    """A penalty on covered parameters, with a factor of 0 or more."""

    weight: float
    covers: Covers = "weights"

    def __post_init__(self) -> None:
        check_weight(self.weight)

    def reasons_against(self, model: nn.Module) -> list[str]:
        return reasons_against_covering(model, self.covers)


@dataclasses.dataclass(frozen=True)
class Proximal(Weighted):
    """A penalty that pulls to zero, by its gradient or by its proximal step after the optimiser's.

    With the step, weights become exactly zero, and the value carries no gradient.
    """

    proximal: bool = False

    @abc.abstractmethod
    def value(self, model: nn.Module) -> Tensor:
        """The penalty, a scalar whose graph reaches the parameters."""

    @abc.abstractmethod
    def shrink(self, model: nn.Module, lr: float) -> None:
        """The proximal step for a learning rate, in place."""

    def __call__(self, model: nn.Module) -> Tensor:
        value = self.value(model)
        return value.detach() if self.proximal else value

    @torch.no_grad()
    def after_step(self, model: nn.Module, lr: float) -> None:
        if self.proximal:
            self.shrink(model, lr)

    def reasons_against(self, model: nn.Module) -> list[str]:
        if self.proximal:
            name = f"{type(self).__name__} with proximal=True"
            return reasons_against_stored(name, model, self.covers)
        return super().reasons_against(model)


@dataclasses.dataclass(frozen=True)
class Sum(Penalty):
    """Several penalties, added."""

    terms: tuple[Penalty, ...]

    def __call__(self, model: nn.Module) -> Tensor:
        return torch.stack([term(model) for term in self.terms]).sum()

    def after_step(self, model: nn.Module, lr: float) -> None:
        for term in self.terms:
            term.after_step(model, lr)

    def reasons_against(self, model: nn.Module) -> list[str]:
        reasons = [reason for term in self.terms for reason in term.reasons_against(model)]
        return list(dict.fromkeys(reasons))


def check_weight(weight: float) -> None:
    """Raises ValueError where the factor of a penalty is below 0."""
    if not weight >= 0:
        raise ValueError(f"weight is {weight}; expected 0 or more")


def _terms(penalty: Penalty) -> tuple[Penalty, ...]:
    return penalty.terms if isinstance(penalty, Sum) else (penalty,)


def covered(model: nn.Module, covers: Covers) -> dict[str, nn.Parameter]:
    """The trainable parameters that are covered, by name, each once.

    Raises:
        ValueError: `covers` is no such word, or no parameter is covered.
    """
    chosen = choose(model, covers)
    if not chosen:
        raise ValueError(
            f"covers is {covers!r}, which no trainable parameter of the model is; expected one at "
            "least"
        )
    return chosen


def choose(model: nn.Module, covers: Covers) -> dict[str, nn.Parameter]:
    """As `covered`, but there may be none."""
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

    def chosen(name: str, parameter: nn.Parameter) -> bool:
        if callable(covers):
            return covers(name, parameter)
        if covers == "all":
            return True
        return id(parameter) not in norms and (covers == "no_norm" or parameter.ndim > 1)

    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and chosen(name, parameter)
    }


def reasons_against_covering(model: nn.Module, covers: Covers) -> list[str]:
    """Why nothing of `model` is covered."""
    try:
        covered(model, covers)
    except ValueError as error:
        return [str(error)]
    return []


def reasons_against_stored(kind: str, model: nn.Module, covers: Covers) -> list[str]:
    """Why `kind`, which means the weights that layers compute with, finds others stored there."""
    if reasons := reasons_against_covering(model, covers):
        return reasons
    layers = [_layer_computing(model, name) for name in covered(model, covers)]
    kinds = {type_before_parametrizations(layer).__name__ for layer in layers if layer}
    if not kinds:
        return []
    return [
        f"{kind} would act on what {', '.join(sorted(kinds))} layers store, from which a "
        "parametrization (such as weight normalisation, or noise on weights) computes the weights "
        f"that they use; leave out {kind}, or the parametrization (in a recipe an entry of "
        "weights), or in Python those layers alone, by covers=lambda name, parameter: ..."
    ]


def _layer_computing(model: nn.Module, name: str) -> nn.Module | None:
    """The layer whose weight is computed from this parameter instead of being it, if one is."""
    *path, own = name.split(".")
    above = [model.get_submodule(".".join(path[:depth])) for depth in range(len(path) + 1)]
    for depth, module in enumerate(above):
        if isinstance(module, ParametrizationList):
            return above[depth - 2]  # layer.parametrizations.weight
    # The older torch.nn.utils.weight_norm, spectral_norm and prune: a parameter under another
    # name, and the weight itself no parameter any more.
    layer = above[-1]
    stems = [own.removesuffix(end) for end in ("_g", "_v", "_orig") if own.endswith(end)]
    computed = any(hasattr(layer, stem) and stem not in layer._parameters for stem in stems)
    return layer if computed else None
