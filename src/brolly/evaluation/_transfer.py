"""Adversarial inputs of one model, shown to others."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from .._device import pick_device
from ..data import Split, as_split
from ..threats import Threat
from ._evaluation import Count, DataFacts, ModelFacts
from ._judge import model_sha256
from ._look import Look, check_extent, threat_text
from ._measures_table import transfer_table
from ._records import load_record, save_record
from ._worst_case import confident_errors


@dataclasses.dataclass(frozen=True, repr=False)
class TransferMatrix:
    """Accuracy of each model on the adversarial inputs made for each.

    Its `repr` is a table; `save` and `load` keep it as JSON with a schema version.

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

    def __repr__(self) -> str:
        return transfer_table(self)

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


def transfer_matrix(
    models: Mapping[str, nn.Module],
    split: Split | Iterable[Any],
    threat: Threat,
    *,
    examples: int | None = None,
    seed: int = 0,
    batch_size: int = 256,
    device: str | None = None,
    command: str = "",
    on_progress: Callable[[str], None] | None = None,
) -> TransferMatrix:
    """Attacks each model and shows what was found to all of them.

    The inputs come from APGD on the cross-entropy with 100 steps, which goes on after the first
    error: inputs that barely fool one model say little about another.

    Args:
        models: By name; they are left as they are.
        split: What to attack, in its stored order; usually `data.test`.
        threat: Linf, L2 or L1.
        examples: How many, from the first; None: all.
        seed: Of the attacks.
        batch_size: Examples attacked at a time.
        device: Where to compute; None: CUDA where there is one. The models are moved there.
        command: The command that repeats this, for the record.
        on_progress: Called with what is measured next, in words.

    Raises:
        ValueError: There are fewer than two models, or an argument does not fit.

    Example:
        >>> import brolly
        >>> from brolly.evaluation import transfer_matrix
        >>> data = brolly.load_data("digits")
        >>> models = {name: brolly.models.SoftmaxRegression(64, 10) for name in ("one", "two")}
        >>> found = transfer_matrix(models, data.test, brolly.Linf(0.1), examples=20)
        >>> len(found.accuracy), len(found.accuracy[0])
        (2, 2)
    """
    if len(models) < 2:
        raise ValueError(f"there are {len(models)} models; expected 2 or more")
    split = as_split(split, threat.bounds)
    check_extent(split, threat, examples, batch_size)
    attack, device = confident_errors(threat), pick_device(device)
    tell = on_progress or (lambda stage: None)
    part = split if examples is None else split.first(examples)
    looks = {
        name: Look(model.to(device), batch_size, device, seed) for name, model in models.items()
    }
    clean = [look.right(part) for look in looks.values()]
    accuracy = []
    for name, look in looks.items():
        tell(f"inputs made for {name}")
        crafted = look.changed(part, look.change_by(attack))
        accuracy.append(tuple(other.right(crafted) for other in looks.values()))
    return TransferMatrix(
        models=tuple(
            ModelFacts(name, model_sha256(model), sum(p.numel() for p in model.parameters()))
            for name, model in models.items()
        ),
        data=DataFacts(split.dataset, split.name, split.sha256, len(part), split.classes),
        threat=threat_text(threat),
        bounds=threat.bounds,
        attack=f"{attack.name}, {attack.steps} steps, to the most confident error",
        seed=seed,
        clean=tuple(clean),
        accuracy=tuple(accuracy),
        command=command,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
