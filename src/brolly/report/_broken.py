"""Broken examples to browse, and what their perturbations have in common."""

from __future__ import annotations

import base64
import dataclasses

import numpy as np

from ..evaluation import Evaluation, Picture
from ._pictures import LARGEST, class_name, data_uri, diverging, is_image
from ._results import BrokenExamples

#: Of each choice; fewer where that many values would make the page heavy.
_MOST, _VALUES = 12, 150_000

#: Cycles per pixel up to which a frequency is called low: a quarter of the highest.
_LOW = 1 / 8


@dataclasses.dataclass(frozen=True)
class Browsed:
    """One example for the script of the page.

    Attributes:
        index: Position in the split.
        label, before, after: Class names: the truth, the clean and the adversarial prediction.
        distance: Of the adversarial input, in the norm of the threat.
        margin: How far its logit lies above the label's; empty if logits were not kept.
        clean: 8-bit values in base64, channels last.
        change: Signed 8-bit values, as parts of `scale` / 127, in base64, channels last.
        scale: The largest change, in 8-bit steps.
    """

    index: int
    label: str
    before: str
    after: str
    distance: float
    margin: str
    clean: str
    change: str
    scale: float


@dataclasses.dataclass(frozen=True)
class Choice:
    """Examples chosen in one way."""

    name: str
    examples: tuple[Browsed, ...]


@dataclasses.dataclass(frozen=True)
class Browser:
    """What the reader may walk through.

    Attributes:
        choices: Ways of choosing, each with its examples.
        shape: Height, width and channels.
        of: How many broken examples they were chosen from.
    """

    choices: tuple[Choice, ...]
    shape: tuple[int, int, int]
    of: int


@dataclasses.dataclass(frozen=True)
class Perturbations:
    """What the perturbations of an evaluation have in common.

    Attributes:
        count: How many there are.
        mean, size, spectrum: Pictures: of the mean, of the mean absolute value, and of the mean
            power at each frequency on a logarithmic scale with 0 in the middle.
        factor: By how much the mean is amplified.
        low: Part of the power at low frequencies.
        white: The same of white noise.
        kept_only: Whether they are the few that the evaluation kept, the first that broke.
    """

    count: int
    mean: str
    size: str
    spectrum: str
    factor: str
    low: float
    white: float
    kept_only: bool


def browser(evaluation: Evaluation, broken: BrokenExamples | None) -> Browser | None:
    """Chooses examples; None where there are none, or they are no images."""
    source = broken if broken is not None else _kept(evaluation.pictures)
    if source is None or len(source.index) == 0 or not is_image(source.clean.shape[1:]):
        return None
    channels, height, width = source.clean.shape[1:]
    step = max(1, -(-max(height, width) // LARGEST))
    small = source.clean[:, :, ::step, ::step].shape[1:]
    most = max(1, min(_MOST, _VALUES // int(np.prod(small))))
    margin = _margin(evaluation, source)
    choices = tuple(
        Choice(
            name,
            tuple(
                _browsed(evaluation, source, int(row), step, float(margin[row]))
                for row in rows[:most]
            ),
        )
        for name, rows in _choices(evaluation, margin, kept_only=broken is None)
    )
    return Browser(choices, (small[1], small[2], channels), len(source.index))


def perturbations(evaluation: Evaluation, broken: BrokenExamples | None) -> Perturbations | None:
    """Averages over what broke; None where nothing did, or the inputs are no images."""
    source = broken if broken is not None else _kept(evaluation.pictures)
    if source is None or len(source.index) == 0 or not is_image(source.clean.shape[1:]):
        return None
    change = (source.adversarial - source.clean) / evaluation.threat.width
    mean, size = change.mean(0, dtype=np.float64), np.abs(change).mean(0, dtype=np.float64)
    power = mean_power(change)
    factor = 0.5 / max(float(np.abs(mean).max()), 1e-6)
    picture = mean * factor
    return Perturbations(
        count=len(change),
        mean=data_uri(diverging(picture) if len(picture) == 1 else picture + 0.5),
        size=data_uri(size / max(float(size.max()), 1e-12)),
        spectrum=data_uri(_logarithmic(power)[None]),
        factor=f"{factor:.2g}",
        low=low_part(power),
        white=low_part(np.ones_like(power)),
        kept_only=broken is None,
    )


def mean_power(pictures: np.ndarray) -> np.ndarray:
    """Mean power at each frequency of `(n, channels, h, w)`, 0 in the middle, `(h, w)`."""
    total = np.zeros(pictures.shape[2:])
    for part in np.array_split(pictures, max(1, pictures.size // 4_000_000)):
        total += (np.abs(np.fft.fft2(part)) ** 2).sum((0, 1))
    return np.fft.fftshift(total / max(len(pictures), 1))


def low_part(power: np.ndarray) -> float:
    """Part of the power below an eighth of a cycle per pixel; NaN where there is none."""
    rows, columns = (np.fft.fftshift(np.fft.fftfreq(size)) for size in power.shape)
    low = np.hypot(rows[:, None], columns) <= _LOW
    total = power.sum()
    return float(power[low].sum() / total) if total > 0 else float("nan")


def _logarithmic(power: np.ndarray) -> np.ndarray:
    """Four decades below the highest power as 0 to 1."""
    highest = max(float(power.max()), 1e-30)
    return 1 + np.log10(np.maximum(power / highest, 1e-4)) / 4


def _kept(pictures: tuple[Picture, ...]) -> BrokenExamples | None:
    if not pictures:
        return None
    return BrokenExamples(
        index=np.array([picture.index for picture in pictures]),
        clean=np.stack([picture.clean for picture in pictures]),
        adversarial=np.stack([picture.adversarial for picture in pictures]),
        logits=np.zeros((len(pictures), 0), dtype=np.float32),
    )


def _choices(
    evaluation: Evaluation, margin: np.ndarray, *, kept_only: bool
) -> list[tuple[str, np.ndarray]]:
    if kept_only:
        return [("the first that broke", np.arange(len(margin)))]
    known = np.flatnonzero(~np.isnan(margin))
    worst = known[np.argsort(-margin[known], kind="stable")]
    around = np.abs(margin[known] - np.median(margin[known])) if len(known) else margin[known]
    typical = known[np.argsort(around, kind="stable")]
    drawn = np.random.default_rng(evaluation.seed).permutation(len(margin))
    return [
        ("worst: the surest mistakes", worst),
        ("typical: mistakes of median sureness", typical),
        (f"drawn with seed {evaluation.seed}", drawn),
    ]


def _margin(evaluation: Evaluation, source: BrokenExamples) -> np.ndarray:
    """Highest other logit minus the label's; NaN where a logit is, or none were kept."""
    if source.logits.shape[1] == 0:
        return np.full(len(source.index), np.nan)
    rows = np.arange(len(source.index))
    label = evaluation.label[np.searchsorted(evaluation.index, source.index)]
    own, others = source.logits[rows, label], source.logits.copy()
    others[rows, label] = -np.inf
    return others.max(1) - own


def _browsed(
    evaluation: Evaluation, source: BrokenExamples, row: int, step: int, margin: float
) -> Browsed:
    low, width = evaluation.threat.bounds[0], evaluation.threat.width
    index = int(source.index[row])
    at = int(np.searchsorted(evaluation.index, index))
    clean = source.clean[row, :, ::step, ::step]
    change = (source.adversarial[row, :, ::step, ::step] - clean) / width * 255
    scale = max(float(np.abs(change).max()), 1e-6)
    return Browsed(
        index=index,
        label=class_name(evaluation, int(evaluation.label[at])),
        before=class_name(evaluation, int(evaluation.clean_prediction[at])),
        after=class_name(evaluation, int(evaluation.adversarial_prediction[at])),
        distance=float(evaluation.distance[at]),
        margin="" if np.isnan(margin) else f"{margin:.3g}",
        clean=_base64(np.rint(np.clip((clean - low) / width, 0, 1) * 255).astype(np.uint8)),
        change=_base64(np.rint(change / scale * 127).astype(np.int8)),
        scale=round(scale, 4),
    )


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(np.moveaxis(values, 0, -1)).tobytes()).decode()
