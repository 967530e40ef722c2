"""Results to draw, with known numbers."""

import dataclasses
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import torch
import yaml

from brolly.attacks import Cost
from brolly.evaluation import (
    HELD,
    WRONG,
    Array,
    AttackRecord,
    BudgetCurve,
    BudgetPoint,
    CalibrationMeasures,
    CertifiedCurve,
    CorruptionCell,
    CorruptionTable,
    Count,
    CurvePoint,
    DataFacts,
    Estimate,
    Evaluation,
    InputGradients,
    LossSurface,
    Measures,
    MinimalDistances,
    ModelFacts,
    Picture,
    Study,
    calibration,
    class_measures,
    selective_prediction,
)
from brolly.report import BrokenExamples, RunResults, write_report
from brolly.threats import Linf, Threat

HOSTILE = "<script>alert(1)</script>"
N = 40


def make_evaluation(
    threat: Threat | None = None,
    shape: tuple[int, ...] = (1, 8, 8),
    classes: tuple[str, ...] = tuple("0123456789"),
    **changes,
) -> Evaluation:
    """36 of 40 right; two attacks break 8 and 3 of them, 25 hold."""
    threat = threat or Linf(0.1)
    broken_by = np.array([WRONG] * 4 + [0] * 8 + [1] * 3 + [HELD] * 25)
    label = np.arange(N) % len(classes)
    clean_prediction = np.where(broken_by == WRONG, (label + 1) % len(classes), label)
    fooled = np.where(broken_by >= 0, (label + 2) % len(classes), clean_prediction)
    clean = np.random.default_rng(0).random((12, *shape), dtype=np.float32)
    evaluation = Evaluation(
        threat=threat,
        model=ModelFacts("SmallCNN", "c0ffee" * 10, 93322),
        data=DataFacts("digits", "test", "facade" * 10, 360, classes),
        seed=7,
        attacks=(
            AttackRecord("apgd-ce", {"steps": 50}, N, 8, cost=Cost(1800, 1800, 2.5)),
            AttackRecord("apgd-dlr", {"steps": 50}, N, 3, cost=Cost(1400, 1400, 1.5)),
        ),
        index=np.arange(N),
        label=label,
        clean_prediction=clean_prediction,
        adversarial_prediction=fooled,
        broken_by=broken_by,
        distance=np.where(broken_by >= 0, threat.eps, np.nan),
        tried=np.where(broken_by == HELD, 2, 0),
        queries=np.where(broken_by == WRONG, 0, 90),
        proved=broken_by == HELD,
        certificate="interval-bounds",
        curve=tuple(CurvePoint(threat.eps * k / 4, Count(36 - 5 * k, N)) for k in range(1, 8)),
        curve_attack="apgd-ce, 20 steps",
        pictures=tuple(
            Picture(i, int(label[4 + i % 8]), 1, 2, x, np.clip(x + 0.1, 0, 1).astype("f4"))
            for i, x in enumerate(clean)
        ),
        complete=True,
        command="brolly evaluate runs/digits --seed 7",
        environment={"torch": "2.13.0", "device": {"name": "cpu", "threads": 2}},
        created="2025-11-21T03:30:00+00:00",
    )
    return dataclasses.replace(evaluation, **changes)


def make_broken(evaluation: Evaluation, shape: tuple[int, ...] = (1, 8, 8)) -> BrokenExamples:
    """Of the examples that broke: the k-th is wrong by a margin of k."""
    index = evaluation.index[evaluation.broken_by >= 0]
    clean = np.random.default_rng(1).random((len(index), *shape), dtype=np.float32)
    logits = np.zeros((len(index), 10), dtype=np.float32)
    logits[np.arange(len(index)), evaluation.adversarial_prediction[index]] = np.arange(len(index))
    return BrokenExamples(index, clean, np.clip(clean + 0.1, 0, 1).astype("f4"), logits)


def make_study(threat: str = "linf:0.1", shape: tuple[int, ...] = (1, 8, 8), **changes) -> Study:
    steps = tuple(BudgetPoint(k, Count(16 - k, 20)) for k in (1, 2, 5))
    pictures = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    study = Study(
        model=ModelFacts("SmallCNN", "c0ffee" * 10, 93322),
        data=DataFacts("digits", "test", "facade" * 10, 360, tuple("0123456789")),
        threat=threat,
        bounds=(0.0, 1.0),
        seed=3,
        clean=Count(18, 20),
        budgets=(
            BudgetCurve("steps", "apgd-ce", steps),
            BudgetCurve("restarts", "apgd-ce, 20 steps", steps),
            BudgetCurve("queries", "square, 300 queries", steps),
        ),
        minimal=MinimalDistances("fmn, 100 steps", (0.0, 0.0, None, *([0.05] * 7), *([0.2] * 10))),
        certified=CertifiedCurve(
            "interval-bounds", tuple(CurvePoint(k / 100, Count(18 - 6 * k, 20)) for k in range(4))
        ),
        gradients=InputGradients(
            (0, 1), (3, 4), (3, -1), Array.of(pictures), Array.of(pictures - 0.5)
        ),
        surface=LossSurface(
            (0,), 2.0, Array.of(torch.ones(1, 5, 5)), Array.of(torch.arange(-12, 13).view(1, 5, 5))
        ),
        command="brolly study runs/digits",
        seconds=12.0,
    )  # fmt: skip
    return dataclasses.replace(study, **changes)


def make_measures(threat: str = "linf:0.1", **changes) -> Measures:
    logits = torch.randn(N, 10, generator=torch.Generator().manual_seed(0))
    labels = logits.argmax(1).roll(3)
    found = calibration(logits, labels)
    chosen = selective_prediction(logits, labels)
    cells = tuple(
        CorruptionCell(kind, severity, Count(40 - 5 * severity, N))
        for kind in ("gaussian_noise", "fog")
        for severity in range(1, 6)
    )
    measures = Measures(
        model=ModelFacts("SmallCNN", "c0ffee" * 10, 93322),
        data=DataFacts("digits", "test", "facade" * 10, N, tuple("0123456789")),
        threat=threat,
        bounds=(0.0, 1.0),
        attack="apgd-ce, 100 steps",
        seed=0,
        clean=Count(36, N),
        robust=Count(25, N),
        calibration=CalibrationMeasures(found, found, found, found, 30),
        selective_clean=chosen,
        selective_adversarial=chosen,
        classes=class_measures(labels.numpy(), labels.numpy(), labels.numpy(), tuple("0123456789")),
        out_of_distribution=(),
        adversarial_detection=(),
        corruptions=CorruptionTable(Count(36, N), cells, Estimate(0.375, 0.3, 0.45)),
        command="brolly measure runs/digits",
    )
    return dataclasses.replace(measures, **changes)


def make_metrics(epochs: int = 6, *, robust: bool = True) -> list[dict]:
    return [
        {
            "epoch": epoch,
            "seconds": 20.5 * epoch,
            "learning_rate": 0.1 / epoch,
            "train_loss": 1 / epoch,
            "train_clean": 0.9 - 0.3 / epoch,
            "train_robust": 0.7 - 0.3 / epoch if robust else None,
            "validation_clean": 0.85 - 0.3 / epoch,
            "validation_robust": 0.6 - 0.3 / epoch if robust else None,
            "validation_single_step": None,
            "best": epoch < 6,
            "note": "catastrophic overfitting; went back to epoch 5" if epoch == 6 else None,
        }
        for epoch in range(1, epochs + 1)
    ]


def make_run(name: str = "digits-trades", **changes) -> RunResults:
    run = RunResults(
        name=name,
        recipe={"name": name, "threat": "linf:0.1", "objective": {"name": "trades", "beta": 6}},
        metrics=make_metrics(),
        evaluations=[make_evaluation()],
        environment={"python": "3.11.9"},
    )
    return dataclasses.replace(run, **changes)


def save_run(folder: Path, run: RunResults) -> Path:
    folder.mkdir()
    (folder / "recipe.yaml").write_text(yaml.safe_dump(run.recipe, sort_keys=False))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in run.metrics))
    (folder / "environment.json").write_text(json.dumps(run.environment))
    for number, evaluation in enumerate(run.evaluations):
        evaluation.save(folder / "evaluation" / f"{number}.json")
    for number, study in enumerate(run.studies):
        study.save(folder / "study" / f"{number}.json")
    for number, measures in enumerate(run.measures):
        measures.save(folder / "measures" / f"{number}.json")
    return folder


def render(folder: Path, *runs: RunResults) -> str:
    page = write_report(folder / "report.html", runs).read_text(encoding="utf-8")
    return page.replace("\N{NO-BREAK SPACE}", " ")


class Tags(HTMLParser):
    """Collects the tags of a page and checks that they nest."""

    VOID = frozenset({"meta", "img", "br", "line", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
