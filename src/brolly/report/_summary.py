"""The numbers of a report without the page: for machines, and as Markdown."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from ..evaluation import Count, Evaluation, Measures, Study
from . import _words
from ._ladder import ladder
from ._results import RunResults

SCHEMA = 1


def summary(runs: Sequence[RunResults]) -> dict[str, Any]:
    """Everything that a table of results needs, as JSON has it.

    Rates are parts of 1 and carry `hits`, `total` and the 95 % Wilson interval `low` to `high`.
    """
    return {"schema": SCHEMA, "runs": [_run(run) for run in runs]}


def markdown(runs: Sequence[RunResults]) -> str:
    """The same numbers for people, as a page of Markdown."""
    parts = [f"# Robustness of {_words.listed([_plain(run.name) for run in runs])}"]
    for run in runs:
        parts += [f"## {_plain(run.name)}"] if len(runs) > 1 else []
        for evaluation in run.evaluations:
            parts += _evaluation_text(evaluation)
        if not run.evaluations:
            folder = run.folder or "RUN"
            parts.append(f"Not evaluated yet: `brolly evaluate {_plain(folder)}`.")
        for study in run.studies:
            parts += _study_text(study)
        for measures in run.measures:
            parts += _measures_text(measures)
    parts.append(
        "Brackets are 95% intervals. Robust accuracy counts the examples that no attack broke: an "
        "upper bound. Certified accuracy counts those that are proved to hold: a lower bound."
    )
    return "\n\n".join(parts) + "\n"


def count_json(count: Count) -> dict[str, Any]:
    """A count with its rate and interval; the rate of none is null."""
    low, high = count.interval
    rate = count.rate if count.total else None
    return {"rate": rate, "low": low, "high": high, "hits": count.hits, "total": count.total}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown; cells are made safe."""
    lines = [head, ["---"] * len(head), *[[_plain(cell) for cell in row] for row in rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _run(run: RunResults) -> dict[str, Any]:
    return {
        "name": run.name,
        "objective": _words.named(run.recipe.get("objective")),
        "training_seconds": run.metrics[-1].get("seconds") if run.metrics else None,
        "evaluations": [_evaluation_json(evaluation) for evaluation in run.evaluations],
        "studies": [_study_json(study) for study in run.studies],
        "measures": [_measures_json(measures) for measures in run.measures],
    }


def _evaluation_json(evaluation: Evaluation) -> dict[str, Any]:
    trust, reason = evaluation.trust
    return {
        "threat": {"text": str(evaluation.threat), "kind": evaluation.threat.kind,
                   "eps": evaluation.threat.eps, "bounds": list(evaluation.threat.bounds)},
        "model": dataclasses.asdict(evaluation.model),
        "data": dataclasses.asdict(evaluation.data),
        "n": len(evaluation.index),
        "seed": evaluation.seed,
        "complete": evaluation.complete,
        "clean": count_json(evaluation.clean),
        "robust": count_json(evaluation.robust),
        "certified": {**count_json(evaluation.certified), "certificate": evaluation.certificate},
        "trust": trust,
        "trust_reason": reason,
        "checks": [dataclasses.asdict(check) for check in evaluation.checks],
        "attacks": [
            {"name": rung.name, "settings": rung.settings, "met": rung.met, "broke": rung.broke,
             "gain": rung.gain, "left": count_json(rung.left), "forwards": rung.forwards,
             "backwards": rung.backwards, "seconds": rung.seconds}
            for rung in ladder(evaluation)
        ],
        "curve": [{"eps": p.eps, **count_json(p.robust)} for p in evaluation.curve],
        "curve_attack": evaluation.curve_attack,
        "warnings": list(evaluation.warnings),
        "command": evaluation.command,
        "created": evaluation.created,
    }  # fmt: skip


def _study_json(study: Study) -> dict[str, Any]:
    return {
        "threat": study.threat,
        "n": study.clean.total,
        "seed": study.seed,
        "budgets": [
            {"kind": curve.kind, "attack": curve.attack,
             "points": [{"budget": p.budget, **count_json(p.robust)} for p in curve.points]}
            for curve in study.budgets
        ],
        "minimal_distances": dataclasses.asdict(study.minimal),
        "certified": None if study.certified is None else {
            "certificate": study.certified.certificate,
            "points": [{"eps": p.eps, **count_json(p.robust)} for p in study.certified.points],
        },
        "command": study.command,
    }  # fmt: skip


def _measures_json(measures: Measures) -> dict[str, Any]:
    found = measures.calibration
    corruptions = measures.corruptions
    return {
        "threat": measures.threat,
        "attack": measures.attack,
        "seed": measures.seed,
        "calibration": {
            name: {
                "n": each.accuracy.total,
                "temperature": each.temperature,
                **{key: dataclasses.asdict(getattr(each, key))
                   for key in ("ece", "ece_mass", "nll", "brier")},
            }
            for name, each in (
                ("clean", found.clean), ("adversarial", found.adversarial),
                ("scaled_clean", found.scaled_clean),
                ("scaled_adversarial", found.scaled_adversarial),
            )
        },
        "aurc": {
            "clean": dataclasses.asdict(measures.selective_clean.aurc),
            "adversarial": dataclasses.asdict(measures.selective_adversarial.aurc),
        },
        "corruptions": None if corruptions is None else {
            "suite": corruptions.suite,
            "n": corruptions.clean.total,
            "mean_error": dataclasses.asdict(corruptions.mean_error),
            "errors": {kind: corruptions.error(kind) for kind in corruptions.kinds},
        },
        "command": measures.command,
    }  # fmt: skip


def _evaluation_text(evaluation: Evaluation) -> list[str]:
    trust, reason = evaluation.trust
    alarms = [check for check in evaluation.checks if check.status in ("warn", "fail")]
    parts = [
        f"### {_words.short(evaluation.threat)}",
        f"{_plain(evaluation.model.name)} on {_plain(evaluation.data.name)}/"
        f"{_plain(evaluation.data.split)}, {_words.number(len(evaluation.index))}, seed "
        f"{evaluation.seed}{'' if evaluation.complete else '; **partial**'}. "
        f"{_words.allowed(evaluation.threat)}",
        table(
            ["Clean accuracy", "Robust accuracy at most", "Robust accuracy at least (certified)"],
            [[_words.rate(c) for c in (evaluation.clean, evaluation.robust, evaluation.certified)]],
        ),
        f"**{trust.capitalize()}**: {_plain(reason).rstrip('.')}.",
    ]
    parts += [f"- {check.status}: {check.name}: {_plain(check.verdict)}" for check in alarms]
    parts += [f"- Warning: {_plain(warning)}" for warning in evaluation.warnings]
    if evaluation.attacks:
        rows = [
            [rung.name, rung.settings, f"{rung.met:,}", f"{rung.broke:,}",
             _words.points(rung.gain), _words.rate(rung.left), _words.duration(rung.seconds)]
            for rung in ladder(evaluation)
        ]  # fmt: skip
        parts.append(
            table(["Attack", "Settings", "Met", "Broke", "Gain", "Left standing", "Time"], rows)
        )
    if evaluation.curve:
        rows = [
            [f"{p.eps:.4g}", _words.rate(p.robust), f"{p.robust.total:,}"] for p in evaluation.curve
        ]
        parts.append(table(["ε", "Robust accuracy", "n"], rows))
    parts += [f"Repeat: `{_plain(evaluation.command)}`"] if evaluation.command else []
    return parts


def _study_text(study: Study) -> list[str]:
    rows = [
        [f"{curve.attack}: {curve.kind} {point.budget:,}", _words.rate(point.robust)]
        for curve in study.budgets
        for point in curve.points
    ]
    parts = [
        f"### What attacks may spend, {_plain(study.threat)}",
        f"{_words.number(study.clean.total)}, seed {study.seed}.",
        table(["Attack and budget", "Robust accuracy"], rows),
    ]
    if study.certified is not None:
        rows = [[f"{p.eps:.4g}", _words.rate(p.robust)] for p in study.certified.points]
        parts.append(table(["ε", f"Certified accuracy ({study.certified.certificate})"], rows))
    parts += [f"Repeat: `{_plain(study.command)}`"] if study.command else []
    return parts


def _measures_text(measures: Measures) -> list[str]:
    found = measures.calibration
    rows = [
        [name, f"{each.accuracy.total:,}", *map(_words.estimate, (each.ece, each.nll, each.brier))]
        for name, each in (("clean", found.clean), (f"adversarial ({measures.threat})",
                                                    found.adversarial))
    ]  # fmt: skip
    parts = [
        "### More than adversaries",
        table(["Calibration on", "n", "ECE", "NLL", "Brier"], rows),
    ]
    if (corruptions := measures.corruptions) is not None:
        parts.append(
            f"Mean corruption error {_words.estimate(corruptions.mean_error)} "
            f"under {corruptions.suite}, "
            f"{_words.number(corruptions.clean.total)}."
        )
    parts += [f"Repeat: `{_plain(measures.command)}`"] if measures.command else []
    return parts


def _plain(text: str) -> str:
    """Text of a file as Markdown that is only text: one line, and no HTML, tables or code."""
    for old, new in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "&#124;"), ("`", "'")):
        text = text.replace(old, new)
    return " ".join(text.split())
