"""What is measured of a model beside its robust accuracy, as data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._calibration import CalibrationMeasures
from ._classes import ClassMeasures
from ._corruption_errors import CorruptionTable
from ._detection import AdversarialDetection, OutOfDistribution
from ._evaluation import Count, DataFacts, ModelFacts
from ._measures_table import measures_table
from ._records import load_record, save_record
from ._selective import Selective


@dataclasses.dataclass(frozen=True, repr=False)
class Measures:
    """Calibration, detection, selective prediction, classes and corruptions of one model.

    Its `repr` is a table; `save` and `load` keep it as JSON with a schema version.

    Inputs whose logits are not finite count as wrong in every accuracy; measures of confidence
    leave them out, and `warnings` says how many there were.

    Attributes:
        model: Which model it was.
        data: Which test examples they were; `size` is how many.
        threat: Text of the threat, such as `linf:0.1`.
        bounds: Lowest and highest value of the inputs.
        attack: How the adversarial inputs were made, in words.
        seed: Of attacks, corruptions and intervals.
        clean: Examples that are right without an adversary.
        robust: Examples that are right, and that this one attack did not break; `evaluate` asks
            more attacks.
        calibration: Clean and under attack.
        selective_clean: Selective prediction on clean inputs.
        selective_adversarial: The same on adversarial inputs.
        classes: Accuracy by class, and the flow between classes.
        out_of_distribution: One for each set of foreign inputs.
        adversarial_detection: One a score, on the first `adversarial_detection[0].clean.total`
            examples.
        corruptions: Accuracy under corruptions; None where they were not asked for or the inputs
            are no images.
        warnings: What a reader must know before believing the numbers.
        command: The command that repeats this.
        environment: Versions and hardware.
        created: When, ISO 8601.
        seconds: How long it took.
    """

    model: ModelFacts
    data: DataFacts
    threat: str
    bounds: tuple[float, float]
    attack: str
    seed: int
    clean: Count
    robust: Count
    calibration: CalibrationMeasures
    selective_clean: Selective
    selective_adversarial: Selective
    classes: ClassMeasures
    out_of_distribution: tuple[OutOfDistribution, ...]
    adversarial_detection: tuple[AdversarialDetection, ...]
    corruptions: CorruptionTable | None = None
    warnings: tuple[str, ...] = ()
    command: str = ""
    environment: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    created: str = ""
    seconds: float = 0.0

    def __repr__(self) -> str:
        return measures_table(self)

    def save(self, path: str | Path) -> None:
        """Writes it as JSON, whole or not at all."""
        save_record(path, self)

    @classmethod
    def load(cls, path: str | Path) -> Measures:
        """Reads what `save` wrote.

        Raises:
            ValueError: The file holds something else, is damaged, or has a newer schema.
        """
        return load_record(cls, path)
