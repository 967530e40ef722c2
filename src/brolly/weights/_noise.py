"""The contract of noise on weights, and how to be without it or keep to one draw."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from ._attach import Reparametrization, Transform, attached_to, stored

#: `train`: in training mode only, as dropout. `always`: in eval mode too, which makes the model a
#: randomised one.
When = Literal["train", "always"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightNoise(Reparametrization):
    """Noise on the weights of linear and convolutional layers, drawn anew at each pass.

    All examples of a batch meet the same draw. Numbers come from torch's global generator, which
    `fit` seeds and gives back; attacks and `evaluate` draw under a seed of their own.

    With `when="train"` attacks and `evaluate`, which work in eval mode, see the mean weights; so do
    objectives while they craft examples in eval mode. With `when="always"` they see the noise:
    `evaluate` finds out that the model draws random numbers, attacks it through expectation over
    transformation (EOT), and judges the mean of its passes. An attack called by itself does not.

    Args:
        layers: Which layers.
        when: In which mode of the model there is noise.
    """

    when: When = "train"

    def __post_init__(self) -> None:
        if self.when not in ("train", "always"):
            raise ValueError(f"when is {self.when!r}; expected 'train' or 'always'")


class NoisyWeight(Transform, abc.ABC):
    """Noise on the weight of one layer."""

    def __init__(self, when: When) -> None:
        super().__init__()
        self.when = when
        self._silent = False
        self._kept: Tensor | None = None

    def forward(self, weight: Tensor) -> Tensor:
        if self._silent:
            return weight
        if self._kept is not None:
            return self.perturb(weight, self._kept)
        if self.training or self.when == "always":
            return self.perturb(weight, self.draw(weight, None))
        return weight

    @abc.abstractmethod
    def draw(self, weight: Tensor, generator: torch.Generator | None) -> Tensor:
        """Random numbers for one pass, of the dtype and on the device of `weight`."""

    @abc.abstractmethod
    def perturb(self, weight: Tensor, draw: Tensor) -> Tensor:
        """The weight at that draw."""


class NormalNoise(NoisyWeight):
    """Noise made of one standard normal number for each weight."""

    def draw(self, weight: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.empty_like(weight.detach()).normal_(generator=generator)


@contextlib.contextmanager
def without_noise(model: nn.Module) -> Iterator[nn.Module]:
    """Switches the noise on the weights off for a while, in either mode of the model.

    Example:
        >>> import torch, brolly
        >>> model = brolly.weights.DropConnect(when="always").attach(torch.nn.Linear(4, 2))
        >>> with brolly.weights.without_noise(model):
        ...     torch.equal(model.weight, model.weight)
        True
    """
    with _restored(model) as noises:
        for _, noise in noises:
            noise._silent = True
        yield model


@contextlib.contextmanager
def one_draw(model: nn.Module, generator: torch.Generator) -> Iterator[nn.Module]:
    """Draws the noise on the weights once and keeps to it for a while, in either mode of the model.

    Inside, the model is one of the deterministic networks that the noise makes of it.

    Args:
        model: A model with noise attached.
        generator: On the device of the model.

    Example:
        >>> import torch, brolly
        >>> model = brolly.weights.GaussianNoise().attach(torch.nn.Linear(4, 2))
        >>> with brolly.weights.one_draw(model, torch.Generator().manual_seed(0)):
        ...     torch.equal(model.weight, model.weight)
        True
    """
    with _restored(model) as noises:
        for layer, noise in noises:
            noise._silent, noise._kept = False, noise.draw(stored(layer), generator)
        yield model


@contextlib.contextmanager
def _restored(model: nn.Module) -> Iterator[list[tuple[nn.Module, NoisyWeight]]]:
    noises = [
        (layer, noise)
        for layer, transforms in attached_to(model)
        for noise in transforms
        if isinstance(noise, NoisyWeight)
    ]
    before = [(noise._silent, noise._kept) for _, noise in noises]
    try:
        yield noises
    finally:
        for (_, noise), (silent, kept) in zip(noises, before, strict=True):
            noise._silent, noise._kept = silent, kept
