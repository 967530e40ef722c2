"""Weights multiplied by random matrices."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from ._noise import NoisyWeight, WeightNoise, When


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomMatrix(WeightNoise):
    r"""The weight, multiplied by a random matrix near the identity.

    .. math:: (I + \tfrac{\sigma}{\sqrt{n}} G) \, W, \quad G_{ij} \sim N(0, 1)

    for W `(n, inputs)`, which is the weight of a linear layer or that of a convolution with all
    axes but the first made one. Each output of the layer, bias aside, gets a random mixture of all
    its n outputs added. So a layer with many correlated outputs is disturbed more along what they
    have in common than by noise that is drawn for each weight alone. The expected squared
    (Frobenius) norm of the change is :math:`\sigma^2 \|W\|^2`.

    Such transforms have been offered as parameter obfuscation. With `when="always"` they hide
    gradients from an attack that takes one at a time, not from one that averages over them.

    Cost: n squared random numbers for each layer and pass, and one product of an n x n matrix
    with the weight.

    Args:
        std: sigma, the change of the weight as a part of it; 0.1 is our choice.
        layers: Which layers.
        when: In which mode of the model matrices are drawn.

    Raises:
        ValueError: std is not above 0.

    Example:
        >>> import torch, brolly
        >>> model = brolly.models.SmallCNN(1, 10, width=4)
        >>> model = brolly.weights.RandomMatrix(std=0.05).attach(model)
        >>> model(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    std: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.std > 0:
            raise ValueError(f"std is {self.std}; expected more than 0")

    def transform(self, layer: nn.Module) -> Multiplied:
        return Multiplied(self.std, self.when)


class Multiplied(NoisyWeight):
    """`(I + std / sqrt(n) * draw) @ w`."""

    def __init__(self, std: float, when: When) -> None:
        super().__init__(when)
        self.std = std

    def draw(self, weight: Tensor, generator: torch.Generator | None) -> Tensor:
        outputs = len(weight)
        return weight.detach().new_empty(outputs, outputs).normal_(generator=generator)

    def perturb(self, weight: Tensor, draw: Tensor) -> Tensor:
        mixed = (draw @ weight.flatten(1)).reshape(weight.shape)
        return weight + self.std / len(weight) ** 0.5 * mixed
