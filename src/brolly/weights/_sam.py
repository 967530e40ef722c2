"""Sharpness-aware minimisation, plain and adaptive."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from .._ranges import check_range
from ._search import WeightSearch


@dataclasses.dataclass(frozen=True, kw_only=True)
class SAM(WeightSearch):
    r"""Sharpness-aware minimisation (Foret et al. 2021).

    .. math:: \min_w L(w + v), \quad v = \rho \, g / \|g\|, \quad g = \nabla_w L(w)

    over all parameters together. Nets in flat valleys generalise better; by itself it makes no
    net robust.

    Cost: the loss of a step once more, forward and backward to the weights, but not what is done
    before it to craft inputs: one pass of either kind for PGD training, two for TRADES.

    Args:
        rho: Length of v; 0.05 in the paper.
        warmup: Training before it begins.

    Raises:
        ValueError: rho is not above 0.
    """

    rho: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("(0, inf)", rho=self.rho)

    def shifts(self, weights: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        factor = self.rho / _norm([gradient for _, gradient in weights.values()])
        return {name: factor * gradient for name, (_, gradient) in weights.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ASAM(WeightSearch):
    r"""Adaptive SAM (Kwon et al. 2021), whose steps do not change when layers are rescaled.

    .. math:: v = \rho \, T^2 g / \|T g\|, \quad T = |w| + \eta
              \text{ for weights, } 1 \text{ for parameters with one axis}

    The authors' code goes by names and takes the scales of BatchNorm for weights as well.

    Cost: as `SAM`.

    Args:
        rho: Length of `v / T`; 0.5 in the paper for CIFAR-10.
        eta: Keeps weights that are zero in play; 0.01 in the paper.
        warmup: Training before it begins.

    Raises:
        ValueError: rho is not above 0, or eta is below 0.
    """

    rho: float = 0.5
    eta: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.rho > 0 and self.eta >= 0):
            raise ValueError(
                f"rho is {self.rho}, eta is {self.eta}; expected more than 0, and 0 or more"
            )

    def shifts(self, weights: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        scales = {
            name: value.abs() + self.eta if value.ndim > 1 else torch.ones_like(value)
            for name, (value, _) in weights.items()
        }
        factor = self.rho / _norm([scales[name] * g for name, (_, g) in weights.items()])
        return {name: factor * scales[name] ** 2 * g for name, (_, g) in weights.items()}


def _norm(tensors: list[Tensor]) -> Tensor:
    return torch.stack([tensor.norm() for tensor in tensors]).norm().clamp_min(1e-20)
