"""What went wrong in training, for the page."""

from __future__ import annotations

import dataclasses

from ..training import Finding, History, diagnose
from ._results import RunResults


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """Findings by their state."""

    found: tuple[Finding, ...]
    clear: tuple[Finding, ...]
    unmeasured: tuple[Finding, ...]


def diagnosis(run: RunResults) -> Diagnosis | None:
    """Judges the metrics of a run; what needs its network is taken from what was saved.

    None if there is nothing to judge.
    """
    history = History.of_rows(run.metrics, run.diverged)
    if not history.epochs and history.diverged is None:
        return None
    saved = {finding.name: finding for finding in run.diagnosis}
    findings = [
        saved.get(finding.name, finding) if finding.state == "not measured" else finding
        for finding in diagnose(history)
    ]
    return Diagnosis(
        *(
            tuple(finding for finding in findings if finding.state == state)
            for state in ("found", "not found", "not measured")
        )
    )
