"""How an evaluation begins, and how one that was begun before goes on."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from .._environment import describe_environment
from ..attacks import Attack
from ..data import Split
from ..threats import Threat
from ._evaluation import (
    HELD,
    PER_EXAMPLE,
    AttackRecord,
    DataFacts,
    Evaluation,
    ModelFacts,
    Precision,
)
from ._evidence import Evidence
from ._findings import Findings, Found
from ._judge import NO_PREDICTION, model_sha256
from ._work import SHOWN_AGAIN

_PLAIN = (str, int, float, bool, type(None))


def begin(
    model: nn.Module,
    split: Split,
    examples: int,
    threat: Threat,
    attacks: Sequence[Attack],
    seed: int,
    precision: Precision,
    samples: int,
    name: str,
    command: str,
) -> Evaluation:
    """An evaluation of the first `examples` of a split, none of which was looked at."""
    return Evaluation(
        threat=threat,
        model=ModelFacts(name, model_sha256(model), sum(p.numel() for p in model.parameters())),
        data=DataFacts(split.dataset, split.name, split.sha256, examples, split.classes),
        seed=seed,
        precision=precision,
        samples=samples,
        attacks=tuple(AttackRecord(attack.name, _settings(attack)) for attack in attacks),
        index=np.arange(examples),
        label=split.labels[:examples].cpu().numpy().copy(),
        clean_prediction=np.full(examples, NO_PREDICTION),
        adversarial_prediction=np.full(examples, NO_PREDICTION),
        broken_by=np.full(examples, HELD),
        distance=np.full(examples, np.nan),
        tried=np.full(examples, -1),
        queries=np.zeros(examples, dtype=np.int64),
        proved=np.zeros(examples, dtype=bool),
        command=command,
        environment=describe_environment(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    ).counted()


def go_on(saved: Evaluation, begun: Evaluation, path: Path) -> Evaluation:
    """The evaluation in the file, with the examples and attacks that `begun` has beyond it.

    Raises:
        ValueError: It is another evaluation.
    """
    shown = [record for record in saved.attacks if record.name.startswith(SHOWN_AGAIN)]
    old, new = _plan(saved.attacks[len(shown) :]), _plan(begun.attacks)
    common = min(len(old), len(new))
    differing = [
        what
        for what, same in (
            ("threat", saved.threat == begun.threat),
            ("model", saved.model.sha256 == begun.model.sha256),
            ("data", saved.data.sha256 == begun.data.sha256),
            ("seed", saved.seed == begun.seed),
            ("precision", saved.precision == begun.precision),
            ("attacks", old[:common] == new[:common]),
        )
        if not same
    ]
    if differing:
        raise ValueError(
            f"{path} holds an evaluation with another {', another '.join(differing)}; it was left "
            "as it is. Move it away, or save to another file"
        )
    more = len(begun.index) > len(saved.index)
    if not more and len(new) <= len(old):
        return saved
    examples: dict[str, Any] = {
        name: np.concatenate([getattr(saved, name), getattr(begun, name)[len(saved.index) :]])
        for name in PER_EXAMPLE
    }
    return dataclasses.replace(
        saved,
        **examples,
        data=begun.data if more else saved.data,
        attacks=(*saved.attacks, *begun.attacks[len(old) :]),
        command=begun.command,
        curve=(),
        pictures=(),
        checks=(),
        checked="",
        complete=False,
    ).counted()


def restore(state: Evaluation, findings: Findings, proof: Path | None) -> Evaluation:
    """Makes findings and verdicts agree again, after a process was killed or has ended.

    Findings without a verdict are dropped; verdicts without a finding are taken back.
    """
    kinds = [str(number) for number in range(len(state.attacks))]
    if proof is not None and proof.is_file() and not any(findings.of("clean")):
        _take_from(Evidence.load(proof), state, findings)
    findings.keep_only("clean", lambda found: state.tried[found.index] >= 0)
    for number, kind in enumerate(kinds):
        findings.keep_only(kind, lambda found, n=number: state.broken_by[found.index] == n)
    seen = _positions(findings, ["clean"])
    there = _positions(findings, kinds)
    lost = (state.tried >= 0) & (
        ~np.isin(state.index, seen) | ((state.broken_by >= 0) & ~np.isin(state.index, there))
    )
    return dataclasses.replace(
        state,
        tried=np.where(lost, -1, state.tried),
        broken_by=np.where(lost, HELD, state.broken_by),
        proved=state.proved & ~lost,
    ).counted()


def _take_from(evidence: Evidence, state: Evaluation, findings: Findings) -> None:
    """Findings of an evaluation that had ended, from its evidence."""
    old = evidence.evaluation
    if old.model.sha256 != state.model.sha256 or old.data.sha256 != state.data.sha256:
        return
    nothing = evidence.clean_logits[:, :0]
    findings.add("clean", Found(old.index, nothing, evidence.clean_logits))
    found = Found(evidence.adversarial_index, evidence.adversarial, evidence.adversarial_logits)
    by = old.broken_by[np.searchsorted(old.index, found.index)]
    for number in range(len(old.attacks)):
        findings.add(str(number), found.where(by == number))


def _positions(findings: Findings, kinds: Sequence[str]) -> np.ndarray:
    parts = [part.index for kind in kinds for part in findings.of(kind)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _plan(records: Sequence[AttackRecord]) -> list[tuple[str, dict[str, Any]]]:
    return [(record.name, dict(record.settings)) for record in records]


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
