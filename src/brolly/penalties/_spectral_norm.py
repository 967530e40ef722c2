"""Spectral norm penalty."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from ._penalty import Covers, Weighted, reasons_against_stored
from ._units import matrices


def spectral_norm(
    model: nn.Module, weight: float = 1.0, covers: Covers = "weights", iterations: int = 10
) -> Tensor:
    """Half the sum of squared largest singular values, `weight * sum_l sigma(W_l) ** 2 / 2`.

    W_l is the weight of a layer as a matrix (units, incoming weights). For a convolution that is
    the reshaped kernel; the convolution itself can have a norm larger by up to the square root of
    the positions in its kernel. Parameters with one axis count as one column.

    Args:
        model: Any module.
        weight: Factor.
        covers: Which parameters.
        iterations: Of the power method, from the same start each time.

    Raises:
        ValueError: No parameter is covered.

    Example:
        >>> import torch, brolly
        >>> layer = torch.nn.Linear(2, 2)
        >>> with torch.no_grad():
        ...     _ = layer.weight.copy_(torch.tensor([[4.0, 0.0], [0.0, 1.0]]))
        >>> round(brolly.penalties.spectral_norm(layer).item(), 4)
        8.0
    """
    squares = [_sigma(matrix, iterations) ** 2 for matrix in matrices(model, covers).values()]
    return weight * torch.stack(squares).sum() / 2


@dataclasses.dataclass(frozen=True)
class SpectralNorm(Weighted):
    """Half the sum of squared largest singular values, `weight * sum_l sigma(W_l) ** 2 / 2`.

    Spectral norm regularisation (Yoshida & Miyato 2017): small singular values make layers, and so
    the network, less sensitive to perturbed inputs. Its gradient is `weight * sigma * u v^T`.
    W_l is the weight of a layer as a matrix (units, incoming weights); convolutions count as their
    reshaped kernel, as in the paper, not as the operator on images.

    The authors keep the vectors of the power method from step to step and iterate once. Here
    nothing is kept: more iterations, from the same start each time, so that a run that went on is
    the same as one that was never interrupted. It comes out low by what the iterations leave,
    which is most where the largest singular values are close to each other.

    Cost: 2 * iterations + 1 products of each matrix and a vector a step; small beside a batch.

    Args:
        weight: 0 or more; 0.01 in the paper.
        covers: Which parameters.
        iterations: Of the power method.

    Raises:
        ValueError: weight is below 0, or iterations below 1.

    Example:
        >>> import torch, brolly
        >>> layer = torch.nn.Linear(2, 2)
        >>> with torch.no_grad():
        ...     _ = layer.weight.copy_(torch.tensor([[4.0, 0.0], [0.0, 1.0]]))
        >>> round(brolly.penalties.SpectralNorm(0.01)(layer).item(), 4)
        0.08
    """

    iterations: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations < 1:
            raise ValueError(f"iterations is {self.iterations}; expected 1 or more")

    def __call__(self, model: nn.Module) -> Tensor:
        return spectral_norm(model, self.weight, self.covers, self.iterations)

    def reasons_against(self, model: nn.Module) -> list[str]:
        return reasons_against_stored("SpectralNorm", model, self.covers)


def _sigma(matrix: Tensor, iterations: int) -> Tensor:
    """The largest singular value, from vectors that carry no gradient: that of sigma is u v^T."""
    fixed = matrix.detach()
    start = torch.randn(len(matrix), generator=torch.Generator().manual_seed(0)).to(fixed)
    tiny = torch.finfo(fixed.dtype).tiny
    u = v = start / start.norm()
    for _ in range(iterations):
        v = u @ fixed
        v = v / v.norm().clamp_min(tiny)
        u = fixed @ v
        u = u / u.norm().clamp_min(tiny)
    return u @ matrix @ v
