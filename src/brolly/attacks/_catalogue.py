"""Every attack by its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from .._names import suggest
from ..threats import Threat
from ._apgd import APGD, APGDTargeted
from ._attack import Attack
from ._boundary import BoundaryAttack
from ._ddn import DDN
from ._fab import FAB, FABTargeted
from ._fgsm import FGSM
from ._hop_skip_jump import HopSkipJump
from ._nes import NES
from ._one_pixel import OnePixel
from ._pgd import PGD
from ._spsa import SPSA
from ._square import Square
from ._standard import Ensemble, quick, standard


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
        "fab": Entry(
            FAB, "gradients", "100 steps x (classes - 1)", "Croce & Hein 2020b",
            "nearest input in Linf, L2 or L1, without a step size",
        ),
        "fab-t": Entry(
            FABTargeted, "gradients", "100 steps x 9 targets", "Croce & Hein 2020b",
            "the same with many classes",
        ),
        "square": Entry(
            Square, "scores", "5000 queries", "Andriushchenko et al. 2020",
            "where gradients may mislead; for models that give scores only",
        ),
        "nes": Entry(
            NES, "scores", "10,000 queries", "Ilyas et al. 2018",
            "scores only, inputs of any shape",
        ),
        "spsa": Entry(
            SPSA, "scores", "12,900 queries", "Uesato et al. 2018",
            "scores only, where the margin is noisy",
        ),
        "one-pixel": Entry(
            OnePixel, "scores", "40,400 queries", "Su et al. 2019", "scores only, a few pixels"
        ),
        "hop-skip-jump": Entry(
            HopSkipJump, "labels", "5000 queries", "Chen et al. 2020",
            "nearest input in L2 or Linf for models that give labels only",
        ),
        "boundary": Entry(
            BoundaryAttack, "labels", "25,000 queries", "Brendel et al. 2018",
            "labels only, to compare with older papers",
        ),
        "ddn": Entry(
            DDN, "gradients", "100 steps", "Rony et al. 2019", "nearest input in L2, quickly"
        ),
    }
)  # fmt: skip


#: Attacks in a row, by the name of the ensemble.
ENSEMBLES: Mapping[str, Callable[[Threat], Ensemble]] = MappingProxyType(
    {"quick": quick, "standard": standard}
)


def attacks_named(names: str, threat: Threat) -> tuple[Attack, ...]:
    """The attacks of those names, with their defaults, on a threat.

    Args:
        names: Of attacks or ensembles, with commas between.
        threat: What the adversary may do.

    Raises:
        ValueError: There is no such attack, or it does not search this kind of threat.

    Example:
        >>> import brolly
        >>> attacks = brolly.attacks.attacks_named("pgd,quick", brolly.Linf(0.1))
        >>> [attack.name for attack in attacks]
        ['pgd', 'apgd-ce', 'apgd-t']
    """
    attacks: list[Attack] = []
    for name in (part.strip() for part in names.split(",")):
        if name in ENSEMBLES:
            attacks += ENSEMBLES[name](threat).attacks
        elif name in CATALOGUE:
            attacks.append(CATALOGUE[name].build(threat))
        else:
            raise ValueError(
                f"attack {name!r} is unknown. {suggest(name, [*CATALOGUE, *ENSEMBLES])} "
                "`brolly attacks` lists them"
            )
    return tuple(attacks)
