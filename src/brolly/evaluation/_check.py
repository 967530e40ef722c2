"""What a check says about an evaluation, and what all of them say together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

Status = Literal["pass", "warn", "fail", "not applicable"]

#: What a headline may be called: every check passed, one warned, one failed.
Trust = Literal["trusted", "doubtful", "broken"]


@dataclasses.dataclass(frozen=True)
class Check:
    """One way in which a number may be wrong, looked for.

    Attributes:
        name: In lower case with hyphens, e.g. `forward-is-deterministic`.
        status: `fail`: the headline is wrong or means something else. `warn`: it may be.
        verdict: What was found, in one sentence with its numbers.
        threshold: What would have raised the alarm, in words.
        examples: Positions of offending examples in the split, the first 20.
    """

    name: str
    status: Status
    verdict: str
    threshold: str
    examples: tuple[int, ...] = ()

    @property
    def page(self) -> str:
        """Where it is explained."""
        return f"docs/checks.md#{self.name}"


def judge_trust(checks: Sequence[Check]) -> tuple[Trust, str]:
    """What the checks make of the headline, and the reason in words.

    Example:
        >>> from brolly.evaluation import Check, judge_trust
        >>> judge_trust([Check("nan-logits", "pass", "No logit is NaN.", "any NaN")])
        ('trusted', '1 check passed')
    """
    failed = [check for check in checks if check.status == "fail"]
    warned = [check for check in checks if check.status == "warn"]
    passed = sum(check.status == "pass" for check in checks)
    if failed:
        return "broken", "; ".join(f"{check.name}: {check.verdict}" for check in failed)
    if warned:
        return "doubtful", "; ".join(f"{check.name}: {check.verdict}" for check in warned)
    if not passed:
        return "doubtful", "nothing was checked"
    return "trusted", f"{passed} check{'s' if passed > 1 else ''} passed"
