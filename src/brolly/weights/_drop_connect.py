"""Weights that are dropped at random."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from ._noise import NoisyWeight, WeightNoise, When


@dataclasses.dataclass(frozen=True, kw_only=True)
class DropConnect(WeightNoise):
    r"""DropConnect (Wan et al. 2013): each weight is 0 with probability p.

    .. math:: w \, m / (1 - p), \quad m \sim \text{Bernoulli}(1 - p)

    Where we differ from the authors: one mask for all examples of a batch, not one for each;
    biases are kept; dividing by 1 - p while training makes the stored weight the mean one, which is
    what is used in eval mode, where the authors sample activations from a Gaussian of the same
    first two moments. They drop connections of fully connected layers only (`as_published`).

    Cost: one random number for each weight and pass.

    Args:
        p: Probability that a weight is dropped; 0.5 in the paper.
        layers: Which layers.
        when: In which mode of the model weights are dropped.

    Raises:
        ValueError: p is not above 0 and below 1.

    Example:
        >>> import torch, brolly
        >>> _ = torch.manual_seed(0)
        >>> layer = torch.nn.Linear(50, 1)
        >>> _ = torch.nn.init.ones_(layer.weight)
        >>> brolly.weights.DropConnect(p=0.5).attach(layer).weight.detach().unique()
        tensor([0., 2.])
    """

    p: float = 0.5

    @classmethod
    def as_published(cls, *, p: float = 0.5) -> DropConnect:
        """In fully connected layers."""
        return cls(p=p, layers="linear")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.p < 1:
            raise ValueError(f"p is {self.p}; expected more than 0 and less than 1")

    def transform(self, layer: nn.Module) -> Dropped:
        return Dropped(self.p, self.when)


class Dropped(NoisyWeight):
    """`w * draw / (1 - p)`."""

    def __init__(self, p: float, when: When) -> None:
        super().__init__(when)
        self.p = p

    def draw(self, weight: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.empty_like(weight.detach()).bernoulli_(1 - self.p, generator=generator)

    def perturb(self, weight: Tensor, draw: Tensor) -> Tensor:
        return weight * draw / (1 - self.p)
