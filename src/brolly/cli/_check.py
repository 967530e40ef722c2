"""`brolly check`."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..evaluation import Evaluation


def check(
    run: Path,
    *,
    threat: str | None = None,
    min_clean: float | None = None,
    min_robust: float | None = None,
    min_certified: float | None = None,
    trusted: bool = False,
    junit: Path | None = None,
) -> int:
    """Compare the evaluations of a run with what is demanded; exits with 1 if one falls short.

    For continuous integration: nothing is computed, so `brolly evaluate` comes first.

    Parameters
    ----------
    run
        Run folder.
    threat
        Only evaluations against this threat, such as linf:0.1; all of them if not given.
    min_clean
        Least clean accuracy, such as 0.85.
    min_robust
        Least robust accuracy.
    min_certified
        Least certified accuracy.
    trusted
        Demand that every check passed.
    junit
        File for the outcome in JUnit's XML.
    """
    from .._files import write_text
    from ..report import read_run

    least = {"clean": min_clean, "robust": min_robust, "certified": min_certified}
    for name, value in least.items():
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"--min-{name} is {value:g}; expected a part such as 0.85")
    evaluations = _chosen(run, read_run(run).evaluations, threat)
    outcomes = [
        outcome for evaluation in evaluations for outcome in _outcomes(evaluation, least, trusted)
    ]
    for name, problem, found in outcomes:
        print(f"{'FAILED' if problem else 'passed'}  {name}: {problem or found}")
    if junit is not None:
        write_text(junit, _junit(outcomes))
    failed = sum(bool(problem) for _, problem, _ in outcomes)
    print(f"{failed} of {len(outcomes)} failed" if failed else f"all {len(outcomes)} passed")
    return 1 if failed else 0


def _chosen(run: Path, evaluations: list[Evaluation], threat: str | None) -> list[Evaluation]:
    from ..threats import parse_threat

    if not evaluations:
        raise ValueError(f"{run} has no evaluation yet; run `brolly evaluate {run}` first")
    if threat is None:
        return evaluations
    chosen = [e for e in evaluations if e.threat == parse_threat(threat, e.threat.bounds)]
    if not chosen:
        there = ", ".join(dict.fromkeys(str(e.threat) for e in evaluations))
        raise ValueError(f"{run} has no evaluation against {threat}, but against {there}")
    return chosen


def _outcomes(
    evaluation: Evaluation, least: dict[str, float | None], trusted: bool
) -> list[tuple[str, str, str]]:
    """What was demanded, what is wrong with it if something is, and what was found."""
    name = f"{evaluation.model.name} {evaluation.threat}"
    unfinished = "" if evaluation.complete else "the evaluation is not complete"
    outcomes = [(f"{name} complete", unfinished, f"n = {len(evaluation.index)}")]
    for what, value in least.items():
        if value is None:
            continue
        count = getattr(evaluation, what)
        problem = "" if count.rate >= value else f"{count} is less than {value:.2%}"
        outcomes.append((f"{name} {what} accuracy", problem, f"{count}, at least {value:.2%}"))
    if trusted:
        trust, why = evaluation.trust
        outcomes.append((f"{name} trusted", "" if trust == "trusted" else f"{trust}: {why}", why))
    return outcomes


def _junit(outcomes: list[tuple[str, str, str]]) -> str:
    failed = sum(bool(problem) for _, problem, _ in outcomes)
    cases = "".join(
        f'  <testcase classname="brolly" name="{escape(name)}">'
        + (f'<failure message="{escape(problem)}"/>' if problem else "")
        + f"<system-out>{escape(found)}</system-out></testcase>\n"
        for name, problem, found in outcomes
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<testsuite name="brolly check" tests="{len(outcomes)}" failures="{failed}">\n'
        f"{cases}</testsuite>\n"
    )
