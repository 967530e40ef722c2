"""Does the model hide behind chance, scale, or the way it is written?"""

from __future__ import annotations

import contextlib
import copy
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ..._draws import Draws
from ...attacks import APGD, PGD
from ...attacks._engine import private_randomness
from ...models import are_probabilities, fold_batchnorm
from .._check import Check
from .._judge import Judge
from ._subject import ENOUGH, Subject, named

_EXAMPLES = 100

_Layer: TypeAlias = nn.Linear | nn.Conv2d
#: What a positive factor passes through.
_HOMOGENEOUS = (nn.ReLU, nn.LeakyReLU, nn.MaxPool2d, nn.AvgPool2d, nn.Identity, nn.Dropout)


def random_model(subject: Subject) -> Check:
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
    name = "obfuscated-weights"
    threshold = (
        f"on a copy with units permuted and rescaled, which computes the same, attacks break at "
        f"least {ENOUGH} examples and 3% more or fewer"
    )
    rows = subject.right[:_EXAMPLES]
    if subject.random or subject.threat.kind not in APGD.kinds or len(rows) == 0:
        return Check(name, "not applicable", "Nothing to compare.", threshold)
    x, _ = subject.inputs(rows[:16])
    try:
        twin = fold_batchnorm(subject.model)
        changed = _rewrite(twin, torch.Generator().manual_seed(subject.seed))
        same = torch.allclose(twin(x), subject.judge.logits(x), rtol=1e-2, atol=1e-3)
    except Exception:  # the user's module may refuse a copy in any way
        twin, changed, same = None, 0, False
    if twin is None or not changed or not same:
        return Check(
            name,
            "not applicable",
            "The model has no layers in a row that can be rewritten.",
            threshold,
        )
    attack = APGD(subject.threat, steps=20)
    before, after = subject.broken(attack, rows), subject.broken(attack, rows, twin)
    differing = rows[before != after]
    said = (
        f"Attacks break {int(before.sum())} of {len(rows)} examples on the model and "
        f"{int(after.sum())} on a copy with {changed} layers rewritten"
    )
    gap = abs(int(before.sum()) - int(after.sum()))
    if gap >= ENOUGH and gap > 0.03 * len(rows):
        return Check(
            name, "warn", f"{said}: robustness that depends on how weights are written is none.",
            threshold, named(differing),
        )  # fmt: skip
    return Check(name, "pass", f"{said}.", threshold)


def _rewrite(model: nn.Module, generator: torch.Generator) -> int:
    """Permutes and rescales hidden units between pairs of layers; returns how many pairs."""
    count = 0
    for block in model.modules():
        if not isinstance(block, nn.Sequential):
            continue
        last, between = None, []
        for layer in block:
            if isinstance(layer, _Layer):
                if type(layer) is type(last) and all(isinstance(b, _HOMOGENEOUS) for b in between):
                    assert isinstance(last, _Layer)  # as its type says
                    count += _rewrite_pair(last, layer, generator)
                last, between = layer, []
            else:
                between.append(layer)
    return count


def _rewrite_pair(one: _Layer, two: _Layer, generator: torch.Generator) -> bool:
    if getattr(one, "groups", 1) != 1 or getattr(two, "groups", 1) != 1:
        return False
    units = len(one.weight)
    order = torch.randperm(units, generator=generator)
    scale = torch.exp(torch.randn(units, generator=generator)).to(one.weight.device)
    with torch.no_grad():
        rows = scale.reshape(-1, *[1] * (one.weight.ndim - 1))
        one.weight.copy_((one.weight * rows)[order])
        if one.bias is not None:
            one.bias.copy_((one.bias * scale)[order])
        columns = scale.reshape(1, -1, *[1] * (two.weight.ndim - 2))
        two.weight.copy_((two.weight / columns)[:, order])
    return True


def loss_scale(subject: Subject) -> Check:
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
