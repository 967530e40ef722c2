"""What a report is made from."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from ..data import Split
from ..evaluation import Evaluation, Evidence, Measures, Study
from ..training import Finding, load_findings


@dataclasses.dataclass(frozen=True)
class BrokenExamples:
    """Everything that broke in an evaluation, before and after.

    Attributes:
        index: Positions in the split, `(m,)`.
        clean, adversarial: Inputs, `(m, ...)`.
        logits: At the adversarial inputs, `(m, classes)`.
    """

    index: np.ndarray
    clean: np.ndarray
    adversarial: np.ndarray
    logits: np.ndarray


@dataclasses.dataclass(frozen=True)
class RunResults:
    """Everything the report draws about one run.

    Attributes:
        name: What the run is called on the page.
        recipe: Its recipe, as read from YAML; empty for an evaluation made from Python.
        metrics: One dictionary an epoch, in order; empty if nothing was trained.
        evaluations: Its evaluations, oldest first.
        environment: Versions and hardware of the training.
        folder: Where the run lies, as it is to be written in commands; empty if it has no folder.
        studies: Closer looks (`brolly study`).
        measures: What is measured besides robust accuracy (`brolly measure`).
        diverged: Where the loss of the training became no number, if it did.
        diagnosis: Findings that were saved (`brolly diagnose`).
        broken: Of evaluations, by their place in `evaluations`: what broke, from their evidence.

    Example:
        >>> from brolly.report import RunResults
        >>> RunResults("my model", recipe={}, metrics=[], evaluations=[], environment={}).name
        'my model'
    """

    name: str
    recipe: dict[str, Any]
    metrics: list[dict[str, Any]]
    evaluations: list[Evaluation]
    environment: dict[str, Any]
    folder: str = ""
    studies: Sequence[Study] = ()
    measures: Sequence[Measures] = ()
    broken: Mapping[int, BrokenExamples] = dataclasses.field(default_factory=dict)
    diverged: str | None = None
    diagnosis: Sequence[Finding] = ()


def read_run(folder: Path, split: Split | None = None) -> RunResults:
    """Reads what a run folder holds so far.

    All but the recipe may be missing: the report says so.

    Args:
        folder: Where the run lies.
        split: The examples that were evaluated. Evidence holds adversarial inputs only; with the
            clean ones beside them, all broken examples can be chosen from and averaged over.
            None, another split, or evidence of an earlier state: the page shows the pictures that
            the evaluation kept.

    Raises:
        ValueError: The folder holds no `recipe.yaml`, or one of its files is damaged.
    """
    folder = Path(folder)
    recipe = _read_recipe(folder)
    loaded = [(Evaluation.load(path), path) for path in sorted(folder.glob("evaluation/*.json"))]
    loaded.sort(key=lambda pair: pair[0].created)
    broken = {}
    for number, (evaluation, path) in enumerate(loaded):
        proof = folder / "evidence" / f"{path.stem}.h5"
        if split is not None and proof.is_file() and evaluation.data.sha256 == split.sha256:
            evidence = Evidence.load(proof)
            if _is_about(evidence, evaluation):
                broken[number] = _with_clean(evidence, split)
    return RunResults(
        name=str(recipe.get("name") or folder.resolve().name),
        recipe=recipe,
        metrics=_read_metrics(folder / "metrics.jsonl"),
        evaluations=[evaluation for evaluation, _ in loaded],
        environment=_read_environment(folder / "environment.json"),
        folder=str(folder),
        studies=[Study.load(path) for path in sorted(folder.glob("study/*.json"))],
        measures=[Measures.load(path) for path in sorted(folder.glob("measures/*.json"))],
        broken=broken,
        diverged=_read_text(folder / "diverged.txt"),
        diagnosis=load_findings(saved) if (saved := folder / "diagnosis.json").is_file() else (),
    )


def _is_about(evidence: Evidence, evaluation: Evaluation) -> bool:
    """Whether the evidence is of this evaluation, and not of an earlier state of it."""
    broken = evaluation.index[evaluation.broken_by >= 0]
    same_model = evidence.evaluation.model.sha256 == evaluation.model.sha256
    return same_model and np.array_equal(evidence.adversarial_index, broken)


def _with_clean(evidence: Evidence, split: Split) -> BrokenExamples:
    rows = torch.from_numpy(evidence.adversarial_index)
    return BrokenExamples(
        index=evidence.adversarial_index,
        clean=split.scaled(split.read(rows)).cpu().numpy(),
        adversarial=evidence.adversarial,
        logits=evidence.adversarial_logits,
    )


def _read_recipe(folder: Path) -> dict[str, Any]:
    path = folder / "recipe.yaml"
    if not path.is_file():
        raise ValueError(
            f"{folder} is not a run folder: it has no recipe.yaml. Expected the folder that "
            "`brolly train` made, with recipe.yaml, metrics.jsonl and evaluation/*.json"
        )
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged; expected a recipe in YAML: {error}") from None
    if not isinstance(recipe, dict):
        raise ValueError(f"{path} holds no recipe; expected a mapping such as `name: my-run`")
    return recipe


def _read_metrics(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):
                break  # the run was killed while it wrote this line, or is writing it now
            raise ValueError(f"{path}, line {number} is damaged: {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number}: expected a JSON object, got {line[:40]}")
        rows.append(row)
    return rows


def _read_text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def _read_environment(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged; expected a JSON object: {error}") from None
    return value if isinstance(value, dict) else {"environment": value}
