"""Ranges of numbers that people give."""

import math

import pytest

from brolly._ranges import check_range


@pytest.mark.parametrize("interval", ["[0, 1)", "(-1, 0.5]", "[0, inf)", "(-1, inf)"])
def test_inside(interval):
    check_range(interval, a=0.5, b=(0, 0.25))


@pytest.mark.parametrize(
    ("interval", "value", "told"),
    [
        ("[0, 1)", 1, r"a is 1; expected a number in \[0, 1\)"),
        ("(0, 1]", 0.0, r"a is 0.0; expected a number in \(0, 1\]"),
        ("[0, 1]", (0.5, 2), r"a is \(0.5, 2\); expected"),
        ("[1, inf)", 0, "a is 0; expected 1 or more"),
        ("(0, inf)", 0, "a is 0; expected more than 0"),
        ("[0, inf)", math.inf, "a is inf"),
        ("[0, inf)", math.nan, "a is nan"),
        ("(0, inf)", "0.1", "a is '0.1'; expected more than 0"),
        ("[0, 1)", (0.5, None), r"a is \(0.5, None\); expected a number in"),
    ],
)
def test_outside(interval, value, told):
    with pytest.raises(ValueError, match=told):
        check_range(interval, a=value)
    with pytest.raises(ValueError, match=told):
        check_range(interval, fine=1.5 if "inf" in interval else 0.5, a=value)
