"""One run as others list models: a RobustBench entry, and a Hugging Face model card."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import yaml

from ..evaluation import Count, Evaluation
from ..threats import Threat
from . import _words
from ._results import RunResults
from ._summary import markdown

#: AutoAttack's members; only what they all met may be called its accuracy.
_AUTOATTACK = ("apgd-ce", "apgd-t", "fab-t", "square")
_DATASETS = {"cifar-10": "cifar10", "cifar-100": "cifar100"}


def robustbench(runs: Sequence[RunResults]) -> dict[str, Any]:
    """The entry of one run for RobustBench's `model_info/<dataset>/<threat>/<name>.json`.

    Accuracies are percentages as text. What the run does not know (paper, authors, venue) is null,
    and so is `autoattack_acc` unless all of AutoAttack's attacks met every example.

    Raises:
        ValueError: There is not exactly one run, or it has no complete evaluation.
    """
    run, evaluation = _one(runs)
    met = {attack.name for attack in evaluation.attacks}
    robust = _percentage(evaluation.robust)
    return {
        "link": None,
        "name": run.name,
        "authors": None,
        "additional_data": None,
        "number_forward_passes": evaluation.samples,
        "dataset": _DATASETS.get(evaluation.data.name, evaluation.data.name),
        "venue": None,
        "architecture": _architecture(run, evaluation),
        "eps": _eps(evaluation.threat),
        "clean_acc": _percentage(evaluation.clean),
        "reported": robust,
        "autoattack_acc": robust if met.issuperset(_AUTOATTACK) else None,
        "footnote": _footnote(evaluation),
        "unreliable": evaluation.trust[0] == "broken",
    }


def model_card(runs: Sequence[RunResults]) -> str:
    """README.md of one run for the Hugging Face hub: metadata in YAML, then the numbers.

    Raises:
        ValueError: There is not exactly one run, or it has no complete evaluation.
    """
    run, _ = _one(runs)
    evaluations = [evaluation for evaluation in run.evaluations if evaluation.complete]
    metadata = {
        "library_name": "pytorch",
        "pipeline_tag": "image-classification" if _sees_images(evaluations[-1]) else None,
        "tags": ["adversarial-robustness", "brolly"],
        "datasets": sorted({evaluation.data.name for evaluation in evaluations}),
        "metrics": ["accuracy"],
        "model-index": [
            {"name": run.name, "results": [_result(evaluation) for evaluation in evaluations]}
        ],
    }
    known = {name: value for name, value in metadata.items() if value is not None}
    front = yaml.safe_dump(known, sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n{markdown(runs)}"


def _one(runs: Sequence[RunResults]) -> tuple[RunResults, Evaluation]:
    """The run, and its complete evaluation with the most examples, the latest of equals."""
    if len(runs) != 1:
        raise ValueError(f"this format is about one run; expected 1, got {len(runs)}")
    complete = [evaluation for evaluation in runs[0].evaluations if evaluation.complete]
    if not complete:
        raise ValueError(
            f"{runs[0].name} has no complete evaluation to publish; run brolly evaluate "
            f"{runs[0].folder or 'RUN'} first"
        )
    return runs[0], max(reversed(complete), key=lambda evaluation: len(evaluation.index))


def _result(evaluation: Evaluation) -> dict[str, Any]:
    task = "image-classification" if _sees_images(evaluation) else "other"
    threat, attacks = str(evaluation.threat), ", ".join(a.name for a in evaluation.attacks)
    metrics = [
        _metric("Clean accuracy", evaluation.clean),
        _metric(f"Robust accuracy ({threat}; {attacks}), upper bound", evaluation.robust),
    ]
    if evaluation.certificate:
        name = f"Certified accuracy ({threat}; {evaluation.certificate}), lower bound"
        metrics.append(_metric(name, evaluation.certified))
    return {
        "task": {"type": task},
        "dataset": {
            "name": evaluation.data.name,
            "type": evaluation.data.name,
            "split": evaluation.data.split,
        },
        "metrics": metrics,
    }


def _metric(name: str, count: Count) -> dict[str, Any]:
    low, high = count.interval
    return {
        "type": "accuracy",
        "name": name,
        "value": round(count.hits / max(count.total, 1), 6),
        "args": {"n": count.total, "interval_95": [round(low, 6), round(high, 6)]},
    }


def _sees_images(evaluation: Evaluation) -> bool:
    return any(len(picture.clean.shape) == 3 for picture in evaluation.pictures)


def _percentage(count: Count) -> str | None:
    return f"{100 * count.rate:.2f}" if count.total else None


def _eps(threat: Threat) -> str:
    """`8/255` where it is such a fraction, else the number."""
    steps = Fraction(threat.eps * 255).limit_denominator(1)
    if threat.kind == "linf" and steps and abs(float(steps) / 255 - threat.eps) < 1e-6:
        return f"{steps}/255"
    return f"{threat.eps:.6g}"


def _architecture(run: RunResults, evaluation: Evaluation) -> str:
    entry = run.recipe.get("model")
    return _words.named(entry) if entry else evaluation.model.name


def _footnote(evaluation: Evaluation) -> str:
    attacks = ", ".join(attack.name for attack in evaluation.attacks) or "no attack"
    trust, reason = evaluation.trust
    return " ".join(
        f"{evaluation.threat} with {attacks}; clean {_words.rate(evaluation.clean)}, robust "
        f"{_words.rate(evaluation.robust)}, n = {len(evaluation.index)}, the first of "
        f"{evaluation.data.name}/{evaluation.data.split}, seed {evaluation.seed}; {trust}: "
        f"{reason.rstrip('.')}; {evaluation.command}".split()
    ).rstrip("; ")
