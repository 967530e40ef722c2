"""Every attack by its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .._names import suggest
from ..threats import Threat
from ._apgd import APGD, APGDTargeted
from ._attack import Attack
from ._ddn import DDN
from ._fgsm import FGSM
from ._pgd import PGD


@dataclasses.dataclass(frozen=True)
class Entry:
    """An attack that can be asked for by name.

    Attributes:
        attack: Its class.
        needs: What it asks of the model: `gradients`, `scores` or `labels`.
        cost: Passes (or queries) per example that stands, with the defaults.
        paper: Where it comes from.
        use: When to reach for it.
        options: Arguments that differ from the class's defaults.
    """

    attack: type[Attack]
    needs: str
    cost: str
    paper: str
    use: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def build(self, threat: Threat) -> Attack:
        """The attack on a threat."""
        return self.attack(threat, **self.options)


CATALOGUE: Mapping[str, Entry] = MappingProxyType(
    {
        "fgsm": Entry(
            FGSM, "gradients", "1 step", "Goodfellow et al. 2015", "to see whether iterating helps"
        ),
        "pgd": Entry(PGD, "gradients", "20 steps", "Madry et al. 2018", "daily use, training"),
        "apgd-ce": Entry(
            APGD, "gradients", "100 steps", "Croce & Hein 2020", "no step size to tune"
        ),
        "apgd-dlr": Entry(
            APGD, "gradients", "100 steps", "Croce & Hein 2020", "large logits",
            {"loss": "dlr"},
        ),
        "apgd-t": Entry(
            APGDTargeted, "gradients", "100 steps x 9 targets", "Croce & Hein 2020",
            "to finish, after apgd-ce",
        ),
        "ddn": Entry(
            DDN, "gradients", "100 steps", "Rony et al. 2019", "nearest input in L2, quickly"
        ),
    }
)  # fmt: skip


def attack_named(name: str, threat: Threat) -> Attack:
    """The attack of that name, with its defaults, on a threat.

    Raises:
        ValueError: There is none, or it does not search this kind of threat.

    Example:
        >>> import brolly
        >>> brolly.attacks.attack_named("apgd-dlr", brolly.Linf(0.1)).loss
        'dlr'
    """
    if name not in CATALOGUE:
        raise ValueError(f"attack {name!r} is unknown. {suggest(name, CATALOGUE)}")
    return CATALOGUE[name].build(threat)
