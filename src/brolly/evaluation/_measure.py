"""Measure a model beyond its robust accuracy."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._device import pick_device
from .._draws import Draws
from .._environment import describe_environment
from ..data import (
    Dataset,
    Split,
    Suite,
    as_split,
    corrupt,
    find_suite,
    is_here,
    load_data,
)
from ..threats import Threat
from ._calibration import CalibrationMeasures, calibration, fit_temperature
from ._classes import class_measures
from ._corruption_errors import CorruptionCell, CorruptionTable
from ._detection import SCORES, AdversarialDetection, Detection, OutOfDistribution, detection
from ._estimate import bootstrap
from ._evaluation import Count, DataFacts, ModelFacts
from ._judge import model_sha256
from ._look import Look, check_extent, predicted, threat_text
from ._measures import Measures
from ._selective import selective_prediction
from ._worst_case import confident_errors, undetected_errors

_DETECTED = 1000  # examples that are attacked once a score
_FLAGGED = 0.05  # part of the clean validation inputs that a detector may flag

_RANDOM = (
    "the model draws random numbers: each of its answers is one draw of many, and the attacks do "
    "not average over them"
)


def measure(
    model: nn.Module,
    data: Dataset,
    threat: Threat,
    *,
    examples: int | None = None,
    seed: int = 0,
    corruptions: str | bool = True,
    ood: Dataset | Split | Iterable[Any] | None = None,
    batch_size: int = 256,
    device: str | None = None,
    name: str | None = None,
    command: str = "",
    on_progress: Callable[[str], None] | None = None,
) -> Measures:
    """Measures calibration, detection, selective prediction, classes and corruptions.

    Adversarial inputs come from APGD on the cross-entropy with 100 steps, which goes on after the
    first error to the most confident one. Temperature and thresholds of detectors are fitted on
    the validation split. Detection of adversarial inputs is measured on the first 1,000 examples,
    with one more attack for each score, which minimises that score too.

    Args:
        model: Maps inputs to logits `(batch, classes)`; left as it is.
        data: Its test split is measured.
        threat: Linf, L2 or L1.
        examples: How many of the test split, from the first; None: all.
        seed: Of attacks, corruptions and intervals.
        corruptions: The suite to measure accuracy under: `cifar-10-c` or `imagenet-c` (75 looks at
            every example), or `mnist-c` (15). True: `cifar-10-c` for images whose shorter side is
            up to 84 pixels, `imagenet-c` for larger ones. False: none.
        ood: Foreign inputs of the same shape, beside uniform noise; of a data set, its test split.
            None: MNIST for Fashion-MNIST where it is on this machine, else nothing.
        batch_size: Examples looked at a time.
        device: Where to compute; None: CUDA where there is one. The model is moved there.
        name: What to call the model; None: its class.
        command: The command that repeats this, for the record.
        on_progress: Called with what is measured next, in words.

    Raises:
        ValueError: An argument does not fit; there are no validation examples; no example has
            finite logits.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.SoftmaxRegression(64, classes=10)
        >>> history = brolly.fit(model, data, epochs=2)
        >>> found = brolly.measure(model, data, brolly.Linf(0.1), examples=50, corruptions=False)
        >>> found.calibration.adversarial.nll.value > found.calibration.clean.nll.value
        True
    """
    _check_data(data)
    check_extent(data.test, threat, examples, batch_size)
    attack, foreign = confident_errors(threat), _foreign(data, ood)
    suite = _suite(corruptions, data.shape)
    started = time.monotonic()
    tell = on_progress or (lambda stage: None)
    device = pick_device(device)
    work = _Work(Look(model.to(device), batch_size, device, seed), data, threat)
    split = data.test if examples is None else data.test.first(examples)

    tell("clean inputs")
    clean, validation = work.look.logits(split), work.look.logits(data.validation)
    tell("adversarial inputs")
    adversarial = work.look.attacked(split, attack)
    label = split.labels.cpu()
    right, held = predicted(clean) == label, predicted(adversarial) == label
    known, after = _finite(clean, label), _finite(adversarial, label)
    tell("out-of-distribution inputs")
    found = [work.out_of_distribution(known[0], other, len(split)) for other in foreign]
    return Measures(
        model=ModelFacts(
            name or type(model).__name__,
            model_sha256(model),
            sum(parameter.numel() for parameter in model.parameters()),
        ),
        data=DataFacts(split.dataset, split.name, data.test.sha256, len(split), split.classes),
        threat=threat_text(threat),
        bounds=threat.bounds,
        attack=f"{attack.name}, {attack.steps} steps, to the most confident error",
        seed=seed,
        clean=Count(int(right.sum()), len(split)),
        robust=Count(int((right & held).sum()), len(split)),
        calibration=_calibrations(known, after, _finite(validation, data.validation.labels), seed),
        selective_clean=selective_prediction(*known, seed=seed),
        selective_adversarial=selective_prediction(*after, seed=seed),
        classes=class_measures(
            label.numpy(), predicted(clean).numpy(), predicted(adversarial).numpy(), split.classes
        ),
        out_of_distribution=tuple(found),
        adversarial_detection=work.adversarial_detections(
            split.first(_DETECTED), clean, adversarial, validation, tell
        ),
        corruptions=None if suite is None else work.corruption_table(suite, split, right, tell),
        warnings=(
            *([_RANDOM] if work.look.draws_random_numbers(split) else []),
            *_warnings({"clean": clean, "adversarial": adversarial, "validation": validation}),
        ),
        command=command,
        environment=describe_environment(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=time.monotonic() - started,
    )


def default_ood(data: Dataset, data_dir: str | Path | None = None) -> Split | None:
    """MNIST for Fashion-MNIST, where it is on this machine; None otherwise."""
    if data.name != "fashion-mnist" or not is_here("mnist", data_dir):
        return None
    return load_data("mnist", data_dir=data_dir).test


@dataclasses.dataclass(frozen=True)
class _Work:
    """What is measured; its methods each measure one thing."""

    look: Look
    data: Dataset
    threat: Threat

    def out_of_distribution(
        self, known: Tensor, foreign: Split | None, count: int
    ) -> OutOfDistribution:
        """Detection of foreign inputs, or of uniform noise."""
        seed = self.look.seed
        if foreign is None:
            low, high = self.data.bounds
            logits = self.look.logits(
                self.data.test.first(count),
                lambda x, y, rows: low + (high - low) * Draws(seed, rows).uniform(x),
            )
        else:
            logits = self.look.logits(foreign.first(count))
        name = "uniform noise" if foreign is None else f"{foreign.dataset}/{foreign.name}"
        logits = logits[logits.isfinite().all(1)]
        found = [
            detection(kind, score(known), score(logits), seed=seed)
            for kind, score in SCORES.items()
            if len(logits)
        ]
        return OutOfDistribution(name, tuple(found))

    def adversarial_detections(
        self,
        split: Split,
        clean: Tensor,
        unaware: Tensor,
        validation: Tensor,
        tell: Callable[[str], None],
    ) -> tuple[AdversarialDetection, ...]:
        """One a score, each with an attack of its own."""
        found = []
        for kind, score in SCORES.items():
            tell(f"adversarial inputs against the detector by {kind}")
            scores = score(validation[validation.isfinite().all(1)])
            threshold = float(scores.quantile(1 - _FLAGGED))
            attack = undetected_errors(self.threat, score, threshold)
            aware = self.look.attacked(split, attack)
            label = split.labels.cpu()
            # What the other attack found serves this one too.
            other = unaware[: len(split)]
            better = attack.worth(other, label) > attack.worth(aware, label)
            aware = torch.where(better[:, None], other, aware)
            found.append(
                _adversarial_detection(
                    kind, threshold, label, clean[: len(split)], other, aware, self.look.seed
                )
            )
        return tuple(found)

    def corruption_table(
        self, suite: Suite, split: Split, right: Tensor, tell: Callable[[str], None]
    ) -> CorruptionTable | None:
        """Accuracy under every corruption; None where the inputs are no images."""
        if len(split.shape) != 3 or split.shape[0] not in (1, 3):
            return None
        label, (low, high) = split.labels.cpu(), self.data.bounds
        cells, errors = [], torch.zeros(len(split), dtype=torch.float64)
        for kind, severity in suite.measured:
            if severity == suite.kinds[kind].measured[0]:
                tell(f"corruption {kind} of {suite.name}")

            def change(
                x: Tensor, y: Tensor, rows: Tensor, kind: str = kind, severity: int = severity
            ) -> Tensor:
                generator = torch.Generator().manual_seed(self.look.seed)
                images = ((x - low) / (high - low)).clamp(0, 1)
                images = corrupt(
                    images, kind, severity, suite=suite.name, generator=generator, index=rows
                )
                return low + (high - low) * images

            wrong = predicted(self.look.logits(split, change)) != label
            errors += wrong
            cells.append(CorruptionCell(kind, severity, Count(int((~wrong).sum()), len(split))))
        errors /= len(cells)
        return CorruptionTable(
            clean=Count(int(right.sum()), len(split)),
            cells=tuple(cells),
            mean_error=bootstrap(
                lambda rows: float(errors[rows].mean()), len(split), seed=self.look.seed
            ),
            suite=suite.name,
        )


def _calibrations(
    clean: tuple[Tensor, Tensor],
    adversarial: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    seed: int,
) -> CalibrationMeasures:
    temperature = fit_temperature(*validation)
    return CalibrationMeasures(
        clean=calibration(*clean, seed=seed),
        adversarial=calibration(*adversarial, seed=seed),
        scaled_clean=calibration(*clean, temperature=temperature, seed=seed),
        scaled_adversarial=calibration(*adversarial, temperature=temperature, seed=seed),
        validation=len(validation[1]),
    )


def _adversarial_detection(
    kind: str, threshold: float, label: Tensor, clean: Tensor, unaware: Tensor, aware: Tensor,
    seed: int,
) -> AdversarialDetection:  # fmt: skip
    score = SCORES[kind]
    right = predicted(clean) == label

    def flagged(logits: Tensor) -> Tensor:
        return score(logits) > threshold

    def broken(logits: Tensor) -> Tensor:
        return right & (predicted(logits) != label)

    def detected(logits: Tensor) -> Detection | None:
        found = logits[broken(logits) & logits.isfinite().all(1)]
        negatives = score(clean[clean.isfinite().all(1)])
        return detection(kind, negatives, score(found), seed=seed) if len(found) else None

    def caught(logits: Tensor) -> Count:
        return Count(int((broken(logits) & flagged(logits)).sum()), int(broken(logits).sum()))

    kept = right & ~flagged(clean)
    evaded = (broken(unaware) & ~flagged(unaware)) | (broken(aware) & ~flagged(aware))
    return AdversarialDetection(
        score=kind,
        threshold=threshold,
        flagged=Count(int(flagged(clean).sum()), len(label)),
        unaware=detected(unaware),
        aware=detected(aware),
        caught_unaware=caught(unaware),
        caught_aware=caught(aware),
        clean=Count(int(kept.sum()), len(label)),
        robust=Count(int((kept & ~evaded).sum()), len(label)),
    )


def _suite(corruptions: str | bool, shape: tuple[int, ...]) -> Suite | None:
    if corruptions is False:
        return None
    return find_suite(None if corruptions is True else corruptions, shape)


def _finite(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """The rows that confidence is defined for."""
    finite = logits.isfinite().all(1)
    if not finite.any():
        raise ValueError(
            "no example has finite logits, so there is no confidence to measure; look at the model "
            "with brolly.evaluation.preflight"
        )
    return logits[finite], label.cpu()[finite]


def _warnings(looks: dict[str, Tensor]) -> tuple[str, ...]:
    found = []
    for inputs, logits in looks.items():
        count = int((~logits.isfinite().all(1)).sum())
        if count:
            found.append(
                f"{count} of {len(logits)} {inputs} inputs give logits that are not finite; they "
                "count as wrong, and measures of confidence leave them out"
            )
    return tuple(found)


def _foreign(data: Dataset, ood: Dataset | Split | Iterable[Any] | None) -> list[Split | None]:
    """Sets of foreign inputs; None stands for uniform noise."""
    if ood is None:
        given = default_ood(data)
    else:
        given = ood.test if isinstance(ood, Dataset) else as_split(ood, data.bounds)
    if given is None:
        return [None]
    if given.shape != data.shape:
        raise ValueError(
            f"inputs of {given.dataset} have shape {given.shape}, those of {data.name} "
            f"{data.shape}; expected foreign inputs of the same shape"
        )
    return [given, None]


def _check_data(data: Dataset) -> None:
    if isinstance(data, Split):
        raise ValueError(
            "expected a data set, got a split; temperature and thresholds need its validation split"
        )
    if not len(data.validation):
        raise ValueError(
            f"{data.name} has no validation examples, which temperature and thresholds are fitted "
            "on; load it with validation=0.1"
        )
