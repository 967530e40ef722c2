"""Ranges of numbers that people give."""

from __future__ import annotations

import math
from collections.abc import Sequence


def check_range(interval: str, **given: float | Sequence[float]) -> None:
    """Whether numbers lie in an interval such as `[0, 1)` or `(0, inf)`.

    Args:
        interval: A bracket includes its end, a parenthesis does not.
        given: Numbers, or several under one name, by the name of the argument.

    Raises:
        ValueError: With the name of each argument outside; NaN always is.
    """
    if reason := out_of_range(interval, **given):
        raise ValueError(reason)


def out_of_range(interval: str, **given: float | Sequence[float]) -> str:
    """What `check_range` raises; empty where nothing is outside."""
    low, high = (float(end) for end in interval[1:-1].split(","))

    def inside(number: float) -> bool:
        above = low <= number if interval[0] == "[" else low < number
        return above and (number <= high if interval[-1] == "]" else number < high)

    outside = [
        f"{name} is {value}"
        for name, value in given.items()
        if not all(map(inside, value if isinstance(value, Sequence) else [value]))
    ]
    return f"{', '.join(outside)}; expected {_words(interval, low, high)}" if outside else ""


def _words(interval: str, low: float, high: float) -> str:
    if high < math.inf:
        return f"a number in {interval}"
    return f"{low:g} or more" if interval[0] == "[" else f"more than {low:g}"
