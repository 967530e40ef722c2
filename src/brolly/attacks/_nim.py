"""Nesterov's look ahead."""

from __future__ import annotations

import dataclasses

from ._momentum import MomentumAttack


@dataclasses.dataclass(frozen=True)
class NIM(MomentumAttack):
    """MIM with the gradient where the momentum alone would lead (NI, Lin et al. 2020).

    The arguments are those of `MomentumAttack`. In L2 a step ahead is scaled to input units.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.attacks.NIM(brolly.Linf(0.1))(model, x, y).success.shape
        torch.Size([2])
    """

    _: dataclasses.KW_ONLY
    nesterov: bool = True
