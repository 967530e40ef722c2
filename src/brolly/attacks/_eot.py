"""Expectation over transformation."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from torch import Tensor, nn

from .._draws import Draws
from ..threats import Threat
from ._attack import Attack, check_counts
from ._engine import Search


@dataclasses.dataclass(frozen=True)
class EOT(Attack):
    """Any attack, on the mean over the random numbers a model draws (Athalye et al. 2018).

    One forward pass of a randomised model (noise, dropout left on, random resizing) says little
    about the next. Here the attack sees losses, gradients and logits that are means over
    `samples` passes; an input counts as broken where the mean of the logits is wrong.

    Cost: `samples` times that of the attack.

    Args:
        attack: The attack to run; its threat is that of the expectation.
        samples: Passes to average; 20 in the AutoAttack of Croce & Hein (2020).

    Raises:
        ValueError: There are no samples.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> attack = brolly.EOT(brolly.PGD(brolly.Linf(0.1), steps=5), samples=4)
        >>> attack(model, x, y).success.shape
        torch.Size([2])
    """

    threat: Threat = dataclasses.field(init=False, repr=False)
    attack: Attack
    _: dataclasses.KW_ONLY
    samples: int = 20

    kinds: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")
    unlimited = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "threat", self.attack.threat)
        super().__post_init__()
        check_counts(samples=self.samples)

    @property
    def name(self) -> str:
        return f"{self.attack.name}-eot{self.samples}"

    @property
    def passes(self) -> int:
        return self.samples

    def begin(
        self, model: nn.Module, x: Tensor, y: Tensor, target: Tensor | None, draws: Draws
    ) -> Search:
        search = self.attack.begin(model, x, y, target, draws)
        search.average_over(self.samples)
        return search

    def search(self, search: Search) -> None:
        self.attack.search(search)
