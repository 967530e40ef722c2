"""Are the outputs logits of the classes, of a size that cross-entropy can bear?"""

from ...models import are_probabilities
from .._check import Check
from ._subject import Subject, named

_NAME = "logits-not-probabilities"
_EXAMPLES = 256
_VANISHED = 0.5
_THRESHOLD = (
    "rows are in [0, 1] and add up to 1; or more outputs than classes; or wrong classes of "
    f"probability 0 in float32 for more than {_VANISHED:.0%} of the examples that are right"
)


def logits_not_probabilities(subject: Subject) -> Check:
    """Whether cross-entropy, taken of the outputs, has a gradient to give."""
    rows = subject.right[:_EXAMPLES]
    if len(rows) == 0:
        return Check(_NAME, "not applicable", "No example is right.", _THRESHOLD)
    x, y = subject.inputs(rows)
    logits = subject.judge.logits(x)
    if are_probabilities(logits):
        return Check(
            _NAME, "fail",
            "The outputs are probabilities, so cross-entropy takes a softmax of a softmax and its "
            "gradient vanishes; return the values before the softmax.", _THRESHOLD,
        )  # fmt: skip
    classes = len(subject.split.classes)
    if logits.shape[1] > classes:
        return Check(
            _NAME, "fail",
            f"The model has {logits.shape[1]} outputs for {classes} classes; where an extra one "
            "wins, a refusal counts as an error, and attacks aim at it.", _THRESHOLD,
        )  # fmt: skip
    others = logits.float().softmax(1).scatter(1, y[:, None], 0)
    vanished = (others == 0).all(1)  # so is the gradient of the cross-entropy in the logits
    part = float(vanished.double().mean())
    found = (
        f"All wrong classes have probability 0 in float32 for {part:.0%} of {len(rows)} examples"
    )
    if part > _VANISHED:
        return Check(
            _NAME, "warn",
            f"{found}: the logits are so large that cross-entropy has no gradient.", _THRESHOLD,
            named(rows[vanished.cpu()]),
        )  # fmt: skip
    return Check(_NAME, "pass", f"{found}; rows are no probabilities.", _THRESHOLD)
