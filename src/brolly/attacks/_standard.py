"""Ensembles: attacks that follow each other, each on what still stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from .._draws import Draws
from ..threats import Threat
from ._apgd import APGD, APGDTargeted
from ._attack import Attack
from ._engine import Search
from ._eot import EOT
from ._fab import FABTargeted
from ._square import Square


@dataclasses.dataclass(frozen=True)
class Ensemble(Attack):
    """Attacks in a row; each meets the examples that the ones before it did not break.

    `evaluate` takes it apart, and tells what each of them broke.

    Args:
        threat: That of every member.
        attacks: The members, at least one.
        title: What tables call it.

    Raises:
        ValueError: There are no members, or they attack inside another threat.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.quick(brolly.Linf(0.1))(model, x, y).success.shape
        torch.Size([2])
    """

    attacks: tuple[Attack, ...]
    title: str = "ensemble"

    kinds: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.attacks:
            raise ValueError("attacks is empty; expected at least one")
        for attack in self.attacks:
            if attack.threat != self.threat:
                raise ValueError(
                    f"{attack.name} attacks inside {attack.threat!r}, but the ensemble is for "
                    f"{self.threat!r}; give both the same threat"
                )

    @property
    def name(self) -> str:
        return self.title

    @property
    def passes(self) -> int:
        return max(attack.passes for attack in self.attacks)

    def begin(
        self, model: nn.Module, x: Tensor, y: Tensor, target: Tensor | None, draws: Draws
    ) -> Search:
        search = Search(model, self.threat, x, y, target, draws, roams=True)
        if self.passes > 1:
            search.average_over(self.passes)
        return search

    def search(self, search: Search) -> None:
        draws = search.draws
        for number, attack in enumerate(self.attacks):
            search.draws = draws.fold(number)
            attack.search(search)


def members(attacks: Attack | Sequence[Attack]) -> tuple[Attack, ...]:
    """The attacks one by one, with those of ensembles in their place."""
    if isinstance(attacks, Ensemble):
        return members(attacks.attacks)
    if isinstance(attacks, Attack):
        return (attacks,)
    return tuple(member for attack in attacks for member in members(attack))


def standard(threat: Threat) -> Ensemble:
    """AutoAttack's standard ensemble (Croce & Hein 2020), with its published budgets.

    APGD-CE and APGD-T (100 steps, up to 9 targets), FAB-T (100 steps, up to 9 targets) and Square
    (5,000 queries), for any number of classes and any shape of inputs. In L1, APGD-CE has five
    restarts and APGD-T five targets (Croce & Hein 2021).

    Args:
        threat: Linf, L2 or L1.

    Example:
        >>> import brolly
        >>> [attack.name for attack in brolly.standard(brolly.Linf(8 / 255)).attacks]
        ['apgd-ce', 'apgd-t', 'fab-t', 'square']
    """
    sparse = threat.order == 1
    attacks = (
        APGD(threat, restarts=5 if sparse else 1),
        APGDTargeted(threat, targets=5 if sparse else 9),
        FABTargeted(threat, nearest=False),
        Square(threat),
    )
    return Ensemble(threat, attacks, "standard")


def rand(threat: Threat) -> Ensemble:
    """AutoAttack's ensemble for models that draw random numbers (Croce & Hein 2020).

    APGD-CE and APGD-DLR, with expectation over 20 passes.

    Args:
        threat: Linf, L2 or L1.

    Example:
        >>> import brolly
        >>> [attack.name for attack in brolly.rand(brolly.Linf(8 / 255)).attacks]
        ['apgd-ce-eot20', 'apgd-dlr-eot20']
    """
    attacks = (EOT(APGD(threat)), EOT(APGD(threat, loss="dlr")))
    return Ensemble(threat, attacks, "rand")


def quick(threat: Threat) -> Ensemble:
    """A tenth of the work of `standard`, for daily use: APGD-CE and APGD-T on three targets.

    It takes 30 steps each and no part of `standard` that seldom breaks anything; report results
    with `standard`.

    Args:
        threat: Linf, L2 or L1.

    Example:
        >>> import brolly
        >>> [attack.name for attack in brolly.quick(brolly.Linf(8 / 255)).attacks]
        ['apgd-ce', 'apgd-t']
    """
    attacks = (APGD(threat, steps=30), APGDTargeted(threat, steps=30, targets=3))
    return Ensemble(threat, attacks, "quick")
