"""Selective prediction, by brute force."""

from itertools import pairwise, permutations

import numpy as np
import pytest
import torch

from brolly.evaluation import (
    area_under_risk_coverage,
    coverage_at_risk,
    selective_prediction,
)


def aurc_by_definition(confidence: list[float], right: list[bool]) -> float:
    """Mean risk of the first k, over all k and all orders in which confidence falls."""
    areas = []
    for order in permutations(range(len(right))):
        if all(confidence[a] >= confidence[b] for a, b in pairwise(order)):
            wrong = np.array([not right[place] for place in order], dtype=float)
            areas.append((wrong.cumsum() / np.arange(1, len(wrong) + 1)).mean())
    return float(np.mean(areas))


@pytest.mark.parametrize("confidence", [
    [0.9, 0.8, 0.7, 0.6, 0.5, 0.4],
    [0.9, 0.9, 0.9, 0.6, 0.5, 0.4],
    [0.4, 0.9, 0.4, 0.9, 0.4, 0.9],
    [0.5] * 6,
])  # fmt: skip
@pytest.mark.parametrize("right", [
    [True, False, True, True, False, False],
    [False, False, True, True, True, True],
    [True] * 6,
    [False] * 6,
])  # fmt: skip
def test_aurc_is_its_definition(confidence: list[float], right: list[bool]) -> None:
    found = area_under_risk_coverage(torch.tensor(confidence), torch.tensor(right))
    assert found == pytest.approx(aurc_by_definition(confidence, right))


@pytest.mark.parametrize("risk", [0.0, 0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_coverage_at_risk_tries_every_threshold(seed: int, risk: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    confidence = torch.rand(40, generator=generator).round(decimals=1)
    right = torch.rand(40, generator=generator) < confidence
    best = 0.0
    for threshold in confidence.unique():
        let_in = confidence >= threshold
        if float((~right[let_in]).double().mean()) <= risk:
            best = max(best, float(let_in.double().mean()))
    found = coverage_at_risk(confidence, right, risk)
    assert found.coverage == pytest.approx(best)
    if best:
        let_in = confidence >= found.threshold - 1e-6
        assert float(let_in.double().mean()) == pytest.approx(best)
        assert float((~right[let_in]).double().mean()) <= risk
    else:
        assert found.threshold == 1


def test_the_curve_ends_at_the_error_of_all() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1000, 4, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    found = selective_prediction(logits, labels)
    error = float((logits.argmax(1) != labels).double().mean())
    assert (found.examples, len(found.curve)) == (1000, 100)
    assert (found.curve[-1].coverage, found.curve[-1].risk) == (1.0, pytest.approx(error))
    assert found.curve[0].coverage == 0.001
    assert found.aurc.low < found.aurc.value < found.aurc.high
    assert found.aurc.value < error  # confidence is worth something
    coverages = [point.coverage for point in found.coverage_at_risk]
    assert [point.risk for point in found.coverage_at_risk] == [0.01, 0.02, 0.05, 0.1]
    assert coverages == sorted(coverages)
    few = selective_prediction(logits[:7], labels[:7])
    assert [point.coverage for point in few.curve] == pytest.approx([k / 7 for k in range(1, 8)])


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="risk is 5; expected a part in"):
        coverage_at_risk(torch.rand(3), torch.ones(3).bool(), 5)
    with pytest.raises(ValueError, match="no examples"):
        area_under_risk_coverage(torch.rand(0), torch.ones(0).bool())
