"""Run results, arranged for the page."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

import yaml

from ..evaluation import ClassMeasures, Evaluation, Study
from ..threats import Threat, parse_threat
from . import _words
from ._broken import Browser, Perturbations, browser, perturbations
from ._budgets import BudgetFigure, budget_figures
from ._compare import comparison_finding, differences
from ._confusion import MOST_CLASSES, Confusion, confusions
from ._diagnosis import Diagnosis, diagnosis
from ._distances import DistanceFigure, distance_figure
from ._eps_curve import CurveFigure, Look, curve_figure
from ._flow import Flow, flow
from ._gradients import GradientTable, gradient_tables
from ._ladder import Rung, ladder, ladder_finding
from ._learning import Learning, learning
from ._pictures import Gallery, gallery
from ._reliability import MeasuresView, measures_view
from ._results import RunResults
from ._surface import SurfaceFigure, surface_figures
from ._svg import DASHES, HUES, MARKERS
from ._verdict import Verdict, verdict


@dataclasses.dataclass(frozen=True)
class EvaluationView:
    """One evaluation and what is drawn of it."""

    key: str
    label: str
    look: Look
    result: Evaluation
    verdict: Verdict
    study: Study | None
    rungs: tuple[Rung, ...]
    finding: str
    gallery: Gallery
    browser: Browser | None
    perturbations: Perturbations | None
    confusions: tuple[Confusion, Confusion]
    flow: Flow | None
    classes: ClassMeasures | None
    environment: list[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class StudyView:
    """One study and what is drawn of it."""

    study: Study
    stale: bool  # it is of other weights than the evaluations
    threat: Threat
    budgets: tuple[BudgetFigure, ...]
    distances: DistanceFigure | None
    surfaces: tuple[SurfaceFigure, ...]


@dataclasses.dataclass(frozen=True)
class RunView:
    """One run and what is drawn of it."""

    key: str
    label: str
    look: Look
    run: RunResults
    evaluations: tuple[EvaluationView, ...]
    studies: tuple[StudyView, ...]
    measures: tuple[MeasuresView, ...]
    learning: Learning | None
    diagnosis: Diagnosis | None
    objective: str
    seconds: float | None
    commands: dict[str, str]
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
    gradients: tuple[GradientTable, ...]
    finding: str
    differences: list[str]

    @property
    def many(self) -> bool:
        return len(self.runs) > 1

    @property
    def browsable(self) -> bool:
        """Whether there is anything for the script to do."""
        return any(view.browser for run in self.runs for view in run.evaluations)


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
        gradients=gradient_tables(
            [(view.label, study) for view in views for study in view.run.studies]
        ),
        finding=comparison_finding([line.label for line in lines], results),
        differences=differences(results),
    )


def _run_view(key: str, label: str, look: Look, run: RunResults) -> RunView:
    folder = shlex.quote(run.folder) if run.folder else "<folder of the run>"
    return RunView(
        key=key,
        label=label,
        look=look,
        run=run,
        evaluations=_evaluation_views(key, label, look, run),
        studies=tuple(
            _study_view(f"{key}-s{number}", study, run.evaluations)
            for number, study in enumerate(run.studies)
        ),
        measures=tuple(
            measures_view(
                f"{key}-m{number}",
                measures,
                _words.short(parse_threat(measures.threat, measures.bounds)),
            )
            for number, measures in enumerate(run.measures)
        ),
        learning=learning(f"{key}-learning", run.metrics),
        diagnosis=diagnosis(run),
        objective=_words.named(run.recipe.get("objective")),
        seconds=run.metrics[-1].get("seconds") if run.metrics else None,
        commands={
            name: f"brolly {name} {folder}" for name in ("evaluate", "study", "measure", "diagnose")
        },
        recipe=_recipe_text(run.recipe),
        environment=_words.rows(run.environment),
    )


def _evaluation_views(
    key: str, label: str, look: Look, run: RunResults
) -> tuple[EvaluationView, ...]:
    evaluations = run.evaluations
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
            verdict=verdict(result),
            study=_study_of(result, run.studies),
            rungs=ladder(result),
            finding=ladder_finding(result),
            gallery=gallery(result),
            browser=browser(result, run.broken.get(number)),
            perturbations=perturbations(result, run.broken.get(number)),
            confusions=confusions(result),
            flow=flow(result),
            classes=_classes(result),
            environment=_words.rows(result.environment),
        )
        for number, (threat, result) in enumerate(zip(threats, evaluations, strict=True))
    )  # fmt: skip


def _study_view(key: str, study: Study, evaluations: Sequence[Evaluation]) -> StudyView:
    threat = parse_threat(study.threat, study.bounds)
    return StudyView(
        study=study,
        stale=any(each.model.sha256 != study.model.sha256 for each in evaluations),
        threat=threat,
        budgets=budget_figures(key, study),
        distances=distance_figure(f"{key}-distances", study, threat),
        surfaces=surface_figures(f"{key}-surface", study),
    )


def _study_of(evaluation: Evaluation, studies: Sequence[Study]) -> Study | None:
    """The study of the same model, split and norm; of the same radius, if there is one."""
    fitting = [
        study
        for study in studies
        if study.model.sha256 == evaluation.model.sha256
        and study.data.sha256 == evaluation.data.sha256
        and study.threat.partition(":")[0] == evaluation.threat.kind
        and tuple(study.bounds) == evaluation.threat.bounds
    ]
    threat = f"{evaluation.threat.kind}:{evaluation.threat.eps!r}"
    fitting.sort(key=lambda study: study.threat != threat)
    return fitting[0] if fitting else None


def _classes(evaluation: Evaluation) -> ClassMeasures | None:
    """Accuracy by class, where there are few enough classes to list."""
    named = len(evaluation.data.classes) > int(evaluation.label.max(initial=-1))
    few = len(evaluation.data.classes) <= MOST_CLASSES
    return ClassMeasures.of(evaluation) if named and few else None


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
                [line.study for line in group],
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
