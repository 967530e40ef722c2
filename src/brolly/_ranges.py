"""Ranges of numbers that people give."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence


def check_range(interval: str, **given: object) -> None:
    """Whether numbers lie in an interval such as `[0, 1)` or `(0, inf)`.

    Args:
        interval: A bracket includes its end, a parenthesis does not.
        given: Numbers, or several under one name, by the name of the argument.

    Raises:
        ValueError: With the name of each argument outside; NaN always is, and what is no number.
    """
    if reason := out_of_range(interval, **given):
        raise ValueError(reason)


def out_of_range(interval: str, **given: object) -> str:
    """What `check_range` raises; empty where nothing is outside."""
    low, high = (float(end) for end in interval[1:-1].split(","))

    def inside(number: object) -> bool:
        if not isinstance(number, numbers.Real):
            return False
        value = float(number)
        above = low <= value if interval[0] == "[" else low < value
        return above and (value <= high if interval[-1] == "]" else value < high)

    outside = [
        f"{name} is {value!r}"
        for name, value in given.items()
        if not all(map(inside, value if isinstance(value, Sequence) else [value]))
    ]
    return f"{', '.join(outside)}; expected {_words(interval, low, high)}" if outside else ""


def _words(interval: str, low: float, high: float) -> str:
    if high < math.inf:
        return f"a number in {interval}"
    return f"{low:g} or more" if interval[0] == "[" else f"more than {low:g}"
