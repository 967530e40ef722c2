"""The headline, what is between its bounds, and what the evaluation found about itself."""

from __future__ import annotations

import dataclasses

from ..evaluation import Check, Count, Evaluation
from . import _words

_ORDER = {"fail": 0, "warn": 1, "pass": 2, "not applicable": 3}


@dataclasses.dataclass(frozen=True)
class Part:
    """A share of the examples, and where it begins on a scale from 0 to 1."""

    status: str
    count: Count
    start: float


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the top of the page says.

    Attributes:
        parts: Shares by status, in the order they stack: proved, unknown, broken, wrong.
        bracket: The bounds in words.
        trust: `trusted`, `doubtful` or `broken`.
        reason: Why.
        alarms: Checks that failed or warned, failures first.
        quiet: All other checks.
    """

    parts: tuple[Part, ...]
    bracket: str
    trust: str
    reason: str
    alarms: tuple[Check, ...]
    quiet: tuple[Check, ...]


def verdict(evaluation: Evaluation) -> Verdict:
    """Arranges the headline of an evaluation."""
    checks = sorted(evaluation.checks, key=lambda check: _ORDER[check.status])
    alarms = tuple(check for check in checks if check.status in ("fail", "warn"))
    trust, reason = evaluation.trust
    if alarms:  # each says below what it found
        names = _words.listed([check.name for check in alarms])
        reason = f"{len(alarms)} of {len(checks)} checks raised an alarm: {names}"
    return Verdict(
        parts=_parts(evaluation),
        bracket=_bracket(evaluation),
        trust=trust,
        reason=reason,
        alarms=alarms,
        quiet=tuple(check for check in checks if check.status not in ("fail", "warn")),
    )


def _parts(evaluation: Evaluation) -> tuple[Part, ...]:
    status, total = evaluation.status, len(evaluation.index)
    parts, start = [], 0
    for name in ("proved", "unknown", "broken", "wrong"):
        hits = int((status == name).sum())
        parts.append(Part(name, Count(hits, total), round(start / max(total, 1), 4)))
        start += hits
    return tuple(parts)


def _bracket(evaluation: Evaluation) -> str:
    low, high = evaluation.certified, evaluation.robust
    proof = (
        f"proved by {evaluation.certificate}" if evaluation.certificate else "as nothing was proved"
    )
    return (
        f"At least {_words.rate(low)}, {proof}; at most {_words.rate(high)}, "
        f"as attacks broke the rest."
    )
