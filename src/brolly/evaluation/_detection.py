"""Telling inputs that a model should not answer from those it should, by a score of its logits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ._estimate import Estimate, bootstrap
from ._evaluation import Count

Logits = Float[Tensor, "examples classes"]
Scores = Float[Tensor, " examples"]

_CAUGHT = 0.95  # Hendrycks & Gimpel 2017; Liang et al. 2018


@dataclasses.dataclass(frozen=True)
class Detection:
    """How well a score tells positives (what is to be found) from negatives (clean inputs).

    Attributes:
        score: Its name in `SCORES`; high means suspect.
        positives, negatives: How many there are of each.
        auroc: Area under the ROC curve; 0.5 is chance.
        aupr: Average precision; chance is the part of the positives.
        fpr95: Part of the negatives that are flagged where 95 % of the positives are.
    """

    score: str
    positives: int
    negatives: int
    auroc: Estimate
    aupr: Estimate
    fpr95: Estimate


@dataclasses.dataclass(frozen=True)
class OutOfDistribution:
    """How well each score finds the inputs of another data set among those of the test split.

    Attributes:
        name: Where the others come from, such as `mnist/test` or `uniform noise`.
        detections: One a score.
    """

    name: str
    detections: tuple[Detection, ...]


@dataclasses.dataclass(frozen=True)
class AdversarialDetection:
    """How well a score finds adversarial inputs, and what is left of that when the attack knows.

    The detector flags what scores above `threshold`, which flags 5 % of the clean validation
    inputs. The unaware attack maximises the cross-entropy; the aware one also minimises the score.
    Positives are the adversarial inputs that are misclassified; negatives are all clean inputs.

    Attributes:
        score: Name of the score.
        threshold: Above it an input is flagged.
        flagged: Clean test inputs that are flagged.
        unaware: Detection of inputs made without a thought of the detector; None: there are none.
        aware: Detection of inputs made against model and detector; None: there are none.
        caught_unaware: How many of the unaware attack's successes are flagged.
        caught_aware: How many of the aware attack's successes are flagged.
        clean: Examples that are right and not flagged without an adversary.
        robust: Of those, the ones for which no attack found an input that is misclassified and not
            flagged.
    """

    score: str
    threshold: float
    flagged: Count
    unaware: Detection | None
    aware: Detection | None
    caught_unaware: Count
    caught_aware: Count
    clean: Count
    robust: Count


def entropy(logits: Logits) -> Scores:
    """Entropy of the predicted probabilities, in nats.

    Example:
        >>> import torch
        >>> from brolly.evaluation import entropy
        >>> entropy(torch.zeros(1, 2))
        tensor([0.6931])
    """
    log = logits.log_softmax(1)
    return -(log.exp() * log).sum(1)


def unlikeliness(logits: Logits) -> Scores:
    """`-log` of the probability of the predicted class (Hendrycks & Gimpel 2017).

    It orders inputs as one minus the highest probability does, but does not round to 0.

    Example:
        >>> import torch
        >>> from brolly.evaluation import unlikeliness
        >>> unlikeliness(torch.zeros(1, 2))
        tensor([0.6931])
    """
    return -logits.log_softmax(1).amax(1)


def energy(logits: Logits) -> Scores:
    """Free energy `-log sum exp z` (Liu et al. 2020, at temperature 1).

    Example:
        >>> import torch
        >>> from brolly.evaluation import energy
        >>> energy(torch.zeros(1, 2))
        tensor([-0.6931])
    """
    return -logits.logsumexp(1)


#: Scores of logits, `(examples, classes)` to `(examples,)`; high means suspect.
SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "entropy": entropy,
    "max-probability": unlikeliness,
    "energy": energy,
}


def auroc(scores: Scores, is_positive: Bool[Tensor, " examples"]) -> float:
    """Area under the ROC curve: how often a positive scores above a negative, ties half.

    Args:
        scores: High means positive.
        is_positive: Which examples are.

    Raises:
        ValueError: There are no positives or no negatives, or a score is NaN.

    Example:
        >>> import torch
        >>> from brolly.evaluation import auroc
        >>> auroc(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([False, False, True, True]))
        0.75
    """
    return _auroc(*_counts(_levels(scores, is_positive), is_positive))


def average_precision(scores: Scores, is_positive: Bool[Tensor, " examples"]) -> float:
    r"""Area under the precision-recall curve, `\sum_k (R_k - R_{k-1}) P_k` over the thresholds.

    Args:
        scores: High means positive.
        is_positive: Which examples are.

    Raises:
        ValueError: There are no positives or no negatives, or a score is NaN.

    Example:
        >>> import torch
        >>> from brolly.evaluation import average_precision
        >>> positive = torch.tensor([False, False, True, True])
        >>> round(average_precision(torch.tensor([0.1, 0.4, 0.35, 0.8]), positive), 4)
        0.8333
    """
    return _average_precision(*_counts(_levels(scores, is_positive), is_positive))


def false_positive_rate(
    scores: Scores, is_positive: Bool[Tensor, " examples"], true_positive_rate: float = _CAUGHT
) -> float:
    """Part of the negatives at or above the highest threshold that catches enough positives.

    Args:
        scores: High means positive.
        is_positive: Which examples are.
        true_positive_rate: Part of the positives that is to be caught; 95 % by custom.

    Raises:
        ValueError: There are no positives or no negatives, or a score is NaN.

    Example:
        >>> import torch
        >>> from brolly.evaluation import false_positive_rate
        >>> positive = torch.tensor([False, False, True, True])
        >>> false_positive_rate(torch.tensor([0.1, 0.4, 0.35, 0.8]), positive)
        0.5
    """
    counts = _counts(_levels(scores, is_positive), is_positive)
    return _false_positive_rate(*counts, true_positive_rate)


def detection(name: str, negatives: Scores, positives: Tensor, *, seed: int = 0) -> Detection:
    """Measures a score, given that of the negatives and of the positives.

    Args:
        name: Of the score.
        negatives: Scores of clean inputs, `(n,)`.
        positives: Scores of what is to be found, `(m,)`.
        seed: Of the intervals.

    Raises:
        ValueError: There are no positives or no negatives, or a score is NaN.

    Example:
        >>> import torch
        >>> from brolly.evaluation import detection
        >>> detection("energy", torch.tensor([-9.0, -8.0]), torch.tensor([-2.0])).auroc.value
        1.0
    """
    scores = torch.cat([negatives, positives]).detach().cpu()
    positive = torch.arange(len(scores)) >= len(negatives)
    level = _levels(scores, positive)

    def estimate(statistic: Callable[[Tensor, Tensor], float]) -> Estimate:
        return bootstrap(
            lambda rows: statistic(*_counts(level[rows], positive[rows])),
            len(negatives), len(positives), seed=seed,
        )  # fmt: skip

    return Detection(
        score=name,
        positives=len(positives),
        negatives=len(negatives),
        auroc=estimate(_auroc),
        aupr=estimate(_average_precision),
        fpr95=estimate(_false_positive_rate),
    )


def _levels(scores: Tensor, is_positive: Tensor) -> Tensor:
    """The rank of each score among the different ones, from 0 upwards."""
    if scores.isnan().any():
        raise ValueError("a score is NaN; leave out inputs whose logits are not finite")
    found = int(is_positive.sum())
    if not 0 < found < len(scores):
        raise ValueError(
            f"{found} of {len(scores)} examples are positive; expected some of both kinds"
        )
    return scores.detach().unique(return_inverse=True)[1]


def _counts(level: Tensor, is_positive: Tensor) -> tuple[Tensor, Tensor]:
    """Positives and negatives at each level, the highest first."""
    every = torch.bincount(level)
    positive = torch.bincount(level, weights=is_positive.double(), minlength=len(every))
    return positive.flip(0), (every - positive).flip(0)


def _auroc(positive: Tensor, negative: Tensor) -> float:
    below = negative.sum() - negative.cumsum(0) + negative / 2
    return float((positive * below).sum() / (positive.sum() * negative.sum()))


def _average_precision(positive: Tensor, negative: Tensor) -> float:
    caught, flagged = positive.cumsum(0), (positive + negative).cumsum(0)
    return float((positive * caught / flagged.clamp_min(1)).sum() / positive.sum())


def _false_positive_rate(positive: Tensor, negative: Tensor, rate: float = _CAUGHT) -> float:
    enough = positive.cumsum(0) >= rate * positive.sum()
    return float(negative.cumsum(0)[enough][0] / negative.sum())
