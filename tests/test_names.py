"""Names people type, and numbers."""

import math

import pytest

from brolly._names import parse_number, suggest


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("fashion_mnist", "Did you mean 'fashion-mnist'?"),
        ("mnits", "Did you mean 'mnist'?"),
        ("xyz", "Known: digits, fashion-mnist, mnist."),
    ],
)
def test_suggest(given, expected):
    assert suggest(given, ["mnist", "digits", "fashion-mnist"]) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.1", 0.1), ("1e-3", 1e-3), ("8/255", 8 / 255), (" 1 / 4 ", 0.25), (3, 3.0), (0.5, 0.5)],
)
def test_parse_number(text, value):
    number = parse_number(text)
    assert number == value
    assert isinstance(number, float)


@pytest.mark.parametrize("text", ["", "a", "1/0", "8/x", "1/2/3", "0,1", "8 255", None, [1]])
def test_what_is_no_number(text):
    with pytest.raises(ValueError, match=r"is not a number; write for example 0\.1"):
        parse_number(text)


def test_infinity_is_a_number_here_and_refused_where_it_is_used():
    assert math.isinf(parse_number("inf"))
