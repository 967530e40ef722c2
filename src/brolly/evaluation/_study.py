"""A closer look at a model than its verdicts give, for the report to draw."""

from __future__ import annotations

import dataclasses
import datetime
import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .._device import pick_device
from .._environment import describe_environment
from ..certify import Certificate, IntervalBounds
from ..data import Split, as_split
from ..threats import Threat
from ._evaluation import Count, DataFacts, ModelFacts
from ._guard import Guarded
from ._judge import Judge, model_sha256
from ._look import check_extent, threat_text
from ._records import load_record, save_record
from ._study_parts import (
    BudgetCurve,
    CertifiedCurve,
    InputGradients,
    LossSurface,
    MinimalDistances,
    Probe,
)

#: Forward passes whose mean is the answer of a model that draws random numbers.
_SAMPLES = 20


@dataclasses.dataclass(frozen=True)
class Study:
    """What attacks with other budgets find, and how the loss lies around the inputs.

    Not an evaluation: fewer examples, weaker attacks. It shows whether the evaluation's budget is
    large enough, and what its numbers hide.

    Attributes:
        model: Which model it was.
        data: Which split it was; `size` is how many examples that has.
        threat: Text of the threat, such as `linf:0.1`.
        bounds: Lowest and highest value of the inputs.
        seed: Of attacks and directions.
        clean: Examples that are right without an adversary; `clean.total` were studied, from the
            first.
        budgets: Accuracy against steps, restarts and queries, where the threat has such attacks.
        minimal: Distances to the nearest adversarial inputs.
        certified: What is proved at several radii; None where no certificate fits.
        gradients: Of the loss in the first inputs.
        surface: The loss around the first examples that are right; None without such.
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
    seed: int
    clean: Count
    budgets: tuple[BudgetCurve, ...]
    minimal: MinimalDistances
    certified: CertifiedCurve | None
    gradients: InputGradients
    surface: LossSurface | None
    warnings: tuple[str, ...] = ()
    command: str = ""
    environment: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    created: str = ""
    seconds: float = 0.0

    def save(self, path: str | Path) -> None:
        """Writes it as JSON, whole or not at all; arrays as float32 in base64."""
        save_record(path, self)

    @classmethod
    def load(cls, path: str | Path) -> Study:
        """Reads what `save` wrote.

        Raises:
            ValueError: The file holds something else, is damaged, or has a newer schema.
        """
        return load_record(cls, path)


def study(
    model: nn.Module,
    split: Split | Iterable[Any],
    threat: Threat,
    *,
    examples: int = 100,
    batch_size: int = 256,
    certificate: Certificate | None = IntervalBounds(),
    seed: int = 0,
    device: str | None = None,
    name: str | None = None,
    command: str = "",
    on_progress: Callable[[str], None] | None = None,
) -> Study:
    """Measures what the report draws besides the evaluation.

    Accuracy against steps (APGD on the cross-entropy; FMN in L0), restarts (5 of 20 steps) and
    queries (Square, 300); minimal distances (FMN, 100 steps; Pintor et al. 2021); certified
    accuracy against eps; input gradients; the loss surface. Inputs that attacks return are put
    back into the threat and shown to the untouched model, as in `evaluate`.

    Args:
        model: Maps inputs to logits `(batch, classes)`; left as it is.
        split: Usually `data.test`.
        threat: What the adversary may do, with an eps above 0.
        examples: How many, from the first; at most what the split has. 100 give intervals of
            16 points at an accuracy of 80 %.
        batch_size: Examples attacked at a time.
        certificate: What proves that examples hold, where it understands the model; None: nothing.
        seed: Of attacks and directions.
        device: Where to compute; None: CUDA where there is one. The model is moved there.
        name: What to call the model; None: its class.
        command: The command that repeats this, for the record.
        on_progress: Called with what is measured next, in words.

    Raises:
        ValueError: An argument does not fit, or the model has no gradients to follow.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.SoftmaxRegression(64, classes=10)
        >>> found = brolly.study(model, data.test, brolly.Linf(0.1), examples=4)
        >>> found.clean.total, [curve.kind for curve in found.budgets]
        (4, ['steps', 'restarts', 'queries'])
    """
    split = as_split(split, threat.bounds)
    check_extent(split, threat, min(examples, len(split)), batch_size)
    if not 0 < threat.eps < math.inf:
        raise ValueError(
            f"threat is {threat}; a study needs a finite eps above 0, for example {threat.kind}:0.1"
        )
    start = time.perf_counter()
    device = pick_device(device)
    model, guarded = model.to(device), Guarded(model)
    part = split.first(examples)
    x, y = part.scaled(part.read()).to(device), part.labels.to(device)
    is_random = Judge(guarded, seed=seed).is_random(x[:batch_size])
    judge = Judge(guarded, _SAMPLES if is_random else 1, seed)
    prediction = torch.cat([judge.predict(rows) for rows in x.split(batch_size)])
    right = prediction == y
    probe = Probe(guarded, judge, threat, x, y, right, batch_size, seed)
    tell = on_progress or (lambda stage: None)
    tell("accuracy against steps, restarts and queries")
    budgets = tuple(probe.budgets())
    tell("minimal distances")
    minimal = probe.minimal()
    tell("certified accuracy, gradients and the loss surface")
    measured = Study(
        model=ModelFacts(
            name or type(model).__name__,
            model_sha256(model),
            sum(parameter.numel() for parameter in model.parameters()),
        ),
        data=DataFacts(split.dataset, split.name, split.sha256, len(split), split.classes),
        threat=threat_text(threat),
        bounds=threat.bounds,
        seed=seed,
        clean=Count(int(right.sum()), len(y)),
        budgets=budgets,
        minimal=minimal,
        certified=None if is_random else probe.certified(model, certificate),
        gradients=probe.gradients(),
        surface=probe.surface(),
        command=command,
        environment=describe_environment(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    warnings = [f"the model raised on some inputs, which count as failures: {message}"
                for message in guarded.messages]  # fmt: skip
    if is_random:
        warnings.append(
            f"the model draws random numbers: verdicts are about the mean of {_SAMPLES} forward "
            "passes, but the searches saw one draw at a time, so accuracies are upper bounds that "
            "may be loose"
        )
    return dataclasses.replace(
        measured, warnings=tuple(warnings), seconds=time.perf_counter() - start
    )
