"""The fast gradient sign method from a random point."""

from __future__ import annotations

import dataclasses

from ..losses import cross_entropy
from ._attack import Attack
from ._engine import Search


@dataclasses.dataclass(frozen=True)
class RFGSM(Attack):
    r"""A random step, then one along the gradient (Tramer et al. 2018).

    .. math:: x' = P(x + \alpha \, \mathrm{ascend}(n)), \quad
        x'' = P(x' + (\epsilon - \alpha) \, \mathrm{ascend}(\nabla L(x')))

    with n standard normal. It escapes where the loss is bent right at the clean input.

    Cost: one backward and three forward passes.

    Args:
        threat: The perturbations that are allowed.
        part: Length of the random step, as a part of eps; 0.5 in the paper.

    Raises:
        ValueError: `part` is not between 0 and 1.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.attacks.RFGSM(brolly.Linf(0.1))(model, x, y).success.shape
        torch.Size([2])
    """

    _: dataclasses.KW_ONLY
    part: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.part < 1:
            raise ValueError(f"part is {self.part}; expected a number between 0 and 1")

    @property
    def name(self) -> str:
        return "rfgsm"

    def search(self, search: Search) -> None:
        threat, rows = self.threat, search.standing()
        clean = search.x[rows]
        noise = threat.ascend(search.draws.of(rows).normal(clean))
        x = threat.project(clean + self.part * threat.eps * noise, clean)
        gradient = search.at(x, rows, search.row_loss(cross_entropy)).gradient
        rows, x, clean, gradient = search.drop_fooled(rows, x, clean, gradient)
        if len(rows):
            step = (1 - self.part) * threat.eps * threat.ascend(gradient)
            search.logits(threat.project(x + step, clean), rows)
