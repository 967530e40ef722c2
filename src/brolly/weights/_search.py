"""The contract of searches for worse weights, and the model that computes with them."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .._lengths import Length, check_length

#: A scalar loss as a function of the model.
ScalarLoss = Callable[[nn.Module], Tensor]


class Shifted(nn.Module):
    """A model that computes with other parameters and buffers; the model itself keeps its own.

    Args:
        model: Any module.
        tensors: By their names in `model`; the others are its own.
    """

    def __init__(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model = model
        self._tensors = dict(tensors)
        self.training = model.training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return torch.func.functional_call(self.model, self._tensors, args, kwargs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightSearch(abc.ABC):
    """A search near the weights for worse ones, which the training step then descends at.

    Args:
        warmup: Training before it begins: epochs, or a text such as `"500 steps"`.

    Raises:
        ValueError: warmup is no such length.
    """

    warmup: Length = 0

    def __post_init__(self) -> None:
        check_length("[0, inf)", warmup=self.warmup)

    def __call__(self, model: nn.Module, loss: ScalarLoss) -> nn.Module:
        """The model with worse weights.

        The gradient of its loss reaches the parameters of `model`, which are not changed, not even
        for a moment; nor are its buffers: BatchNorm sees the batch once, in the step itself.
        """
        own = {name: p for name, p in model.named_parameters() if p.requires_grad}
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        value = loss(Shifted(model, buffers))
        gradients = torch.autograd.grad(value, list(own.values()), allow_unused=True)
        reached = {
            name: (parameter.detach(), gradient)
            for (name, parameter), gradient in zip(own.items(), gradients, strict=True)
            if gradient is not None
        }
        with torch.no_grad():
            shifts = self.shifts(reached)
        return Shifted(model, {name: own[name] + shift for name, shift in shifts.items()})

    @abc.abstractmethod
    def shifts(self, weights: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """What to add to which parameters, from their values and gradients."""
