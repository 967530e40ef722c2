"""Variance tuning."""

from __future__ import annotations

import dataclasses

from ._momentum import MomentumAttack


@dataclasses.dataclass(frozen=True)
class VMIM(MomentumAttack):
    """MIM corrected by how the gradient varies nearby (VT, Wang & He 2021).

    Each gradient is moved by the mean gradient of 20 points around the last iterate less the
    gradient there; with `nesterov=True` it is VNI. The arguments are those of `MomentumAttack`.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.attacks.VMIM(brolly.Linf(0.1))(model, x, y).success.shape
        torch.Size([2])
    """

    _: dataclasses.KW_ONLY
    neighbours: int = 20
