"""The momentum iterative method."""

from __future__ import annotations

import dataclasses

from ._momentum import MomentumAttack


@dataclasses.dataclass(frozen=True)
class MIM(MomentumAttack):
    """Steps along the sum of all gradients so far, each scaled alike (Dong et al. 2018).

    The arguments are those of `MomentumAttack`.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.attacks.MIM(brolly.Linf(0.1))(model, x, y).success.shape
        torch.Size([2])
    """
