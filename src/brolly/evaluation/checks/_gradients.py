"""Do gradients reach the input, and are they any good?"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ..._draws import Draws
from ...attacks._engine import private_randomness, untouched
from ...losses import cross_entropy, margin
from ...models import BPDA
from .._check import Check
from ._subject import Subject, named

_EXAMPLES = 64
_BAD = 0.05
_ZERO = f"zero, NaN or infinite for more than {_BAD:.0%} of the examples, by either loss"
_CUT = "the output carries no gradient"
_DIFFERENCE, _DISAGREE, _STEP = 0.05, 0.1, 1e-5
_FINITE = (
    f"the slope along the gradient or a random direction differs from finite differences in "
    f"float64 by more than {_DIFFERENCE:.0%}, for more than {_DISAGREE:.0%} of the examples"
)


def gradient_graph(subject: Subject) -> Check:
    """Whether any gradient reaches the input."""
    name, (x, y) = "gradient-graph", subject.inputs(subject.right[:2])
    if len(x) == 0:
        return Check(name, "not applicable", "No example is right.", _CUT)
    try:
        _gradient(subject, margin, x, y)
    except RuntimeError:
        return Check(
            name, "fail",
            "The output carries no gradient: something inside (no_grad, detach, .data, NumPy) cuts "
            "the graph, so attacks along the gradient never moved.", _CUT,
        )  # fmt: skip
    return Check(name, "pass", "Gradients flow from the logits to the input.", _CUT)


def input_gradients(subject: Subject) -> Check:
    """Whether gradients are there to follow, at the input and inside the ball."""
    name, rows = "input-gradients", subject.right[:_EXAMPLES]
    if len(rows) == 0:
        return Check(name, "not applicable", "No example is right.", _ZERO)
    x, y = subject.inputs(rows)
    draws = Draws(subject.seed, rows.to(x.device))
    places = {"at the clean input": x, "on the way": subject.threat.sample(x, draws)}
    worst, bad = (0.0, "", ""), torch.zeros(len(rows), dtype=torch.bool)
    for loss, title in ((cross_entropy, "cross-entropy"), (margin, "margin")):
        for place, at in places.items():
            try:
                gradient = _gradient(subject, loss, at, y).flatten(1)
            except RuntimeError:
                return Check(name, "not applicable", "The gradient graph is cut.", _ZERO)
            broken = ((gradient == 0).all(1) | ~gradient.isfinite().all(1)).cpu()
            part = float(broken.double().mean())
            if part > worst[0]:
                worst, bad = (part, title, place), broken
    part, title, place = worst
    if part <= _BAD:
        return Check(
            name, "pass", f"At most {part:.0%} of {len(rows)} input gradients are zero, NaN or "
            "infinite.", _ZERO,
        )  # fmt: skip
    return Check(
        name, "fail",
        f"{part:.0%} of {len(rows)} input gradients of the {title} are zero, NaN or infinite "
        f"{place}, so attacks along the gradient are blind there.", _ZERO, named(rows[bad]),
    )  # fmt: skip


def finite_differences(subject: Subject) -> Check:
    """Whether autograd's slope is that of the function, in float64."""
    name, rows = "finite-differences", subject.right[:16]
    if subject.random or len(rows) == 0:
        why = "The model is random." if subject.random else "No example is right."
        return Check(name, "not applicable", why, _FINITE)
    if any(isinstance(module, BPDA) for module in subject.model.modules()):
        return Check(name, "not applicable", "BPDA replaces gradients on purpose.", _FINITE)
    x, y = subject.inputs(rows)
    try:
        exact = copy.deepcopy(subject.model).double().eval()
        with torch.no_grad():
            again, said = exact(x.double()), subject.judge.logits(x)
        same = torch.allclose(again, said.double(), rtol=1e-2, atol=1e-2)
        gradient = _input_gradient(exact, margin, x.double(), y)
    except Exception as error:  # the user's module may refuse a copy or the dtype in any way
        return Check(
            name, "not applicable", f"The model does not run in float64 ({type(error).__name__}).",
            _FINITE,
        )  # fmt: skip
    if not same:
        return Check(name, "not applicable", "In float64 the model says something else.", _FINITE)
    noise = Draws(subject.seed, rows.to(x.device)).normal(x.double())
    wrong = torch.zeros(len(rows), dtype=torch.bool)
    for direction in (gradient, noise):
        length = direction.flatten(1).norm(dim=1).clamp_min(1e-30)
        unit = direction / length.reshape(-1, *[1] * (x.ndim - 1))
        slope = (gradient * unit).flatten(1).sum(1)
        with torch.no_grad():
            ahead = margin(exact(x.double() + _STEP * unit), y)
            back = margin(exact(x.double() - _STEP * unit), y)
        measured = (ahead - back) / (2 * _STEP)
        size = torch.maximum(slope.abs(), measured.abs())
        largest = gradient.flatten(1).norm(dim=1)
        apart = (slope - measured).abs() > _DIFFERENCE * torch.maximum(size, 1e-3 * largest)
        wrong |= (apart & (size > 1e-9)).cpu()
    part = float(wrong.double().mean())
    found = f"{part:.0%} of {len(rows)} input gradients disagree with finite differences"
    if part > _DISAGREE:
        return Check(
            name, "fail", f"{found}: what autograd returns is not the slope of the function "
            "(rounding, a straight-through estimate, a jump).", _FINITE, named(rows[wrong]),
        )  # fmt: skip
    return Check(name, "pass", f"{found}.", _FINITE)


def _gradient(subject: Subject, loss, x: Tensor, y: Tensor) -> Tensor:
    with private_randomness(Draws(subject.seed, torch.arange(1)), x.device):
        return _input_gradient(subject.guarded, loss, x, y)


def _input_gradient(model: nn.Module, loss, x: Tensor, y: Tensor) -> Tensor:
    """The gradient as autograd gives it, NaN and all."""
    with untouched(model), torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(model(leaf), y).sum(), leaf)
    return gradient
