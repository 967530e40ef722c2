"""Calibration against hand-computed values, brute force and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss
from torch import Tensor

from brolly.evaluation import (
    brier_score,
    calibration,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)


def predictions(
    count: int = 400, classes: int = 5, seed: int = 0, sharper: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Logits, and labels drawn from their softmax; then the logits times `sharper`."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, classes, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return sharper * logits, labels


def logits_of(probabilities: list[list[float]]) -> Tensor:
    return torch.tensor(probabilities, dtype=torch.float64).log()


BY_HAND = logits_of([[0.9, 0.1], [0.8, 0.2], [0.55, 0.45], [0.4, 0.6]])
LABELS = torch.tensor([0, 1, 0, 0])  # right, wrong, right, wrong


def test_by_hand_equal_width() -> None:
    # Two bins, (0, 0.5] and (0.5, 1]: all four confidences are in the second.
    error = expected_calibration_error(BY_HAND, LABELS, bins=2)
    assert error == pytest.approx(abs(2 / 4 - (0.9 + 0.8 + 0.55 + 0.6) / 4))
    # Five bins of 0.2: (0.4, 0.6] holds 0.55 and 0.6, (0.6, 0.8] holds 0.8, (0.8, 1] holds 0.9.
    error = expected_calibration_error(BY_HAND, LABELS, bins=5)
    assert error == pytest.approx((2 * abs(1 / 2 - 1.15 / 2) + 0.8 + 0.1) / 4)


def test_by_hand_equal_mass() -> None:
    # Rising: 0.55 right, 0.6 wrong | 0.8 wrong, 0.9 right.
    error = expected_calibration_error(BY_HAND, LABELS, bins=2, equal_mass=True)
    assert error == pytest.approx((2 * abs(1 / 2 - 1.15 / 2) + 2 * abs(1 / 2 - 1.7 / 2)) / 4)


def test_by_hand_likelihood_and_brier() -> None:
    expected = -(math.log(0.9) + math.log(0.2) + math.log(0.55) + math.log(0.4)) / 4
    assert negative_log_likelihood(BY_HAND, LABELS) == pytest.approx(expected)
    assert brier_score(BY_HAND, LABELS) == pytest.approx(
        2 * (0.1**2 + 0.8**2 + 0.45**2 + 0.6**2) / 4
    )


@pytest.mark.parametrize("bins", [1, 7, 15])
@pytest.mark.parametrize("equal_mass", [False, True])
def test_bins_by_brute_force(bins: int, equal_mass: bool) -> None:
    logits, labels = predictions(sharper=3)
    probabilities = logits.softmax(1).numpy()
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels.numpy()
    order = np.argsort(confidence)
    expected, total = 0.0, 0
    for number in range(bins):
        if equal_mass:
            first, last = (math.ceil(k * 400 / bins) for k in (number, number + 1))
            member = np.isin(np.arange(400), order[first:last])
        else:
            member = (confidence > number / bins) & (confidence <= (number + 1) / bins)
        total += member.sum()
        if member.any():
            gap = abs(right[member].mean() - confidence[member].mean())
            expected += member.mean() * gap
    assert total == 400
    found = expected_calibration_error(logits, labels, bins, equal_mass=equal_mass)
    assert found == pytest.approx(expected)


def test_against_scikit_learn() -> None:
    logits, labels = predictions(sharper=2)
    probabilities = logits.softmax(1).numpy()
    expected = log_loss(labels.numpy(), probabilities, labels=range(5))
    assert negative_log_likelihood(logits, labels) == pytest.approx(expected)
    binary, answers = predictions(classes=2)
    # scikit-learn's score of two classes counts one of them; ours sums over both.
    one = brier_score_loss(answers.numpy(), binary.softmax(1)[:, 1].numpy())
    assert brier_score(binary, answers) == pytest.approx(2 * one)


def test_the_diagram_adds_up_to_the_error() -> None:
    logits, labels = predictions(sharper=2)
    bars = reliability(logits, labels)
    assert sum(bar.right.total for bar in bars) == 400
    assert sum(bar.right.hits for bar in bars) == int((logits.argmax(1) == labels).sum())
    assert all(bar.low < bar.confidence <= bar.high for bar in bars)
    gaps = [bar.right.total * abs(bar.right.rate - bar.confidence) for bar in bars]
    assert sum(gaps) / 400 == pytest.approx(expected_calibration_error(logits, labels))


@pytest.mark.parametrize("sharper", [0.4, 1.0, 3.0])
def test_temperature_is_recovered(sharper: float) -> None:
    logits, labels = predictions(count=20_000, sharper=sharper)
    assert fit_temperature(logits, labels) == pytest.approx(sharper, rel=0.03)


def test_temperature_in_closed_form() -> None:
    # 3 of 4 right: the best probability is 3/4, so logits 10 apart are to be log 3 apart.
    logits = torch.tensor([[10.0, 0.0]]).expand(4, 2)
    found = fit_temperature(logits, torch.tensor([0, 0, 0, 1]))
    assert found == pytest.approx(10 / math.log(3), rel=1e-4)


def test_scaling_mends_overconfidence_and_keeps_predictions() -> None:
    logits, labels = predictions(count=4000, sharper=3)
    before = calibration(logits, labels)
    after = calibration(logits, labels, temperature=fit_temperature(logits, labels))
    assert before.confidence > before.accuracy.rate + 0.05
    assert after.accuracy == before.accuracy
    assert after.ece.value < 0.25 * before.ece.value
    assert after.ece_mass.value < 0.25 * before.ece_mass.value
    assert after.nll.value < before.nll.value
    assert after.brier.value < before.brier.value
    assert after.temperature == pytest.approx(3, rel=0.1)


def test_all_right_asks_for_a_low_temperature() -> None:
    found = fit_temperature(torch.eye(3), torch.arange(3))
    assert 0.01 <= found < 0.05
    assert negative_log_likelihood(torch.eye(3) / found, torch.arange(3)) < 1e-8


def test_intervals_hold_the_value_and_shrink() -> None:
    few, many = calibration(*predictions(100)), calibration(*predictions(10_000))
    for name in ("ece", "ece_mass", "nll", "brier"):
        narrow, wide = getattr(many, name), getattr(few, name)
        assert narrow.low <= narrow.value <= narrow.high
        assert narrow.high - narrow.low < 0.3 * (wide.high - wide.low)
    # Of a mean, the interval is the one every table has.
    logits, labels = predictions(10_000)
    each = -logits.log_softmax(1).gather(1, labels[:, None])[:, 0]
    reach = 1.96 * float(each.std()) / 100
    assert many.nll.high - many.nll.value == pytest.approx(reach, rel=0.2)


def test_the_seed_decides_the_interval_and_nothing_else() -> None:
    state = torch.get_rng_state()
    one, same, other = (calibration(*predictions(), seed=seed) for seed in (0, 0, 1))
    assert one == same
    assert one.ece.value == other.ece.value
    assert one.ece != other.ece
    assert torch.equal(state, torch.get_rng_state())


def test_extreme_logits() -> None:
    logits = torch.tensor([[1e4, 0.0], [-1e4, 1e4], [0.0, 1e4]])
    found = calibration(logits, torch.tensor([0, 1, 0]))
    assert found.nll.value == pytest.approx(1e4 / 3)
    assert found.ece.value == pytest.approx(1 / 3)


@pytest.mark.parametrize("bins", [0, -1])
def test_mistakes(bins: int) -> None:
    with pytest.raises(ValueError, match=f"bins is {bins}; expected 1 or more"):
        expected_calibration_error(BY_HAND, LABELS, bins)
    with pytest.raises(ValueError, match="there are no examples"):
        calibration(BY_HAND[:0], LABELS[:0])


def test_logits_may_carry_a_graph() -> None:
    logits = BY_HAND.clone().requires_grad_()
    assert calibration(logits, LABELS) == calibration(BY_HAND, LABELS)
    assert expected_calibration_error(logits, LABELS) == expected_calibration_error(BY_HAND, LABELS)
    assert fit_temperature(logits, LABELS) == fit_temperature(BY_HAND, LABELS)
    assert logits.grad is None
