"""Does the model hide behind chance, scale, or the way it is written?"""

from __future__ import annotations

import contextlib
import copy

import torch
from torch import Tensor, nn

from ..._draws import Draws
from ...attacks import APGD, PGD
from ...attacks._engine import private_randomness
from ...models import are_probabilities
from ...weights import obfuscate
from .._check import Check
from .._judge import Judge
from ._subject import ENOUGH, Subject, named

_EXAMPLES = 100


def random_model(subject: Subject) -> Check:
    """How much of the robustness of a random model is that of its chance alone."""
    name, threshold = "random-model", "the model draws random numbers"
    rows = subject.right[:_EXAMPLES]
    if not subject.random or subject.threat.kind not in PGD.kinds or len(rows) == 0:
        return Check(name, "not applicable", "The model draws no random numbers.", threshold)
    total = len(rows)
    fixed = subject.found(PGD(subject.threat, steps=20), rows, _Frozen(subject.guarded))
    off = total - int(_wrong(_Frozen(subject.guarded), fixed, subject, rows).sum())
    once = total - int(_wrong(subject.guarded, fixed, subject, rows).sum())
    on = int(torch.isin(rows, subject.held).sum())
    return Check(
        name, "warn",
        f"The model draws random numbers. Of {total} examples that are right, {on} hold against "
        f"EOT on the mean of {subject.evaluation.samples} passes, {off} against PGD with the noise "
        f"frozen, and {once} when a fresh pass answers to that.", threshold,
    )  # fmt: skip


class _Frozen(nn.Module):
    """The model with the same random numbers in every pass."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        with private_randomness(Draws(7, torch.arange(1)), x.device):
            return self.model(x)


def _wrong(model: nn.Module, x: Tensor, subject: Subject, rows: Tensor) -> Tensor:
    return (Judge(model, seed=subject.seed).predict(x) != subject.inputs(rows)[1]).cpu()


def obfuscated_weights(subject: Subject) -> Check:
    """Robustness belongs to the function: writing the weights otherwise changes none."""
    name = "obfuscated-weights"
    threshold = (
        f"on a copy with hidden units permuted, rescaled or rotated, which computes the same, "
        f"attacks break at least {ENOUGH} examples and 3% more or fewer"
    )
    rows = subject.right[:_EXAMPLES]
    if subject.random or subject.threat.kind not in APGD.kinds or len(rows) == 0:
        return Check(name, "not applicable", "Nothing to compare.", threshold)
    x, _ = subject.inputs(rows[:16])
    generator = torch.Generator().manual_seed(subject.seed)
    try:
        twin = obfuscate(subject.model, generator, inputs=x)
    except Exception:  # the user's module may refuse a copy in any way
        return Check(
            name,
            "not applicable",
            "The model has no layers in a row that can be rewritten.",
            threshold,
        )
    attack = APGD(subject.threat, steps=20)
    before, after = subject.broken(attack, rows), subject.broken(attack, rows, twin.model)
    differing = rows[before != after]
    said = (
        f"Attacks break {int(before.sum())} of {len(rows)} examples on the model and "
        f"{int(after.sum())} on a copy with {len(twin.changed)} layers rewritten"
    )
    gap = abs(int(before.sum()) - int(after.sum()))
    if gap >= ENOUGH and gap > 0.03 * len(rows):
        return Check(
            name, "warn", f"{said}: robustness that depends on how weights are written is none.",
            threshold, named(differing),
        )  # fmt: skip
    return Check(name, "pass", f"{said}.", threshold)


def loss_scale(subject: Subject) -> Check:
    """Whether cross-entropy sees what a margin free of scale sees."""
    name, part = "loss-scale", 0.1
    threshold = (
        f"a margin that is normalised per example breaks at least {ENOUGH} examples and {part:.0%} "
        "more than cross-entropy, with the same steps"
    )
    rows = subject.right[:_EXAMPLES]
    if subject.random or subject.threat.kind not in APGD.kinds or len(rows) == 0:
        return Check(name, "not applicable", "Nothing to compare.", threshold)
    plain = subject.broken(APGD(subject.threat, steps=20), rows)
    free = subject.broken(APGD(subject.threat, loss="dlr", steps=20), rows)
    x, _ = subject.inputs(rows[:64])
    if are_probabilities(subject.judge.logits(x)):
        with contextlib.suppress(Exception):  # the user's module may refuse a copy in any way
            exact = copy.deepcopy(subject.model).double().eval()
            free |= subject.broken(APGD(subject.threat, loss="dlr", steps=20), rows, _Log(exact))
    more = rows[free & ~plain]
    said = (
        f"Cross-entropy breaks {int(plain.sum())} of {len(rows)} examples; a margin free of scale "
        f"breaks {len(more)} others"
    )
    if len(more) >= ENOUGH and int(free.sum()) - int(plain.sum()) > part * len(rows):
        return Check(
            name, "warn", f"{said}: cross-entropy is blind to this model for the scale of its "
            "outputs, and numbers made with it alone are too high.", threshold, named(more),
        )  # fmt: skip
    return Check(name, "pass", f"{said}.", threshold)


class _Log(nn.Module):
    """Probabilities as their logarithms, in float64, where small ones do not vanish."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.double()).clamp_min(torch.finfo(torch.float64).tiny).log().float()
