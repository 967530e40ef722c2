"""Whether a model is right as often as it says."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ._estimate import Estimate, bootstrap
from ._evaluation import Count

BINS = 15  # Guo et al. 2017, "On calibration of modern neural networks"
_COLDEST, _HOTTEST = 0.01, 100.0

Logits = Float[Tensor, "examples classes"]
Labels = Int[Tensor, " examples"]


@dataclasses.dataclass(frozen=True)
class ReliabilityBin:
    """One bar of a reliability diagram: the predictions with a confidence in `(low, high]`.

    Attributes:
        low, high: Its edges.
        confidence: Mean probability of the predicted class.
        right: How many of its predictions are right; the rate is the height of the bar.
    """

    low: float
    high: float
    confidence: float
    right: Count


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How far the probabilities of a model can be believed on some inputs.

    Confidence is the probability of the predicted class. Both expected calibration errors have 15
    bins, and are biased upwards where examples are few.

    Attributes:
        accuracy: Predictions that are right.
        confidence: Mean confidence; above the accuracy the model is overconfident.
        ece: Expected calibration error, bins of equal width.
        ece_mass: Expected calibration error, bins of equally many examples.
        nll: Negative log likelihood of the label, in nats.
        brier: Brier score: squared distance of the probabilities from the label's indicator,
            summed over classes, 0 to 2.
        bins: Reliability diagram in 15 bins of equal width, without the empty ones.
        temperature: What the logits were divided by.
    """

    accuracy: Count
    confidence: float
    ece: Estimate
    ece_mass: Estimate
    nll: Estimate
    brier: Estimate
    bins: tuple[ReliabilityBin, ...]
    temperature: float = 1.0


@dataclasses.dataclass(frozen=True)
class CalibrationMeasures:
    """Calibration on clean and on adversarial inputs, as the model is and after scaling.

    Attributes:
        clean: Of the model as it is, on clean inputs.
        adversarial: The same on adversarial inputs.
        scaled_clean: With the logits divided by the fitted temperature, on clean inputs.
        scaled_adversarial: The same on adversarial inputs.
        validation: How many validation examples (clean, and no others) fitted the temperature.
    """

    clean: Calibration
    adversarial: Calibration
    scaled_clean: Calibration
    scaled_adversarial: Calibration
    validation: int

    @property
    def temperature(self) -> float:
        """What fits the clean validation data; above 1 the model was overconfident there."""
        return self.scaled_clean.temperature


def expected_calibration_error(
    logits: Logits, labels: Labels, bins: int = BINS, equal_mass: bool = False
) -> float:
    r"""Mean distance of confidence and accuracy, over bins of confidence (Naeini et al. 2015).

    .. math:: \sum_b \frac{n_b}{n} | \mathrm{accuracy}_b - \mathrm{confidence}_b |

    Args:
        logits: `(examples, classes)`.
        labels: `(examples,)`.
        bins: How many; 15 in Guo et al. 2017.
        equal_mass: Bins of equally many examples, instead of equal width (Nguyen & O'Connor 2015).

    Raises:
        ValueError: There is no example, or `bins` is below 1.

    Example:
        >>> import torch
        >>> from brolly.evaluation import expected_calibration_error
        >>> logits = torch.tensor([[0.8, 0.2], [0.8, 0.2]]).log()
        >>> round(expected_calibration_error(logits, torch.tensor([0, 1])), 4)
        0.3
    """
    _check(logits, labels, bins)
    confidence, right = _confidence(logits, labels)
    place = _equal_mass(confidence, bins) if equal_mass else _equal_width(confidence, bins)
    return _gap(confidence, right, place, bins)


def negative_log_likelihood(logits: Logits, labels: Labels) -> float:
    """Mean of `-log p(label)`, in nats.

    Example:
        >>> import torch
        >>> from brolly.evaluation import negative_log_likelihood
        >>> round(negative_log_likelihood(torch.zeros(1, 4), torch.tensor([2])), 4)
        1.3863
    """
    _check(logits, labels)
    return float(_likelihoods(logits, labels).mean())


def brier_score(logits: Logits, labels: Labels) -> float:
    """Mean squared distance of the probabilities from the label's indicator (Brier 1950), 0 to 2.

    Example:
        >>> import torch
        >>> from brolly.evaluation import brier_score
        >>> brier_score(torch.zeros(1, 4), torch.tensor([2]))
        0.75
    """
    _check(logits, labels)
    return float(_squares(logits, labels).mean())


def reliability(logits: Logits, labels: Labels, bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """The bars of a reliability diagram, in bins of equal width; empty ones are left out.

    Example:
        >>> import torch
        >>> from brolly.evaluation import reliability
        >>> (bar,) = reliability(torch.zeros(3, 2), torch.tensor([0, 0, 1]))
        >>> bar.right.hits, bar.right.total, bar.confidence
        (2, 3, 0.5)
    """
    _check(logits, labels, bins)
    confidence, right = _confidence(logits, labels)
    place = _equal_width(confidence, bins)
    return tuple(
        ReliabilityBin(
            low=int(number) / bins,
            high=(int(number) + 1) / bins,
            confidence=float(confidence[place == number].mean()),
            right=Count(int(right[place == number].sum()), int((place == number).sum())),
        )
        for number in place.unique()
    )


def fit_temperature(logits: Logits, labels: Labels) -> float:
    """What to divide logits by so that the likelihood of the labels is highest (Guo et al. 2017).

    Give it validation data. The answer lies between 0.01 and 100. Where the model is right on all
    of it, that is a temperature so low that nothing is left to gain.

    Example:
        >>> import torch
        >>> from brolly.evaluation import fit_temperature
        >>> logits = torch.tensor([[8.0, 0.0]]).expand(10, 2)
        >>> labels = torch.tensor([0] * 9 + [1])
        >>> round(fit_temperature(logits, labels), 3)  # 8 / log(9)
        3.641
    """
    from scipy.optimize import minimize_scalar

    _check(logits, labels)
    found = minimize_scalar(
        lambda log: float(_likelihoods(logits / math.exp(log), labels).mean()),
        bounds=(math.log(_COLDEST), math.log(_HOTTEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return math.exp(found.x)


def calibration(
    logits: Logits, labels: Labels, *, temperature: float = 1.0, seed: int = 0
) -> Calibration:
    """Everything about the calibration of some predictions.

    Args:
        logits: `(examples, classes)`.
        labels: `(examples,)`.
        temperature: What to divide the logits by.
        seed: Of the intervals.

    Raises:
        ValueError: There is no example.

    Example:
        >>> import torch
        >>> from brolly.evaluation import calibration
        >>> calibration(torch.zeros(4, 2), torch.tensor([0, 0, 1, 1])).ece.value
        0.0
    """
    _check(logits, labels)
    logits, count = logits.detach().double() / temperature, len(labels)
    confidence, right = _confidence(logits, labels)
    width = _equal_width(confidence, BINS)
    likelihoods, squares = _likelihoods(logits, labels), _squares(logits, labels)

    def mass(rows: Tensor) -> float:
        return _gap(confidence[rows], right[rows], _equal_mass(confidence[rows], BINS), BINS)

    return Calibration(
        accuracy=Count(int(right.sum()), count),
        confidence=float(confidence.mean()),
        ece=bootstrap(
            lambda rows: _gap(confidence[rows], right[rows], width[rows], BINS), count, seed=seed
        ),
        ece_mass=bootstrap(mass, count, seed=seed),
        nll=bootstrap(
            lambda rows: float(likelihoods[rows].mean()), count, seed=seed, limits=(0.0, math.inf)
        ),
        brier=bootstrap(
            lambda rows: float(squares[rows].mean()), count, seed=seed, limits=(0.0, 2.0)
        ),
        bins=reliability(logits, labels),
        temperature=temperature,
    )


def _confidence(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Probability of the predicted class, and whether that is the label."""
    confidence, prediction = logits.detach().double().softmax(1).max(1)
    return confidence, prediction == labels


def _equal_width(confidence: Tensor, bins: int) -> Tensor:
    """The bin of each, intervals open below and closed above."""
    return ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)


def _equal_mass(confidence: Tensor, bins: int) -> Tensor:
    """The bin of each; sizes differ by at most 1."""
    rank = torch.empty(len(confidence), dtype=torch.int64, device=confidence.device)
    rank[confidence.argsort(stable=True)] = torch.arange(len(confidence), device=rank.device)
    return rank * bins // len(confidence)


def _gap(confidence: Tensor, right: Tensor, place: Tensor, bins: int) -> float:
    surplus = torch.bincount(place, weights=confidence - right.double(), minlength=bins)
    return float(surplus.abs().sum()) / len(confidence)


def _likelihoods(logits: Tensor, labels: Tensor) -> Tensor:
    return -logits.detach().double().log_softmax(1).gather(1, labels[:, None])[:, 0]


def _squares(logits: Tensor, labels: Tensor) -> Tensor:
    probabilities = logits.detach().double().softmax(1)
    indicator = torch.zeros_like(probabilities).scatter(1, labels[:, None], 1.0)
    return (probabilities - indicator).square().sum(1)


def _check(logits: Tensor, labels: Tensor, bins: int = 1) -> None:
    if len(labels) == 0:
        raise ValueError("there are no examples; expected at least 1")
    if len(labels) != len(logits):
        raise ValueError(f"there are {len(logits)} rows of logits for {len(labels)} labels")
    if bins < 1:
        raise ValueError(f"bins is {bins}; expected 1 or more")
