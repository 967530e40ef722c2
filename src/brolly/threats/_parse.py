"""The text form of a threat."""

from __future__ import annotations

from .._names import parse_number, suggest
from ._l0 import L0
from ._l1 import L1
from ._l2 import L2
from ._linf import Linf
from ._threat import Threat

_KINDS: dict[str, type[Threat]] = {"linf": Linf, "l2": L2, "l1": L1, "l0": L0}


def parse_threat(text: str, bounds: tuple[float, float] = (0.0, 1.0)) -> Threat:
    """Reads `linf:8/255` or `l2:0.5`.

    Args:
        text: Norm and radius, in input units, with a colon between.
        bounds: Lowest and highest value an input may hold.

    Raises:
        ValueError: The text does not name a threat, or its radius does not fit the bounds.

    Example:
        >>> from brolly import parse_threat
        >>> parse_threat("linf:0.1")
        Linf(eps=0.1, bounds=(0.0, 1.0), scale=None)
    """
    kind, colon, radius = text.strip().lower().partition(":")
    if kind not in _KINDS:
        raise ValueError(f"threat {text!r} is unknown. {suggest(kind, _KINDS)}")
    if not colon:
        raise ValueError(f"threat {text!r} has no radius; write for example {kind}:8/255")
    return _KINDS[kind](parse_number(radius), bounds)
