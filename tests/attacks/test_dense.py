"""Dense output: each pixel is a linear problem of its own, so the answers are known."""

import pytest
import torch
from oracles.networks import seeded
from torch import nn

from brolly import APGD, DDN, FGSM, L2, PGD, Dense, Linf, SegPGD


class Threshold(nn.Module):
    """Class 1 where a pixel is above 0.5: Linf breaks it from |x - 0.5| on."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 - x, x - 0.5], 1) * 10


def image(*gaps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A row of pixels at those distances above 0.5, and their labels."""
    x = 0.5 + torch.tensor(gaps, dtype=torch.float64).reshape(1, 1, 1, -1)
    return x, torch.ones(1, 1, len(gaps), dtype=torch.long)


ATTACKS = [PGD(Linf(0.1)), FGSM(Linf(0.1)), APGD(Linf(0.1), steps=10), SegPGD(Linf(0.1))]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_exactly_the_pixels_in_reach_turn(attack) -> None:
    x, y = image(0.02, 0.05, 0.09, 0.12, 0.3)
    result = Dense(attack, broken=0.99)(Threshold(), x, y)
    wrong = Threshold()(result.x).argmax(1) != y
    assert wrong.flatten().tolist() == [True, True, True, False, False]
    assert not result.success.any()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_image_is_broken_when_more_than_half_is_wrong(attack) -> None:
    half, more = image(0.02, 0.05, 0.2, 0.3), image(0.02, 0.05, 0.06, 0.3)
    x, y = torch.cat([half[0], more[0]]), torch.cat([half[1], more[1]])
    result = Dense(attack)(Threshold(), x, y)
    assert result.success.tolist() == [False, True]
    assert attack.threat.contains(result.x, x).all()
    assert Dense(attack, broken=0.4)(Threshold(), x, y).success.all()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_ignored_pixels_count_nowhere(attack) -> None:
    x, y = image(0.02, 0.05, 0.06, 0.3, 0.3)
    y[..., :2] = 255
    result = Dense(attack, ignore=255)(Threshold(), x, y)
    assert not result.success.any()  # 1 of the 3 that count
    assert torch.equal(result.x[..., 3:] < 0.5, torch.zeros(1, 1, 1, 2).bool())
    y[..., 3:] = 255
    assert Dense(attack, ignore=255)(Threshold(), x, y).success.all()
    y[:] = 255
    assert not Dense(attack, ignore=255)(Threshold(), x, y).success.any()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_targets_per_pixel(attack) -> None:
    x, y = image(0.02, -0.02, 0.05, -0.3)
    y = (x[:, 0] > 0.5).long()
    target = torch.tensor([[[0, 1, 0, 0]]])
    result = Dense(attack, broken=0.99)(Threshold(), x, y, target=target)
    assert result.success.all()
    assert torch.equal(Threshold()(result.x).argmax(1), target)


def test_segpgd_works_on_pixels_that_are_right() -> None:
    """Where one step must choose, plain PGD in L2 pushes wrong pixels on; SegPGD does not."""
    x, y = image(-0.3, 0.05)
    kept = Dense(SegPGD(L2(0.1), steps=1, step_size=0.1), broken=0.99)(Threshold(), x, y)
    # lambda is 0 in the first step: all of it goes to the pixel that is still right.
    assert (Threshold()(kept.x).argmax(1) != y).all()


def test_the_worst_input_is_kept_and_nothing_else_changes() -> None:
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(),
                                         nn.Conv2d(8, 4, 1)))  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 4
    x = torch.rand(6, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = model(x).argmax(1)
    attack = Dense(SegPGD(Linf(0.05), steps=8), broken=0.3)
    whole = attack(model, x, y)
    rows = torch.tensor([4, 1])
    part = attack(model, x[rows], y[rows], index=rows)
    torch.testing.assert_close(part.x, whole.x[rows])
    with torch.no_grad():
        wrong = (model(whole.x).argmax(1) != y).flatten(1).double().mean(1)
    assert torch.equal(wrong > 0.3, whole.success)
    assert wrong.max() > 0
    assert all(parameter.grad is None for parameter in model.parameters())
    one = PGD(Linf(0.05), steps=3)
    assert Dense(one)(model, x, y).cost.backwards <= 3 * 6


def test_nan_pixels_are_wrong() -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = torch.cat([-x, x], 1)
            return torch.where(
                torch.tensor([1.0, 1.0, 0.0]) > 0, logits.new_tensor(torch.nan), logits
            )

    x, y = image(0.1, 0.1, 0.1)
    assert Dense(PGD(Linf(0.1)))(Broken(), x, y).success.all()


def test_what_is_refused() -> None:
    x, y = image(0.1, 0.2)
    with pytest.raises(ValueError, match="DDN does not work on dense output; expected PGD"):
        Dense(DDN(L2(1.0)))
    with pytest.raises(ValueError, match=r"broken is 1\.0"):
        Dense(PGD(Linf(0.1)), broken=1.0)
    with pytest.raises(ValueError, match=r"labels have shape \(1,\)"):
        Dense(PGD(Linf(0.1)))(Threshold(), x, torch.tensor([1]))
    with pytest.raises(ValueError, match="Convert with"):
        Dense(PGD(Linf(0.1)))(Threshold(), x, y.double())
    with pytest.raises(ValueError, match=r"returned shape .* labels of shape \(1, 3\)"):
        Dense(PGD(Linf(0.1)))(Threshold(), x, torch.ones(1, 1, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="label 7 at position 0 is out of range"):
        Dense(PGD(Linf(0.1)))(Threshold(), x, 7 * y)
    with pytest.raises(ValueError, match=r"write Dense\(SegPGD"):
        SegPGD(Linf(0.1))(nn.Linear(2, 2), torch.full((2, 2), 0.5), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="no dense target"):
        Dense(APGD(Linf(0.1), loss="dlr"))(Threshold(), x, y, target=y)
