"""Several evaluations beside each other."""

from __future__ import annotations

from collections.abc import Sequence

from ..evaluation import Evaluation
from . import _words


def comparison_finding(labels: Sequence[str], evaluations: Sequence[Evaluation]) -> str:
    """Which one holds best, and whether chance could have put it first."""
    ranked = sorted(
        zip(labels, evaluations, strict=True), key=lambda pair: -pair[1].robust.rate
    )  # stable: equals keep their order
    if len(ranked) < 2 or differences(evaluations, aspects=("threats",)):
        return ""
    (best, first), (next_best, second) = ranked[:2]
    apart = first.robust.interval[0] > second.robust.interval[1]
    doubt = "" if apart else " The intervals overlap, so chance may have set the order."
    if not all(evaluation.complete for evaluation in evaluations):
        doubt += " Not every evaluation is complete."
    return (
        f"{best} withstands the most: {_words.percent(first.robust.rate)} "
        f"{_words.interval(first.robust)}, against {_words.percent(second.robust.rate)} "
        f"{_words.interval(second.robust)} for {next_best}.{doubt}"
    )


def differences(
    evaluations: Sequence[Evaluation],
    aspects: Sequence[str] = ("threats", "examples", "attacks"),
) -> list[str]:
    """In which aspects the evaluations differ, so that their numbers do not compare directly."""
    seen = {
        "threats": {(str(e.threat), e.threat.bounds) for e in evaluations},
        "examples": {(e.data.sha256, e.index.tobytes()) for e in evaluations},
        "attacks": {repr([(a.name, dict(a.settings)) for a in e.attacks]) for e in evaluations},
    }
    return [aspect for aspect in aspects if len(seen[aspect]) > 1]
