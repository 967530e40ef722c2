"""What a threat is made of, how it is written, and what it refuses."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brolly import L2, Linf, parse_threat


def test_threats_are_values() -> None:
    assert Linf(0.1) == Linf(0.1)
    assert Linf(0.1) != L2(0.1)
    assert len({Linf(0.1), Linf(0.1), Linf(0.1, (0.0, 2.0))}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        Linf(0.1).eps = 0.2  # type: ignore[misc]


def test_with_eps_keeps_the_rest() -> None:
    assert L2(0.1, (-1.0, 1.0)).with_eps(0.3) == L2(0.3, (-1.0, 1.0))
    assert Linf(0.1, (0.0, 255.0)).width == 255


@pytest.mark.parametrize(
    ("text", "threat"),
    [
        ("linf:8/255", Linf(8 / 255)),
        ("linf:0.1", Linf(0.1)),
        ("l2:0.5", L2(0.5)),
        (" L2:1e-3 ", L2(0.001)),
        ("LINF: 4 / 255", Linf(4 / 255)),
        ("linf:0", Linf(0.0)),
    ],
)
def test_parsing(text: str, threat) -> None:
    assert parse_threat(text) == threat


def test_parsing_with_bounds() -> None:
    assert parse_threat("linf:8", (0.0, 255.0)) == Linf(8.0, (0.0, 255.0))


@settings(deadline=None, derandomize=True)
@given(st.sampled_from([Linf, L2]), st.floats(0, 1))
def test_text_form_round_trip(kind, eps: float) -> None:
    """Six digits are written: the radius comes back to a part in 10^5."""
    threat = kind(eps)
    back = parse_threat(str(threat))
    assert type(back) is kind
    assert back.eps == pytest.approx(eps, rel=1e-5, abs=0)
    assert str(back) == str(threat)


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("linff:0.1", ["'linff:0.1'", "Did you mean 'linf'?"]),
        ("hamming:3", ["'hamming:3'", "Known: l0, l1, l2, linf."]),
        ("linf", ["'linf' has no radius", "linf:8/255"]),
        ("linf:", ["''", "8/255"]),
        ("l2:half", ["'half'", "is not a number"]),
        ("linf:8/0", ["'8/0'", "is not a number"]),
        ("linf:8", ["eps is 8", "[0.0, 1.0]", "8/255", "bounds=(0, 255)"]),
        ("l2:-1", ["eps is -1.0", "0 or more"]),
        ("linf:nan", ["eps is nan", "0 or more"]),
    ],
)
def test_text_that_is_no_threat(text: str, fragments: list[str]) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse_threat(text)
    for fragment in fragments:
        assert fragment in str(caught.value)


@pytest.mark.parametrize("kind", [Linf, L2])
@pytest.mark.parametrize(
    "bounds", [(1.0, 0.0), (0.5, 0.5), (math.nan, 1.0), (-math.inf, math.inf), (0.0, math.inf)]
)
def test_bounds_that_are_empty_or_endless(kind, bounds: tuple[float, float]) -> None:
    """Rounding is allowed for as a part of the width: endless bounds would allow anything."""
    with pytest.raises(ValueError, match=r"bounds are .*expected two finite numbers"):
        kind(0.1, bounds)


@pytest.mark.parametrize("kind", [Linf, L2])
@pytest.mark.parametrize("eps", [-0.1, math.nan, -math.inf])
def test_eps_that_is_no_radius(kind, eps: float) -> None:
    with pytest.raises(ValueError, match=r"eps is .*expected a number, 0 or more"):
        kind(eps)


def test_linf_eps_wider_than_the_bounds() -> None:
    Linf(1.0)
    with pytest.raises(ValueError, match=r"eps is 8, .*can change by 1 at most.*write 8/255"):
        Linf(8.0)


def test_l2_eps_longer_than_the_diagonal() -> None:
    x = torch.rand(2, 3, 4, 4)
    L2(math.sqrt(48)).check_inputs(x)
    with pytest.raises(ValueError, match=r"eps is 128, .*\(3, 4, 4\).*6\.928 apart.*write 128/255"):
        L2(128.0).check_inputs(x)


@pytest.mark.parametrize("kind", [Linf, L2])
def test_inputs_outside_the_bounds(kind) -> None:
    with pytest.raises(ValueError, match=r"inputs span \[-2, 0\.5\].*\[0\.0, 1\.0\].*Normalize"):
        kind(0.1).check_inputs(torch.tensor([[-2.0, 0.5]]))
    with pytest.raises(ValueError, match="inputs span"):
        kind(0.1).check_inputs(torch.tensor([[0.2, math.nan]]))
    kind(0.1, (-2.0, 0.5)).check_inputs(torch.tensor([[-2.0, 0.5]]))
    kind(0.1).check_inputs(torch.tensor([[-5e-7, 1 + 5e-7]]))  # rounding
    kind(0.1).check_inputs(torch.empty(0, 3))


@pytest.mark.parametrize("kind", [Linf, L2])
def test_inputs_of_other_types(kind) -> None:
    with pytest.raises(ValueError, match=r"torch\.uint8; expected floating.*x\.float\(\) / 255"):
        kind(0.1).check_inputs(torch.zeros(2, 3, dtype=torch.uint8))
    for half in (torch.float16, torch.bfloat16):
        with pytest.raises(ValueError, match=rf"inputs are {half}.*expected float32 or float64"):
            kind(0.1).check_inputs(torch.zeros(2, 3, dtype=half))
