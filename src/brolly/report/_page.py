"""Run results, arranged for the page."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import yaml

from ..evaluation import Evaluation
from . import _words
from ._compare import comparison_finding, differences
from ._confusion import Confusion, confusions
from ._eps_curve import CurveFigure, Look, curve_figure
from ._ladder import Rung, ladder, ladder_finding
from ._learning import Learning, learning
from ._pictures import Gallery, gallery
from ._results import RunResults
from ._svg import DASHES, HUES, MARKERS


@dataclasses.dataclass(frozen=True)
class EvaluationView:
    """One evaluation and what is drawn of it."""

    key: str
    label: str
    look: Look
    result: Evaluation
    rungs: tuple[Rung, ...]
    finding: str
    gallery: Gallery
    confusions: tuple[Confusion, Confusion]
    environment: list[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class RunView:
    """One run and what is drawn of it."""

    key: str
    label: str
    look: Look
    run: RunResults
    evaluations: tuple[EvaluationView, ...]
    learning: Learning | None
    objective: str
    seconds: float | None
    evaluate_command: str
    recipe: str
    environment: list[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class CurveView:
    """A curve figure and the evaluations on it."""

    figure: CurveFigure
    lines: tuple[EvaluationView, ...]


@dataclasses.dataclass(frozen=True)
class Page:
    """Everything the template shows."""

    title: str
    runs: tuple[RunView, ...]
    curves: tuple[CurveView, ...]
    finding: str
    differences: list[str]

    @property
    def many(self) -> bool:
        return len(self.runs) > 1


def page(runs: Sequence[RunResults]) -> Page:
    """Arranges the results of one or several runs."""
    labels = _distinct([run.name for run in runs])
    views = tuple(
        _run_view(f"r{number}", label, _look(number, len(runs)), run)
        for number, (label, run) in enumerate(zip(labels, runs, strict=True))
    )
    lines = [view for run in views for view in run.evaluations]
    results = [line.result for line in lines]
    return Page(
        title=_words.listed(labels),
        runs=views,
        curves=_curves(lines),
        finding=comparison_finding([line.label for line in lines], results),
        differences=differences(results),
    )


def _run_view(key: str, label: str, look: Look, run: RunResults) -> RunView:
    return RunView(
        key=key,
        label=label,
        look=look,
        run=run,
        evaluations=_evaluation_views(key, label, look, run.evaluations),
        learning=learning(f"{key}-learning", run.metrics),
        objective=_words.named(run.recipe.get("objective")),
        seconds=run.metrics[-1].get("seconds") if run.metrics else None,
        evaluate_command=f"brolly evaluate {run.folder or '<folder of the run>'}",
        recipe=_recipe_text(run.recipe),
        environment=_words.rows(run.environment),
    )


def _evaluation_views(
    key: str, label: str, look: Look, evaluations: Sequence[Evaluation]
) -> tuple[EvaluationView, ...]:
    alone = len(evaluations) == 1
    threats = _distinct([_words.short(evaluation.threat) for evaluation in evaluations])
    return tuple(
        EvaluationView(
            key=f"{key}-e{number}",
            label=label if alone else f"{label}, {threat}",
            look=look if number == 0 else dataclasses.replace(
                look, dash=DASHES[number % len(DASHES)], marker=MARKERS[number % len(MARKERS)]
            ),
            result=result,
            rungs=ladder(result),
            finding=ladder_finding(result),
            gallery=gallery(result),
            confusions=confusions(result),
            environment=_words.rows(result.environment),
        )
        for number, (threat, result) in enumerate(zip(threats, evaluations, strict=True))
    )  # fmt: skip


def _curves(lines: Sequence[EvaluationView]) -> tuple[CurveView, ...]:
    """One figure for each norm and range of inputs: only those share an axis."""
    groups: dict[tuple[str, tuple[float, float]], list[EvaluationView]] = {}
    for line in lines:
        groups.setdefault((line.result.threat.kind, line.result.threat.bounds), []).append(line)
    return tuple(
        CurveView(
            curve_figure(
                f"curve{number}",
                [line.result for line in group],
                [line.look for line in group],
                [line.label for line in group],
            ),
            tuple(group),
        )
        for number, group in enumerate(groups.values())
    )


def _look(number: int, runs: int) -> Look:
    if runs == 1:
        return Look("robust")
    return Look(
        f"run-{number % HUES + 1}", DASHES[number % len(DASHES)], MARKERS[number % len(MARKERS)]
    )


def _recipe_text(recipe: dict[str, Any]) -> str:
    plain = json.loads(json.dumps(recipe, default=str))  # tuples and paths are not safe YAML
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True) if recipe else ""


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, numbered where they occur more than once."""
    often, seen = Counter(names), Counter[str]()
    found = []
    for name in names:
        seen[name] += 1
        found.append(f"{name} ({seen[name]})" if often[name] > 1 else name)
    return found
