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
from ._bim import BIM
from ._boundary import BoundaryAttack
from ._brendel_bethge import BrendelBethge
from ._cw import CarliniWagner
from ._ddn import DDN
from ._deepfool import DeepFool
from ._dim import DIM
from ._ead import EAD
from ._fab import FAB, FABTargeted
from ._fgsm import FGSM
from ._fmn import FMN
from ._hop_skip_jump import HopSkipJump
from ._mim import MIM
from ._nes import NES
from ._nim import NIM
from ._one_pixel import OnePixel
from ._pgd import PGD
from ._rfgsm import RFGSM
from ._sigma_zero import SigmaZero
from ._sim import SIM
from ._spsa import SPSA
from ._square import Square
from ._standard import Ensemble, quick, rand, standard
from ._tim import TIM
from ._vmim import VMIM


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
        "rfgsm": Entry(
            RFGSM, "gradients", "1 step", "Tramer et al. 2018",
            "one step that a bent loss at the input does not mislead",
        ),
        "bim": Entry(
            BIM, "gradients", "10 steps", "Kurakin et al. 2017",
            "to compare with older papers",
        ),
        "mim": Entry(
            MIM, "gradients", "10 steps", "Dong et al. 2018",
            "to transfer",
        ),
        "nim": Entry(
            NIM, "gradients", "10 steps", "Lin et al. 2020",
            "to transfer",
        ),
        "sim": Entry(
            SIM, "gradients", "10 steps x 5 copies", "Lin et al. 2020",
            "to transfer",
        ),
        "dim": Entry(
            DIM, "gradients", "10 steps", "Xie et al. 2019",
            "to transfer, images",
        ),
        "tim": Entry(
            TIM, "gradients", "10 steps", "Dong et al. 2019",
            "to transfer, images",
        ),
        "vmim": Entry(
            VMIM, "gradients", "10 steps x 21 points", "Wang & He 2021",
            "to transfer, thoroughly",
        ),
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
        "fmn": Entry(
            FMN, "gradients", "100 steps", "Pintor et al. 2021", "nearest input in any norm"
        ),
        "deepfool": Entry(
            DeepFool, "gradients", "a few steps x 10 classes", "Moosavi-Dezfooli et al. 2016",
            "a first idea of distances",
        ),
        "cw": Entry(
            CarliniWagner, "gradients", "9 x 1000 steps", "Carlini & Wagner 2017",
            "to compare with older papers",
        ),
        "ead": Entry(
            EAD, "gradients", "9 x 1000 steps", "Chen et al. 2018",
            "to compare with older papers, in L1",
        ),
        "sigma-zero": Entry(
            SigmaZero, "gradients", "1000 steps", "Cinà et al. 2024", "fewest changed values"
        ),
        "brendel-bethge": Entry(
            BrendelBethge, "gradients", "1000 steps", "Brendel et al. 2019",
            "where the loss is flat around clean inputs",
        ),
    }
)  # fmt: skip


#: What takes more than a threat, and is called from Python: call, paper, use.
FROM_PYTHON: tuple[tuple[str, str, str], ...] = (
    ("EOT(attack)", "Athalye et al. 2018", "models that draw random numbers"),
    ("Transfer(attack, surrogate)", "Papernot et al. 2016", "a similar model is at hand"),
    ("Dense(attack)", "Gu et al. 2022", "segmentation; with SegPGD or others"),
    ("SpatialAttack(Affine(...))", "Engstrom et al. 2019", "rotation and translation"),
    ("UniversalPerturbation(threat)", "Shafahi et al. 2020", "one change for all inputs"),
    ("AdversarialPatch(size)", "Brown et al. 2017", "a sticker that works anywhere"),
    ("attacks.confusion(attack, ...)", "", "which classes can be taken for which"),
    ("models.BPDA(layer)", "Athalye et al. 2018", "layers without useful gradients"),
    ("models.BlackBox(function)", "", "a callable or ONNX file that gives scores or labels"),
)

#: Attacks in a row, by the name of the ensemble.
ENSEMBLES: Mapping[str, Callable[[Threat], Ensemble]] = MappingProxyType(
    {"quick": quick, "standard": standard, "rand": rand}
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
