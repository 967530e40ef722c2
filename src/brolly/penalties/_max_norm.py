"""Max-norm."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from ._penalty import Covers, Penalty, covered, reasons_against_stored
from ._units import incoming, lengths


@dataclasses.dataclass(frozen=True)
class MaxNorm(Penalty):
    """A bound on what flows into each unit, `||w_u|| <= limit` (Srebro & Shraibman 2005).

    After each step of the optimiser the incoming weights of every unit (a row of a linear layer,
    a filter of a convolution) that are longer are scaled back to the bound, as Srivastava et al.
    (2014) do beside dropout. Biases have no part in the length. As a value it is 0 and has no
    gradient.

    Args:
        limit: Longest Euclidean norm; Srivastava et al. use 3 to 4.
        covers: Which parameters.

    Raises:
        ValueError: limit is not above 0.

    Example:
        >>> import torch, brolly
        >>> layer = torch.nn.Linear(2, 2)
        >>> with torch.no_grad():
        ...     _ = layer.weight.copy_(torch.tensor([[3.0, 4.0], [0.5, 0.0]]))
        >>> brolly.penalties.MaxNorm(limit=2.5).after_step(layer, lr=0.1)
        >>> layer.weight.tolist()
        [[1.5, 2.0], [0.5, 0.0]]
    """

    limit: float = 3.0
    covers: Covers = "weights"

    def __post_init__(self) -> None:
        if not self.limit > 0:
            raise ValueError(f"limit is {self.limit}; expected more than 0")

    def __call__(self, model: nn.Module) -> Tensor:
        return next(iter(covered(model, self.covers).values())).new_zeros(())

    @torch.no_grad()
    def after_step(self, model: nn.Module, lr: float) -> None:
        for view in incoming(model, self.covers).values():
            view.mul_(self.limit / lengths(view).clamp_min(self.limit))

    def reasons_against(self, model: nn.Module) -> list[str]:
        return reasons_against_stored("MaxNorm", model, self.covers)
