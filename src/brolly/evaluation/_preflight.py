"""A look at a model before it is attacked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..attacks._engine import input_gradient, untouched
from ..data import Split, as_split
from ..losses import margin
from ..models import PROBABILITIES, are_probabilities
from ._evaluation import Count
from ._judge import Judge

Status = Literal["pass", "warn", "fail"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """One check: its name, how it ended, and a sentence."""

    check: str
    status: Status
    message: str


def preflight(
    model: nn.Module,
    split: Split | Iterable[Any],
    bounds: tuple[float, float] = (0.0, 1.0),
    examples: int = 512,
) -> list[Finding]:
    """Checks what most often makes robustness numbers wrong; the model is left as it is.

    Args:
        model: Maps inputs to logits `(batch, classes)`.
        split: Examples to try it on; usually `data.test`.
        bounds: Declared range of the inputs.
        examples: How many to try it on, from the first.

    Returns:
        One finding a check. Where the model cannot run at all, the list ends with that.

    Example:
        >>> import brolly
        >>> from brolly.evaluation import preflight
        >>> data = brolly.load_data("digits")
        >>> findings = preflight(brolly.models.MLP(64, 10), data.test)
        >>> [finding.status for finding in findings if finding.check == "output shape"]
        ['pass']
    """
    split = as_split(split, bounds)
    part = split.first(examples)
    home = next(model.parameters(), torch.zeros(()))
    x, y = part.scaled(part.read()).to(home.device), part.labels.to(home.device)
    findings = [_input_range(x, bounds), _modes(model), _normalisation(model)]
    try:
        logits = Judge(model).logits(x)
    except Exception as error:  # the user's forward may raise anything
        message = f"forward pass failed with {type(error).__name__}: {error}"
        return [*findings, Finding("output shape", "fail", message)]
    return [
        *findings,
        _shape(logits, split),
        _logits(logits),
        _determinism(model, x, logits),
        _batch_independence(model, x, logits),
        _nan(model, x, logits, bounds),
        _gradient(model, x, y),
        _clean_accuracy(logits, y, len(split.classes)),
    ]


def _input_range(x: Tensor, bounds: tuple[float, float]) -> Finding:
    low, high = float(x.min()), float(x.max())
    inside = bounds[0] <= low and high <= bounds[1]
    message = f"inputs span [{low:.4g}, {high:.4g}] of the declared {list(bounds)}"
    return Finding("input range", "pass" if inside else "fail", message)


def _modes(model: nn.Module) -> Finding:
    training = [name or "the model" for name, module in model.named_modules() if module.training]
    if not training:
        return Finding("eval mode", "pass", "every submodule is in eval mode")
    message = (
        f"{len(training)} submodules are in training mode ({training[0]}, ...); evaluation and "
        "attacks switch to eval mode for themselves, your own code has to call model.eval()"
    )
    return Finding("eval mode", "warn", message)


def _normalisation(model: nn.Module) -> Finding:
    names = [
        name
        for name, module in model.named_modules()
        if "normalize" in type(module).__name__.lower()
    ]
    if len(names) == 1:
        return Finding("normalisation inside", "pass", f"one layer normalises: {names[0]}")
    if names:
        message = f"{len(names)} layers normalise ({', '.join(names)}); expected one"
        return Finding("normalisation inside", "warn", message)
    message = (
        "no Normalize layer found; if the network was trained on normalised inputs, put "
        "brolly.models.Normalize(mean, std) before it"
    )
    return Finding("normalisation inside", "warn", message)


def _shape(logits: Tensor, split: Split) -> Finding:
    classes = len(split.classes)
    message = f"logits have shape (batch, {logits.shape[1]}) for {classes} classes"
    status: Status = "pass" if logits.shape[1] == classes else "fail"
    return Finding("output shape", status, message)


def _logits(logits: Tensor) -> Finding:
    if are_probabilities(logits):
        return Finding("logits", "fail", PROBABILITIES)
    return Finding("logits", "pass", f"logits span [{logits.min():.4g}, {logits.max():.4g}]")


def _determinism(model: nn.Module, x: Tensor, logits: Tensor) -> Finding:
    again = Judge(model, seed=1).logits(x)
    difference = float((again - logits).abs().nan_to_num().max())
    if difference == 0:
        return Finding("determinism", "pass", "two forward passes agree to the bit")
    moved = Count(int((again.argmax(1) != logits.argmax(1)).sum()), len(logits))
    message = (
        f"two forward passes differ by up to {difference:.3g}; predictions change on {moved}. A "
        "randomised model needs attacks that average over its noise"
    )
    return Finding("determinism", "fail" if moved.hits else "warn", message)


def _batch_independence(model: nn.Module, x: Tensor, logits: Tensor) -> Finding:
    try:
        alone = torch.cat([Judge(model).logits(x[k : k + 1]) for k in range(min(8, len(x)))])
    except Exception as error:  # the user's forward may raise anything
        message = f"one example alone fails with {type(error).__name__}: {error}"
        return Finding("batch independence", "fail", message)
    difference = float((alone - logits[: len(alone)]).abs().nan_to_num().max())
    scale = float(logits.abs().nan_to_num().max()) or 1.0
    message = f"logits of one example alone and in a batch differ by up to {difference:.3g}"
    status: Status = "pass" if difference <= 1e-3 * scale else "fail"
    return Finding("batch independence", status, message)


def _nan(model: nn.Module, x: Tensor, logits: Tensor, bounds: tuple[float, float]) -> Finding:
    extremes = [Judge(model).logits(torch.full_like(x, bound))[:1] for bound in bounds]
    everything = torch.cat([logits, *extremes])
    bad = int((~everything.isfinite()).any(1).sum())
    message = f"{bad} of {len(everything)} inputs give NaN or infinite logits"
    return Finding("NaN", "fail" if bad else "pass", message)


def _gradient(model: nn.Module, x: Tensor, y: Tensor) -> Finding:
    x = x[:64].detach().clone().requires_grad_()
    try:
        with untouched(model), torch.enable_grad():
            gradient = input_gradient(margin(model(x), y[:64]), x)
    except (ValueError, RuntimeError) as error:
        return Finding("input gradient", "fail", str(error))
    zero = Count(int((gradient.flatten(1) == 0).all(1).sum()), len(x))
    message = f"the gradient of the margin is zero for {zero}"
    return Finding("input gradient", "warn" if zero.hits else "pass", message)


def _clean_accuracy(logits: Tensor, y: Tensor, classes: int) -> Finding:
    accuracy = Count(int((logits.argmax(1) == y).sum()), len(y))
    chance = accuracy.interval[0] <= 1 / classes
    message = f"clean accuracy {accuracy}" + (" is no better than chance" if chance else "")
    return Finding("clean accuracy", "fail" if chance else "pass", message)
