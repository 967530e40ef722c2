"""Threats to some values of an input, and radii that differ over channels."""

import dataclasses
import math

import pytest
import torch
from oracles.networks import inputs, mlp, predictions

from brolly import APGD, DDN, FAB, L0, L1, L2, PGD, Linf, Square
from brolly._draws import Draws
from brolly.threats import Masked

SHAPE = (3, 2, 2)
CHANNELS = torch.tensor([True, False, True])[:, None, None]
PIXELS = torch.tensor([[True, False], [True, True]])
THREATS = [Linf(0.2), L2(0.3), L1(0.6), L0(3)]


def points(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    x = inputs(count, SHAPE)
    return x, x + torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("mask", [CHANNELS, PIXELS], ids=["channels", "pixels"])
@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_projection_is_that_of_the_values_alone(threat, mask) -> None:
    """As if the other values did not exist."""
    x, far = points()
    masked, free = Masked(threat, mask), mask.expand(SHAPE)
    got = masked.project(far, x)
    assert torch.equal(got[:, ~free], x[:, ~free])
    torch.testing.assert_close(got[:, free], threat.project(far[:, free], x[:, free]))
    assert masked.contains(got, x).all()


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_samples_steps_and_distances(threat) -> None:
    x, far = points()
    masked, free = Masked(threat, CHANNELS), CHANNELS.expand(SHAPE)
    sample = masked.sample(x, Draws(0, torch.arange(6)))
    assert masked.contains(sample, x).all()
    assert (sample != x).any()
    step = masked.ascend(far - x)
    assert (step[:, ~free] == 0).all()
    assert torch.equal(step[:, free], threat.ascend((far - x)[:, free]))
    assert masked.distance(far, x).isinf().all()
    assert not masked.contains(torch.where(free, x, x + 1e-9), x).any()
    torch.testing.assert_close(masked.distance(sample, x), threat.distance(sample, x))


def test_l2_samples_reach_the_rim() -> None:
    """The shadow of a uniform point of the whole ball would lie near the centre."""
    x = torch.full((2000, 50), 0.5, dtype=torch.float64)
    mask = torch.arange(50) < 2
    threat = Masked(L2(0.2), mask)
    radius = threat.distance(threat.sample(x, Draws(0, torch.arange(2000))), x) / 0.2
    counts = torch.histc(radius**2, 10, 0, 1)
    assert ((counts - 200) ** 2 / 200).sum() < 33


def test_masked_threats_are_values() -> None:
    masked = Masked(Linf(0.1), PIXELS)
    assert masked == Masked(Linf(0.1), PIXELS.clone())
    assert hash(masked) == hash(Masked(Linf(0.1), PIXELS.clone()))
    assert masked != Masked(Linf(0.1), ~PIXELS)
    assert masked != Linf(0.1)
    assert masked.with_eps(0.2) == Masked(Linf(0.2), PIXELS)
    assert (masked.kind, masked.order, masked.eps, masked.width) == ("linf", math.inf, 0.1, 1)
    assert Masked(masked, CHANNELS) == Masked(Linf(0.1), PIXELS & CHANNELS)
    assert str(masked) == "linf:0.1 masked to 3 of 4"
    assert PGD(masked) == PGD(Masked(Linf(0.1), PIXELS))
    assert dataclasses.replace(PGD(masked), steps=3).threat is masked
    with pytest.raises(dataclasses.FrozenInstanceError):
        masked.eps = 0.2  # type: ignore[misc]


@pytest.mark.parametrize(
    "attack",
    [
        *(kind(threat) for kind in (PGD, APGD, FAB) for threat in THREATS[:2]),
        *(Square(threat, queries=60) for threat in THREATS[:2]),
        DDN(L2(math.inf)), FAB(L1(0.6)),
    ],
    ids=lambda attack: f"{attack.name}-{attack.threat}",
)  # fmt: skip
def test_attacks_keep_to_the_mask(attack) -> None:
    model, x = mlp(SHAPE), inputs(12, SHAPE)
    y = predictions(model, x)
    masked = Masked(attack.threat, CHANNELS)
    result = dataclasses.replace(attack, threat=masked)(model, x, y)
    assert result.success.any()
    assert torch.equal(result.x[:, 1], x[:, 1])
    assert masked.contains(result.x, x).all()
    assert torch.equal(predictions(model, result.x) != y, result.success)


def test_the_exact_distance_on_a_linear_model() -> None:
    """With two classes it is the margin over the norm of the weights that may be used."""
    linear = torch.nn.Linear(4, 2).double()
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1.0, 3.0, -2.0, 5.0], [0.0, 0.0, 0.0, 0.0]]))
        linear.bias.copy_(torch.tensor([-3.3, 0.0]))
    x = torch.full((1, 4), 0.5, dtype=torch.float64)
    mask = torch.tensor([True, False, True, False])
    result = FAB(Masked(L2(math.inf), mask), steps=20)(linear, x, torch.tensor([0]))
    exact = (0.5 * (1 + 3 - 2 + 5) - 3.3) / math.sqrt(1 + 4)
    assert exact < float(result.distance) < 1.01 * exact


def test_masks_that_are_none() -> None:
    with pytest.raises(ValueError, match=r"mask is torch\.float32; expected a bool tensor"):
        Masked(Linf(0.1), torch.ones(2, 2))
    with pytest.raises(ValueError, match="mask is True nowhere"):
        Masked(Linf(0.1), torch.zeros(2, 2, dtype=torch.bool))


def test_inputs_a_mask_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"mask has shape \(3, 1, 1\).*shape \(1, 2, 2\)"):
        Masked(Linf(0.1), CHANNELS).check_inputs(torch.rand(5, 1, 2, 2))
    with pytest.raises(ValueError, match="mask has shape"):
        Masked(Linf(0.1), torch.ones(5, 3, 2, 2).bool()).check_inputs(torch.rand(5, *SHAPE))
    with pytest.raises(ValueError, match=r"eps is 3, .*at most 2 apart"):
        Masked(L1(3.0), torch.tensor([True, True, False])).check_inputs(torch.rand(2, 3))


SCALED = Linf(0.2, scale=(1, 0.5, 0))


def test_channels_have_radii_of_their_own() -> None:
    x, far = points(50)
    got = SCALED.project(far, x)
    radius = torch.tensor([0.2, 0.1, 0.0], dtype=torch.float64)[:, None, None]
    expected = torch.clamp(torch.maximum(torch.minimum(far, x + radius), x - radius), 0, 1)
    torch.testing.assert_close(got, expected, rtol=0, atol=0)
    assert SCALED.contains(got, x).all()
    sample = SCALED.sample(x, Draws(0, torch.arange(50)))
    assert SCALED.contains(sample, x).all()
    assert torch.equal(sample[:, 2], x[:, 2])
    assert (sample - x)[:, 1].abs().max() > 0.09


def test_scaled_distance_is_in_units_of_eps() -> None:
    x = torch.full((4, 3, 1), 0.5, dtype=torch.float64)
    x_adv = x + torch.tensor([[0.2, 0, 0], [0.1, 0.2, 0], [0, 0, 0.1], [0, 0, 0]])[:, :, None]
    torch.testing.assert_close(
        SCALED.distance(x_adv, x), torch.tensor([0.2, 0.4, math.inf, 0], dtype=torch.float64)
    )
    assert SCALED.contains(x_adv, x).tolist() == [True, False, False, True]
    step = SCALED.ascend(x_adv - x)
    torch.testing.assert_close(step[1, :, 0], torch.tensor([1, 0.5, 0], dtype=torch.float64))


@pytest.mark.parametrize("threat", [SCALED, Masked(SCALED, PIXELS)], ids=str)
@pytest.mark.parametrize("attack", [PGD, APGD, Square], ids=lambda attack: attack.__name__)
def test_attacks_keep_to_the_radii(attack, threat) -> None:
    model, x = mlp(SHAPE), inputs(12, SHAPE)
    result = attack(threat)(model, x, predictions(model, x))
    assert result.success.any()
    assert threat.contains(result.x, x).all()
    assert torch.equal(result.x[:, 2], x[:, 2])


def test_small_factors_allow_for_rounding() -> None:
    x = torch.rand(200, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    threat = Linf(0.1, scale=(1, 1e-3))
    assert threat.contains(threat.project(x + 1, x), x).all()


def test_per_channel_radii() -> None:
    assert Linf.per_channel(torch.tensor([0.5, 0.25, 0.0])) == Linf(0.5, scale=(1, 0.5, 0))
    assert SCALED.with_eps(0.1) == Linf(0.1, scale=(1, 0.5, 0))
    assert len({SCALED, Linf(0.2, scale=(1, 0.5, 0)), Linf(0.2)}) == 2
    assert torch.equal(
        Linf(math.inf, scale=(1, 0)).project(torch.ones(1, 2), torch.zeros(1, 2)),
        torch.tensor([[1.0, 0.0]]),
    )


@pytest.mark.parametrize("scale", [(), (0, 0), (1, -0.1), (2, 1), (math.nan, 1)])
def test_scales_that_are_none(scale) -> None:
    with pytest.raises(ValueError, match="expected one number between 0 and 1 per channel"):
        Linf(0.1, scale=scale)
    with pytest.raises(ValueError, match=r"scale has 3 numbers.*expected \(batch, 3, \.\.\.\)"):
        SCALED.check_inputs(torch.rand(2, 1, 4, 4))
    with pytest.raises(ValueError, match="one finite radius per channel"):
        Linf.per_channel(torch.zeros(3))
