"""Attack a model, example by example, and write down what happened."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .._device import pick_device
from .._environment import describe_environment
from ..attacks import APGD, APGDTargeted, Attack, AttackResult, Cost
from ..attacks._standard import members
from ..data import Dataset, Split
from ..models import PROBABILITIES, are_probabilities, fold_batchnorm
from ..threats import Threat, parse_threat
from ._curve import CURVE_ATTACK, robustness_curve
from ._evaluation import (
    HELD,
    WRONG,
    AttackRecord,
    DataFacts,
    Evaluation,
    ModelFacts,
    Picture,
    Precision,
)
from ._judge import NO_PREDICTION, Judge, model_sha256

_PICTURES = 12
_PLAIN = (str, int, float, bool, type(None))


def default_attacks(threat: Threat) -> tuple[Attack, ...]:
    """APGD on the cross-entropy, then on the targeted DLR loss (Croce & Hein 2020)."""
    return APGD(threat), APGDTargeted(threat)


def evaluate(
    model: nn.Module,
    split: Split,
    threat: Threat,
    *,
    attacks: Attack | Sequence[Attack] | None = None,
    examples: int | None = None,
    batch_size: int = 256,
    curve_examples: int = 500,
    seed: int = 0,
    precision: Precision = "float32",
    device: str | None = None,
    name: str | None = None,
    command: str = "",
    save_to: str | Path | None = None,
    on_progress: Callable[[Evaluation], None] | None = None,
) -> Evaluation:
    """Measures clean and robust accuracy.

    The attacks follow each other; each meets the examples that still stand. Every input they
    return is put back into the threat and shown to the untouched model, in eval mode and full
    precision; only that counts. NaN logits are failures of the model. The verdict of an example
    depends on the seed and its position in the split, not on the batch size.

    Args:
        model: Maps inputs to logits `(batch, classes)`; left as it is.
        split: What to attack, in its stored order; usually `data.test`.
        threat: What the adversary may do.
        attacks: In this order; an ensemble stands for its members. None:
            `default_attacks(threat)`. Their threats must be `threat`.
        examples: How many, from the first; None: all.
        batch_size: Examples attacked at a time.
        curve_examples: Examples for robust accuracy against eps; 0: no curve.
        seed: Of every attack.
        precision: `bfloat16` searches under autocast, which is two to three times as fast where
            the hardware has it. In both, the search runs on a copy with BatchNorm folded into the
            layers before it. Verdicts come from the untouched model in float32, and an example
            whose success they do not confirm is searched again on that.
        device: Where to compute; None: CUDA where there is one. The model is moved there.
        name: What to call the model; None: its class.
        command: The command that repeats this, for the record.
        save_to: A JSON file that keeps the evaluation after every batch. If it holds the same
            evaluation, begun before, that one is continued, and ends the same.
        on_progress: Called with the evaluation so far, after every batch.

    Raises:
        ValueError: An argument does not fit, or `save_to` holds a different evaluation.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.SoftmaxRegression(64, classes=10)
        >>> history = brolly.fit(model, data, epochs=2)
        >>> result = brolly.evaluate(model, data.test, brolly.Linf(0.1), examples=50)
        >>> result.robust.hits <= result.clean.hits
        True
    """
    attacks = default_attacks(threat) if attacks is None else members(attacks)
    _check_arguments(split, threat, attacks, examples, batch_size, curve_examples)
    device = pick_device(device)
    split = split if examples is None else split.first(examples)
    model = model.to(device)
    work = _Work(model, _twin(model), split, threat, attacks, seed, batch_size, precision, device)
    begun = _begin(work, name or type(model).__name__, command)
    saved = _continue(begun, save_to)
    if saved is not None and saved.complete:
        return saved
    evaluation = begun if saved is None else saved
    if saved is None:
        evaluation = work.look_at_clean(evaluation)

    def keep(evaluation: Evaluation) -> Evaluation:
        if save_to is not None:
            evaluation.save(save_to)
        if on_progress is not None:
            on_progress(evaluation)
        return evaluation

    keep(evaluation)
    for number in range(len(attacks)):
        while evaluation.attacks[number].done < len(split):
            evaluation = keep(work.next_batch(evaluation, number))
    if curve_examples:
        evaluation = work.draw_curve(evaluation, curve_examples)
    return keep(dataclasses.replace(evaluation, complete=True))


@dataclasses.dataclass(frozen=True)
class _Work:
    """What an evaluation is made of; its methods each add a piece to an `Evaluation`."""

    model: nn.Module
    twin: nn.Module  # what the search runs on
    split: Split
    threat: Threat
    attacks: tuple[Attack, ...]
    seed: int
    batch_size: int
    precision: Precision
    device: str

    def inputs(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        x = self.split.scaled(self.split.inputs[rows]).to(self.device)
        return x, self.split.labels[rows].to(self.device)

    def look_at_clean(self, evaluation: Evaluation) -> Evaluation:
        """Predictions without an adversary."""
        judge, predictions, probable = Judge(self.model), [], True
        for rows in torch.arange(len(self.split)).split(self.batch_size):
            logits = judge.logits(self.inputs(rows)[0])
            predictions.append(
                logits.argmax(1).masked_fill(logits.isnan().any(1), NO_PREDICTION).cpu()
            )
            probable = probable and are_probabilities(logits)
            _check_classes(self.split, logits.shape[1])
        prediction = torch.cat(predictions).numpy()
        wrong = prediction != evaluation.label
        nan = int((prediction == NO_PREDICTION).sum())
        warnings = [PROBABILITIES] if probable else []
        warnings += [f"{nan} clean inputs give NaN logits; they count as wrong"] if nan else []
        return dataclasses.replace(
            evaluation,
            clean_prediction=prediction,
            adversarial_prediction=prediction.copy(),
            broken_by=np.where(wrong, WRONG, HELD),
            distance=np.where(wrong, 0.0, np.nan),
            warnings=tuple(warnings),
        )

    def next_batch(self, evaluation: Evaluation, number: int) -> Evaluation:
        """The next examples that stand meet the `number`-th attack."""
        record = evaluation.attacks[number]
        standing = np.flatnonzero(evaluation.broken_by == HELD)
        chosen = standing[standing >= record.done][: self.batch_size]
        more = len(standing[standing >= record.done]) > self.batch_size
        done = int(chosen[-1]) + 1 if more else len(self.split)
        if len(chosen) == 0:
            return _with_record(evaluation, number, dataclasses.replace(record, done=done))
        rows = torch.from_numpy(chosen)
        x, y = self.inputs(rows)
        found, cost, refuted = self._search(number, x, y, rows)
        found = self.threat.project(found, x)
        broken, prediction = Judge(self.model).breaks(self.threat, x, y, found)
        distance = self.threat.distance(found, x)
        record = dataclasses.replace(
            record,
            done=done,
            broke=record.broke + int(broken.sum()),
            cost=record.cost + cost,
        )
        evaluation = _with_record(evaluation, number, record)
        if refuted:
            note = (
                f"{record.name} claimed {refuted} successes in a batch that the evaluator refuted"
            )
            evaluation = dataclasses.replace(evaluation, warnings=(*evaluation.warnings, note))
        hits = broken.nonzero()[:, 0]
        return _break(
            evaluation, number, chosen[hits.cpu().numpy()], prediction[hits], distance[hits],
            x[hits], found[hits],
        )  # fmt: skip

    def _search(self, number: int, x: Tensor, y: Tensor, rows: Tensor) -> tuple[Tensor, Cost, int]:
        """What an attack finds, its cost, and how many of its successes are none."""
        low = self.precision == "bfloat16"
        result = self._attack(self.twin, number, x, y, rows, low)
        broken = Judge(self.model).breaks(self.threat, x, y, result.x)[0]
        refuted = (result.success & ~broken).nonzero()[:, 0]
        if len(refuted) == 0 or not (low or self.twin is not self.model):
            return result.x, result.cost, len(refuted)
        again = self._attack(self.model, number, x[refuted], y[refuted], rows[refuted.cpu()], False)
        broken = Judge(self.model).breaks(self.threat, x[refuted], y[refuted], again.x)[0]
        found = result.x.index_copy(0, refuted, again.x)
        return found, result.cost + again.cost, int((again.success & ~broken).sum())

    def _attack(
        self, model: nn.Module, number: int, x: Tensor, y: Tensor, rows: Tensor, low: bool
    ) -> AttackResult:
        generator = torch.Generator().manual_seed(self.seed)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=low):
            return self.attacks[number](
                model, x, y, generator=generator, index=rows.to(self.device)
            )

    def draw_curve(self, evaluation: Evaluation, examples: int) -> Evaluation:
        """Robust accuracy against eps on the first examples."""
        part = self.split.first(examples)
        verdict = torch.from_numpy(evaluation.broken_by[: len(part)])
        curve = robustness_curve(
            self.model, part, self.threat, verdict != WRONG, verdict == HELD,
            seed=self.seed, batch_size=self.batch_size, device=self.device,
        )  # fmt: skip
        return dataclasses.replace(evaluation, curve=curve, curve_attack=CURVE_ATTACK)


def _twin(model: nn.Module) -> nn.Module:
    """A faster copy to search on, or the model itself where it cannot be copied."""
    try:
        return fold_batchnorm(model)
    except Exception:  # the user's module may refuse a copy in any way
        return model


def _begin(work: _Work, name: str, command: str) -> Evaluation:
    count, split = len(work.split), work.split
    return Evaluation(
        threat=work.threat,
        model=ModelFacts(
            name, model_sha256(work.model), sum(p.numel() for p in work.model.parameters())
        ),
        data=DataFacts(split.dataset, split.name, split.sha256, count, split.classes),
        seed=work.seed,
        precision=work.precision,
        attacks=tuple(AttackRecord(attack.name, _settings(attack)) for attack in work.attacks),
        index=np.arange(count),
        label=split.labels.cpu().numpy(),
        clean_prediction=np.full(count, NO_PREDICTION),
        adversarial_prediction=np.full(count, NO_PREDICTION),
        broken_by=np.full(count, HELD),
        distance=np.full(count, np.nan),
        proved=np.zeros(count, dtype=bool),
        command=command,
        environment=describe_environment(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _continue(begun: Evaluation, path: str | Path | None) -> Evaluation | None:
    """The evaluation in the file, if it is the one begun here."""
    if path is None or not Path(path).is_file():
        return None
    saved = Evaluation.load(path)
    differing = [
        what
        for what, old, new in (
            ("threat", saved.threat, begun.threat),
            ("model", saved.model.sha256, begun.model.sha256),
            ("data", saved.data.sha256, begun.data.sha256),
            ("seed", saved.seed, begun.seed),
            ("precision", saved.precision, begun.precision),
            ("attacks", _plan(saved), _plan(begun)),
        )
        if old != new
    ]
    if differing:
        raise ValueError(
            f"{path} holds an evaluation with another {', another '.join(differing)}; it was left "
            "as it is. Move it away, or save to another file"
        )
    return saved


def _plan(evaluation: Evaluation) -> list[tuple[str, dict[str, Any]]]:
    return [(attack.name, dict(attack.settings)) for attack in evaluation.attacks]


def _settings(attack: Attack) -> dict[str, Any]:
    """Arguments as JSON can hold them; those of an attack inside stand beside the others."""
    settings: dict[str, Any] = {}
    for field in dataclasses.fields(attack):
        value = getattr(attack, field.name)
        if isinstance(value, Attack):
            settings |= _settings(value)
        elif isinstance(value, nn.Module):
            settings[field.name] = f"{type(value).__name__} {model_sha256(value)[:16]}"
        elif field.name != "threat":
            settings[field.name] = value if isinstance(value, _PLAIN) else repr(value)
    return settings


def _with_record(evaluation: Evaluation, number: int, record: AttackRecord) -> Evaluation:
    attacks = list(evaluation.attacks)
    attacks[number] = record
    return dataclasses.replace(evaluation, attacks=tuple(attacks))


def _break(
    evaluation: Evaluation, number: int, rows: np.ndarray, prediction: Tensor, distance: Tensor,
    clean: Tensor, adversarial: Tensor,
) -> Evaluation:  # fmt: skip
    broken_by, adversarial_prediction = (
        evaluation.broken_by.copy(),
        evaluation.adversarial_prediction.copy(),
    )
    distances = evaluation.distance.copy()
    broken_by[rows] = number
    adversarial_prediction[rows] = prediction.cpu().numpy()
    distances[rows] = distance.double().cpu().numpy()
    pictures = [
        Picture(
            index=int(row),
            label=int(evaluation.label[row]),
            clean_prediction=int(evaluation.clean_prediction[row]),
            adversarial_prediction=int(adversarial_prediction[row]),
            clean=clean[k].float().cpu().numpy(),
            adversarial=adversarial[k].float().cpu().numpy(),
        )
        for k, row in enumerate(rows[: max(_PICTURES - len(evaluation.pictures), 0)])
    ]
    return dataclasses.replace(
        evaluation,
        broken_by=broken_by,
        adversarial_prediction=adversarial_prediction,
        distance=distances,
        pictures=(*evaluation.pictures, *pictures),
    )


def _check_arguments(
    split: Split,
    threat: Threat,
    attacks: Sequence[Attack],
    examples: int | None,
    batch_size: int,
    curve_examples: int,
) -> None:
    if isinstance(split, Dataset):
        raise ValueError("expected a split, got the whole data set; pass data.test")
    if examples is not None and not 1 <= examples <= len(split):
        raise ValueError(
            f"examples is {examples}; {split.dataset}/{split.name} has {len(split)}, so expected "
            f"1 to {len(split)}"
        )
    if batch_size < 1 or curve_examples < 0:
        raise ValueError(
            f"batch_size is {batch_size}, curve_examples is {curve_examples}; expected 1 or more "
            "and 0 or more"
        )
    if len(split) == 0:
        raise ValueError(f"{split.dataset}/{split.name} is empty; expected examples to attack")
    if math.isinf(threat.eps):
        raise ValueError(
            f"threat is {threat}, which everything lies in; give a radius, for example "
            f"{threat.kind}:0.1. Distances without a limit: call the attack itself"
        )
    if parse_threat(f"{threat.kind}:{threat.eps!r}", threat.bounds) != threat:
        raise ValueError(
            f"{threat!r} has no text form, so its evaluation could not be read back; expected a "
            "plain Linf, L2, L1 or L0. Call the attack itself"
        )
    if not attacks:
        raise ValueError("attacks is empty; expected at least one, or None for the default")
    for attack in attacks:
        if attack.threat != threat:
            raise ValueError(
                f"{attack.name} attacks inside {attack.threat!r}, but the evaluation is for "
                f"{threat!r}; give both the same threat"
            )


def _check_classes(split: Split, classes: int) -> None:
    if classes < len(split.classes):
        raise ValueError(
            f"the model returns {classes} logits, but {split.dataset} has {len(split.classes)} "
            "classes; expected one logit per class"
        )
