"""Names people type, and what they probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggest(given: str, known: Iterable[str]) -> str:
    """A sentence with the nearest known name, or with all of them when none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."


def parse_number(text: object) -> float:
    """Reads `0.1`, `1e-3` and fractions such as `8/255`.

    Raises:
        ValueError: The text is not a number.
    """
    if isinstance(text, int | float):
        return float(text)
    numerator, _, denominator = str(text).partition("/")
    try:
        return float(numerator) / float(denominator or 1)
    except (ValueError, ZeroDivisionError):
        raise ValueError(
            f"{text!r} is not a number; write for example 0.1, 1e-3 or a fraction such as 8/255"
        ) from None
