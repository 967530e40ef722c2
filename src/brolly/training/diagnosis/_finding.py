"""What a diagnosis says about one thing that may be wrong."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ..._files import write_json

SCHEMA = 1

State = Literal["found", "not found", "not measured"]


@dataclasses.dataclass(frozen=True)
class Observation:
    """A number that a finding rests on, and the epoch it is of (None: of the trained network)."""

    what: str
    value: float
    epoch: int | None = None

    def __str__(self) -> str:
        where = "" if self.epoch is None else f" (epoch {self.epoch})"
        return f"{self.what} {self.value:.4g}{where}"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that may be wrong with a training, looked for.

    Attributes:
        name: Such as `robust overfitting`.
        state: `found`, `not found`, or `not measured` where the numbers for it are missing.
        verdict: What is the matter, in one sentence.
        evidence: The numbers behind it. Accuracies are parts of 1.
        threshold: What makes it `found`, in words.
        source: Where the threshold comes from.
        advice: What to try where it is found.

    Example:
        >>> from brolly.training import Finding
        >>> print(Finding("overfitting", "not found", "The gap is 1.2 points.", (), "", "", ""))
        overfitting: not found. The gap is 1.2 points.
    """

    name: str
    state: State
    verdict: str
    evidence: tuple[Observation, ...]
    threshold: str
    source: str
    advice: str

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.state}. {self.verdict}"]
        if self.evidence:
            lines.append(f"  evidence: {'; '.join(map(str, self.evidence))}")
        if self.state == "found":
            lines += [f"  threshold: {self.threshold} ({self.source})", f"  try: {self.advice}"]
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Rule:
    """What is the same of every finding of one kind."""

    name: str
    threshold: str
    source: str
    advice: str

    def judge(self, found: bool, verdict: str, *evidence: Observation) -> Finding:
        state: State = "found" if found else "not found"
        return Finding(
            self.name, state, verdict, evidence, self.threshold, self.source, self.advice
        )

    def unmeasured(self, why: str) -> Finding:
        return Finding(self.name, "not measured", why, (), self.threshold, self.source, self.advice)


def save_findings(path: str | Path, findings: Sequence[Finding]) -> None:
    """Writes findings as JSON."""
    write_json(
        path, {"schema": SCHEMA, "findings": [dataclasses.asdict(each) for each in findings]}
    )


def load_findings(path: str | Path) -> tuple[Finding, ...]:
    """Reads what `save_findings` wrote.

    Raises:
        ValueError: The file is damaged, or of a newer schema.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
        if value["schema"] > SCHEMA:
            raise ValueError(f"schema {value['schema']} is newer than {SCHEMA}")
        return tuple(_finding(each) for each in value["findings"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} holds no findings that this version of brolly can read ({error}); write them "
            "again with brolly diagnose"
        ) from None


def _finding(value: dict[str, Any]) -> Finding:
    evidence = tuple(Observation(**each) for each in value["evidence"])
    return Finding(**{**value, "evidence": evidence})
