"""Is the forward pass a function of its input?"""

from .._check import Check
from ._subject import Subject

_NAME = "deterministic-forward"
_THRESHOLD = "two passes over the same inputs differ"


def deterministic_forward(subject: Subject) -> Check:
    """Whether the same input gets the same answer twice."""
    if not subject.random:
        return Check(_NAME, "pass", "Two passes over the same inputs agree to the bit.", _THRESHOLD)
    return Check(
        _NAME,
        "warn",
        f"The model draws random numbers, so attacks went through EOT and verdicts are about the "
        f"mean of {subject.evaluation.samples} passes; a single pass may say something else.",
        _THRESHOLD,
    )
