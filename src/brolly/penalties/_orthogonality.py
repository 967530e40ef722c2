"""Soft orthogonality."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from ._penalty import Covers, Weighted, reasons_against_stored
from ._units import matrices


def orthogonality(
    model: nn.Module, weight: float = 1.0, covers: Covers = "weights", diagonal: bool = True
) -> Tensor:
    """How far weights are from orthogonal, `weight * sum_l ||W_l W_l^T - I||_F ** 2`.

    W_l is the weight of a layer as a matrix (units, incoming weights), a convolution's the
    reshaped kernel. Where it has more rows than columns it is W^T W, the smaller of the two, that
    can be the identity. The difference of the two values is the constant |rows - columns|.

    Args:
        model: Any module.
        weight: Factor.
        covers: Which parameters.
        diagonal: Whether rows are to have length one as well; without, W W^T counts off its
            diagonal only.

    Raises:
        ValueError: No parameter is covered.

    Example:
        >>> import torch, brolly
        >>> layer = torch.nn.Linear(3, 2)
        >>> with torch.no_grad():
        ...     _ = layer.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]))
        >>> brolly.penalties.orthogonality(layer).item()
        9.0
    """
    terms = [_excess(matrix, diagonal) for matrix in matrices(model, covers).values()]
    return weight * torch.stack(terms).sum()


@dataclasses.dataclass(frozen=True)
class Orthogonality(Weighted):
    """Soft orthogonality, `weight * sum_l ||W_l W_l^T - I||_F ** 2` (Bansal, Chen & Wang 2018).

    W_l is the weight of a layer as a matrix (units, incoming weights), a convolution's the
    reshaped kernel. Of the two products W W^T and W^T W the smaller is taken, which alone can be
    the identity; the authors take the same one whatever the shape, which differs by a constant and
    has the same gradient. They lower the weight as training goes on; here it stays.

    With `diagonal=False` units are to stand at right angles but may have any length, as Brock et
    al. (2019, BigGAN) do it.

    Cost: the product of each matrix with itself a step.

    Args:
        weight: 0 or more; Brock et al. use 1e-4.
        covers: Which parameters.
        diagonal: Whether rows are to have length one as well.

    Raises:
        ValueError: weight is below 0.

    Example:
        >>> import torch, brolly
        >>> layer = torch.nn.Linear(3, 2)
        >>> with torch.no_grad():
        ...     _ = layer.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]))
        >>> brolly.penalties.Orthogonality(1.0, diagonal=False)(layer).item()
        0.0
    """

    diagonal: bool = True

    def __call__(self, model: nn.Module) -> Tensor:
        return orthogonality(model, self.weight, self.covers, self.diagonal)

    def reasons_against(self, model: nn.Module) -> list[str]:
        return reasons_against_stored("Orthogonality", model, self.covers)


def _excess(matrix: Tensor, diagonal: bool) -> Tensor:
    if diagonal and matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    product = matrix @ matrix.T
    wanted = torch.ones_like(product.diagonal()) if diagonal else product.diagonal()
    return (product - wanted.diag()).square().sum()
