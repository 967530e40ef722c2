"""The first layer of every model: from input units to what the weights like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class ChannelStatistics(Protocol):
    """Mean and standard deviation of each channel; `Dataset.statistics` is one."""

    @property
    def mean(self) -> Sequence[float]: ...

    @property
    def std(self) -> Sequence[float]: ...


class Normalize(nn.Module):
    """Subtracts the mean of each channel and divides by its standard deviation.

    Inside the model, so that everybody outside (threats, attacks, eps) speaks in input units.

    Args:
        mean, std: One number per channel (axis 1 of the input), in input units.

    Raises:
        ValueError: The lengths differ, or a standard deviation is not positive.

    Example:
        >>> import torch
        >>> from brolly.models import Normalize
        >>> Normalize([0.5], [0.25])(torch.ones(1, 1, 1, 2))
        tensor([[[[2., 2.]]]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError(
                f"mean {list(mean)} and std {list(std)} do not fit; expected one number per "
                "channel in each, and every std above 0"
            )
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, x: Tensor) -> Tensor:
        shape = (-1, *[1] * (x.ndim - 2))
        return (x - self.mean.view(shape)) / self.std.view(shape)


def first_layer(normalize: ChannelStatistics | None) -> nn.Module:
    """`Normalize` with these statistics, or nothing."""
    return nn.Identity() if normalize is None else Normalize(normalize.mean, normalize.std)
