"""The fast gradient sign method."""

from __future__ import annotations

import dataclasses

from ._attack import Attack
from ._engine import Search
from ._pgd import PGD


@dataclasses.dataclass(frozen=True)
class FGSM(Attack):
    """One step of length eps from the clean input (Goodfellow et al. 2015).

    For L2 it is the step of length eps along the gradient. It is weak: use it to see whether
    iterating helps, not to report robustness.

    Cost: one backward and three forward passes.

    Args:
        threat: The perturbations that are allowed.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.FGSM(brolly.Linf(0.1))(model, x, y).success.shape
        torch.Size([2])
    """

    @property
    def name(self) -> str:
        return "fgsm"

    def search(self, search: Search) -> None:
        PGD(self.threat, steps=1, random_start=False).search(search)
