"""Adversarial inputs of one model, shown to others."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ._evaluation import Count, DataFacts, ModelFacts
from ._records import load_record, save_record


@dataclasses.dataclass(frozen=True)
class TransferMatrix:
    """Accuracy of each model on the adversarial inputs made for each.

    Attributes:
        models: Which ones, in the order of rows and columns.
        data: Which examples they were.
        threat: Text of the threat, such as `linf:0.1`.
        bounds: Lowest and highest value of the inputs.
        attack: How the inputs were made, in words.
        seed: Of the attack.
        clean: Accuracy of each model on the clean inputs.
        accuracy: Entry `[i][j]` is the accuracy of model `j` on inputs made for model `i`; the
            diagonal is the attack on the model itself.
        command: The command that repeats this.
        created: When, ISO 8601.
    """

    models: tuple[ModelFacts, ...]
    data: DataFacts
    threat: str
    bounds: tuple[float, float]
    attack: str
    seed: int
    clean: tuple[Count, ...]
    accuracy: tuple[tuple[Count, ...], ...]
    command: str = ""
    created: str = ""

    def save(self, path: str | Path) -> None:
        """Writes it as JSON, whole or not at all."""
        save_record(path, self)

    @classmethod
    def load(cls, path: str | Path) -> TransferMatrix:
        """Reads what `save` wrote.

        Raises:
            ValueError: The file holds something else, is damaged, or has a newer schema.
        """
        return load_record(cls, path)
