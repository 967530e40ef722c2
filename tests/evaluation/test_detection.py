"""Detection by scores, against scikit-learn and brute force."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from torch import Tensor

from brolly.evaluation import (
    SCORES,
    auroc,
    average_precision,
    detection,
    energy,
    entropy,
    false_positive_rate,
    unlikeliness,
)


def scored(seed: int, digits: int | None) -> tuple[Tensor, Tensor]:
    """Scores of 60 negatives and 40 positives; rounded, many are the same."""
    generator = torch.Generator().manual_seed(seed)
    positive = torch.rand(100, generator=generator) < 0.4
    scores = torch.randn(100, generator=generator, dtype=torch.float64) + positive
    return scores if digits is None else scores.round(decimals=digits), positive


@pytest.mark.parametrize("digits", [None, 1, 0])
@pytest.mark.parametrize("seed", range(3))
def test_against_scikit_learn(seed: int, digits: int | None) -> None:
    scores, positive = scored(seed, digits)
    assert auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))
    expected = average_precision_score(positive, scores)
    assert average_precision(scores, positive) == pytest.approx(expected)
    for rate in (0.5, 0.95, 1.0):
        false, true, _ = roc_curve(positive, scores, drop_intermediate=False)
        expected = false[np.argmax(true >= rate)]
        assert false_positive_rate(scores, positive, rate) == pytest.approx(expected)


@pytest.mark.parametrize("digits", [None, 0])
def test_auroc_is_how_often_a_positive_scores_above_a_negative(digits: int | None) -> None:
    scores, positive = scored(5, digits)
    pairs = scores[positive][:, None] - scores[~positive]
    expected = ((pairs > 0).double() + 0.5 * (pairs == 0).double()).mean()
    assert auroc(scores, positive) == pytest.approx(float(expected))


def test_turning_the_scores_turns_the_result() -> None:
    scores, positive = scored(1, 1)
    assert auroc(-scores, positive) == pytest.approx(1 - auroc(scores, positive))
    assert auroc(scores.exp(), positive) == pytest.approx(auroc(scores, positive))
    perfect = positive.double()
    assert (auroc(perfect, positive), average_precision(perfect, positive)) == (1.0, 1.0)
    assert false_positive_rate(perfect, positive) == 0.0
    assert auroc(torch.zeros(100), positive) == 0.5


def test_detection_holds_all_three_with_intervals() -> None:
    scores, positive = scored(2, None)
    found = detection("energy", scores[~positive], scores[positive])
    assert (found.score, found.positives) == ("energy", int(positive.sum()))
    assert found.positives + found.negatives == 100
    assert found.auroc.value == pytest.approx(auroc(scores, positive))
    assert found.aupr.value == pytest.approx(average_precision(scores, positive))
    assert found.fpr95.value == pytest.approx(false_positive_rate(scores, positive))
    for estimate in (found.auroc, found.aupr, found.fpr95):
        assert 0 <= estimate.low < estimate.value < estimate.high <= 1


def test_the_interval_of_auroc_is_that_of_hanley_and_mcneil() -> None:
    generator = torch.Generator().manual_seed(0)
    negatives = torch.randn(800, generator=generator)
    positives = torch.randn(400, generator=generator) + 1
    found = detection("energy", negatives, positives).auroc
    area = found.value
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + 399 * (q1 - area**2) + 799 * (q2 - area**2)
    expected = 1.96 * (variance / (400 * 800)) ** 0.5
    assert found.high - found.value == pytest.approx(expected, rel=0.2)


def test_one_positive_is_enough() -> None:
    found = detection("energy", torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.5]))
    assert found.auroc.value == pytest.approx(2 / 3)


def test_scores_by_their_formulas() -> None:
    logits = 3 * torch.randn(50, 4, generator=torch.Generator().manual_seed(0)).double()
    probabilities = logits.softmax(1)
    torch.testing.assert_close(entropy(logits), -(probabilities * probabilities.log()).sum(1))
    torch.testing.assert_close(unlikeliness(logits), -probabilities.amax(1).log())
    torch.testing.assert_close(energy(logits), -logits.exp().sum(1).log())
    assert list(SCORES) == ["entropy", "max-probability", "energy"]
    order = (1 - probabilities.amax(1)).argsort()
    assert torch.equal(unlikeliness(logits).argsort(), order)


def test_scores_of_extreme_logits_are_finite() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0], [0.0, 0.0, 0.0]])
    for name, score in SCORES.items():
        found = score(logits)
        assert found.isfinite().all(), name
        assert found[0] < found[1], name


@pytest.mark.parametrize("positive", [torch.zeros(3).bool(), torch.ones(3).bool()])
def test_one_kind_alone_is_refused(positive: Tensor) -> None:
    for measure in (auroc, average_precision, false_positive_rate):
        with pytest.raises(ValueError, match="of 3 examples are positive; expected some of both"):
            measure(torch.rand(3), positive)


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="a score is NaN"):
        auroc(torch.tensor([0.0, float("nan")]), torch.tensor([True, False]))
