"""Attacks made on one model and tried on another."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from torch import Tensor, nn

from .._draws import Draws
from ..threats import Threat
from ._attack import Attack
from ._engine import Search, check_batch, untouched


@dataclasses.dataclass(frozen=True)
class Transfer(Attack):
    """Any attack, made on a surrogate and tried on the model that is meant (Papernot et al. 2016).

    The attack goes on after the surrogate is fooled, to the input with the highest margin there:
    its first error says little about another model. The model is asked twice per example, for the
    clean input and for what the attack made.

    Cost: two forward passes of the model. Those of the surrogate are not counted.

    Args:
        attack: What to run on the surrogate; its threat is that of the transfer.
        surrogate: Maps the same inputs to logits of the same classes; it is left as it is.

    Raises:
        ValueError: When called, the surrogate does not fit the inputs or the labels.

    Example:
        >>> import torch, brolly
        >>> surrogate = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> model = brolly.BlackBox(lambda x: x.flatten(1)[:, :3] > 0.5)
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> attack = brolly.Transfer(brolly.PGD(brolly.Linf(0.1)), surrogate)
        >>> attack(model, x, y).success.shape
        torch.Size([2])
    """

    threat: Threat = dataclasses.field(init=False, repr=False)
    attack: Attack
    surrogate: nn.Module = dataclasses.field(repr=False)

    kinds: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")
    unlimited = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "threat", self.attack.threat)
        super().__post_init__()

    @property
    def name(self) -> str:
        return f"{self.attack.name}-transfer"

    @property
    def passes(self) -> int:
        return self.attack.passes

    def begin(
        self, model: nn.Module, x: Tensor, y: Tensor, target: Tensor | None, draws: Draws
    ) -> Search:
        return self.attack.begin(model, x, y, target, draws)

    def search(self, search: Search) -> None:
        rows = search.standing()
        x, y = search.x[rows], search.y[rows]
        target = None if search.target is None else search.target[rows]
        check_batch(self.surrogate, self.threat, x)
        with untouched(self.surrogate):
            crafted = self.attack.begin(self.surrogate, x, y, target, search.draws.of(rows))
            crafted.to_the_end()
            self.attack.search(crafted)
        search.logits(crafted.worst, rows)
