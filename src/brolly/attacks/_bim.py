"""The basic iterative method."""

from __future__ import annotations

import dataclasses

from ._momentum import MomentumAttack


@dataclasses.dataclass(frozen=True)
class BIM(MomentumAttack):
    """FGSM in small steps from the clean input, without momentum (Kurakin et al. 2017).

    Steps of eps / 10 as in the tables of Dong et al. (2018), which call it I-FGSM. The arguments
    are those of `MomentumAttack`.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.attacks.BIM(brolly.Linf(0.1))(model, x, y).success.shape
        torch.Size([2])
    """

    _: dataclasses.KW_ONLY
    momentum: float = 0.0
