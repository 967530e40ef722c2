"""Predicting only where the model is sure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ._estimate import Estimate, bootstrap

#: Risks at which coverage is told.
RISKS = (0.01, 0.02, 0.05, 0.1)
_POINTS = 100


@dataclasses.dataclass(frozen=True)
class RiskCoverage:
    """One point: predicting on the surest part of the examples (`coverage`), `risk` are wrong."""

    coverage: float
    risk: float


@dataclasses.dataclass(frozen=True)
class CoverageAtRisk:
    """The largest coverage at which the risk is not above the one asked for.

    Attributes:
        risk: The one asked for.
        coverage: Part of the examples that are predicted; 0 where not even the surest will do.
        threshold: Lowest confidence at which a prediction is made; 1 where none is.
    """

    risk: float
    coverage: float
    threshold: float


@dataclasses.dataclass(frozen=True)
class Selective:
    """How errors grow as a model predicts on more and more of its inputs, the surest first.

    Confidence is the probability of the predicted class. Thresholds are read off the same
    examples, so coverage at a risk is what the best threshold would have given.

    Attributes:
        examples: How many.
        aurc: Area under the risk-coverage curve; 0 is perfect.
        curve: The curve, at up to 100 coverages.
        coverage_at_risk: At risks of 1, 2, 5 and 10 %.
    """

    examples: int
    aurc: Estimate
    curve: tuple[RiskCoverage, ...]
    coverage_at_risk: tuple[CoverageAtRisk, ...]


def area_under_risk_coverage(
    confidence: Float[Tensor, " examples"], right: Bool[Tensor, " examples"]
) -> float:
    """Mean risk over all coverages `1/n, 2/n, ..., 1` (Geifman & El-Yaniv 2017, AURC).

    Of examples with the same confidence, each takes every place among them equally often.

    Args:
        confidence: How sure the model is; any scale.
        right: Whether it is right.

    Raises:
        ValueError: There is no example.

    Example:
        >>> import torch
        >>> from brolly.evaluation import area_under_risk_coverage
        >>> right = torch.tensor([True, False])
        >>> area_under_risk_coverage(torch.tensor([0.9, 0.6]), right)
        0.25
    """
    return float(_risks(confidence, right).mean())


def coverage_at_risk(
    confidence: Float[Tensor, " examples"], right: Bool[Tensor, " examples"], risk: float
) -> CoverageAtRisk:
    """The largest part of the examples above some confidence of which at most `risk` are wrong.

    Raises:
        ValueError: There is no example, or the risk is outside [0, 1].

    Example:
        >>> import torch
        >>> from brolly.evaluation import coverage_at_risk
        >>> right = torch.tensor([True, True, False, True])
        >>> coverage_at_risk(torch.tensor([0.9, 0.8, 0.7, 0.6]), right, 0.25).coverage
        1.0
    """
    if not 0 <= risk <= 1:
        raise ValueError(f"risk is {risk}; expected a part in [0, 1]")
    risks = _risks(confidence, right)
    falling = confidence.detach().sort(descending=True).values
    # A threshold lets in all examples of one confidence or none.
    last = torch.ones_like(falling, dtype=torch.bool)
    last[:-1] = falling[1:] < falling[:-1]
    allowed = (last & (risks <= risk)).nonzero()[:, 0]
    if len(allowed) == 0:
        return CoverageAtRisk(risk, 0.0, 1.0)
    most = int(allowed[-1])
    return CoverageAtRisk(risk, (most + 1) / len(risks), float(falling[most]))


def selective_prediction(
    logits: Float[Tensor, "examples classes"],
    labels: Tensor,
    *,
    risks: Sequence[float] = RISKS,
    seed: int = 0,
) -> Selective:
    """Risk against coverage, with the probability of the predicted class as confidence.

    Args:
        logits: `(examples, classes)`.
        labels: `(examples,)`.
        risks: Where to tell the coverage.
        seed: Of the interval.

    Raises:
        ValueError: There is no example, or a risk is outside [0, 1].

    Example:
        >>> import torch
        >>> from brolly.evaluation import selective_prediction
        >>> logits = torch.tensor([[3.0, 0.0], [1.0, 0.0]])
        >>> selective_prediction(logits, torch.tensor([0, 1])).aurc.value
        0.25
    """
    confidence, prediction = logits.detach().double().softmax(1).max(1)
    right = prediction == labels
    curve = _risks(confidence, right)
    count = len(curve)
    places = torch.linspace(1, count, min(count, _POINTS)).round().long() - 1
    return Selective(
        examples=count,
        aurc=bootstrap(
            lambda rows: area_under_risk_coverage(confidence[rows], right[rows]), count, seed=seed
        ),
        curve=tuple(
            RiskCoverage((place + 1) / count, float(curve[place])) for place in places.tolist()
        ),
        coverage_at_risk=tuple(coverage_at_risk(confidence, right, risk) for risk in risks),
    )


def _risks(confidence: Tensor, right: Tensor) -> Tensor:
    """Part of the `k` surest that is wrong, for every `k`, `(examples,)`."""
    if len(confidence) == 0:
        raise ValueError("there are no examples; expected at least 1")
    _, level = confidence.detach().unique(return_inverse=True)
    wrong = (~right).double()
    # Within a level each example has the mean error of all: what a random order gives on average.
    mean = torch.bincount(level, weights=wrong) / torch.bincount(level)
    order = level.argsort(descending=True)
    return mean[level[order]].cumsum(0) / torch.arange(1, len(right) + 1, device=right.device)
