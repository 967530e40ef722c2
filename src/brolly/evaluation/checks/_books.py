"""Do the books of the evaluation add up?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..._draws import Draws
from ...attacks._engine import private_randomness, untouched
from ...data import Split
from .._check import Check
from .._evaluation import HELD
from .._judge import NO_PREDICTION, model_sha256
from ._subject import Subject, named

_EXAMPLES = 64


def returned_examples(subject: Subject) -> Check:
    """Whether what was found still breaks the model, whatever batch it comes in."""
    name = "returned-examples"
    threshold = (
        "an adversarial input is outside the threat or not adversarial any more; a prediction "
        "depends on the rest of its batch; or more than half survive no rounding to 8 bits"
    )
    rows, found = subject.adversarial_index, subject.adversarial.to(subject.device)
    kept = subject.breaks(found, rows) if len(rows) else torch.zeros(0, dtype=torch.bool)
    lost = rows[~kept]
    if len(lost) and not subject.random:
        return Check(
            name, "fail", f"{len(lost)} of {len(rows)} adversarial inputs do not break the model "
            "when they are shown to it again.", threshold, named(lost),
        )  # fmt: skip
    mates = _depends_on_mates(subject)
    if len(mates):
        return Check(
            name, "fail", f"The answer to {len(mates)} inputs depends on the rest of their batch "
            "(BatchNorm on batch statistics, or an error for single inputs).", threshold,
            named(mates),
        )  # fmt: skip
    if len(rows) == 0:
        return Check(name, "pass", "No example was broken; none depends on its batch.", threshold)
    low, width = subject.threat.bounds[0], subject.threat.width
    rounded = low + ((found - low) / width * 255).round() / 255 * width
    still = float(_wrong(subject, rounded, rows).double().mean())
    said = f"All {len(rows)} adversarial inputs hold; {still:.0%} survive rounding to 8 bits"
    if still < 0.5 and subject.threat.kind == "linf" and subject.threat.eps >= width / 64:
        return Check(name, "warn", f"{said}.", threshold)
    return Check(name, "pass", f"{said}.", threshold)


def _wrong(subject: Subject, x: Tensor, rows: Tensor) -> Tensor:
    parts = zip(x.split(subject.batch_size), rows.split(subject.batch_size), strict=True)
    return torch.cat(
        [(subject.judge.predict(at) != subject.inputs(part)[1]).cpu() for at, part in parts]
    )


def _depends_on_mates(subject: Subject) -> Tensor:
    """Positions whose logits are others in another batch."""
    rows = torch.arange(min(_EXAMPLES, len(subject.split)))
    if subject.random:
        return rows[:0]
    x, _ = subject.inputs(rows)
    together = subject.judge.logits(x)
    few = rows[:16]
    alone = torch.cat([subject.judge.logits(x[k : k + 1]) for k in few])
    pairs = torch.cat([subject.judge.logits(x[k : k + 2]) for k in range(0, len(few) - 1, 2)])
    size = together.abs().nan_to_num().amax().clamp_min(1e-6)
    moved = torch.zeros(len(few), dtype=torch.bool)
    for other in (alone, pairs):
        same = torch.isclose(
            other, together[: len(other)], rtol=1e-3, atol=1e-3 * float(size), equal_nan=True
        )
        moved[: len(other)] |= ~same.all(1).cpu()
    return few[moved]


def model_hygiene(subject: Subject) -> Check:
    """Whether the attacks, or a forward pass, changed the model they were to judge."""
    name = "model-hygiene"
    threshold = "weights, buffers or modes are not what they were, or a pass changes them"
    if model_sha256(subject.model) != subject.evaluation.model.sha256:
        return Check(
            name,
            "fail",
            "The weights or buffers are not those the evaluation began with.",
            threshold,
        )
    x, _ = subject.inputs(torch.arange(min(2, len(subject.split))))
    draws = Draws(subject.seed, torch.arange(1))
    # Inside, as what a pass changes is put back at the end.
    with untouched(subject.model), private_randomness(draws, x.device), torch.no_grad():
        before = _buffers(subject.model)
        subject.guarded(x)
        after = _buffers(subject.model)
        training = any(module.training for module in subject.model.modules())
    if training:
        return Check(name, "fail", "A forward pass changes the mode of modules.", threshold)
    if after != before:
        return Check(name, "fail", "A forward pass changes buffers.", threshold)
    return Check(
        name, "pass", "Weights, buffers and modes are what they were before the attacks.", threshold
    )


def _buffers(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for _, buffer in sorted(model.named_buffers()):
        values = buffer.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def data_hygiene(subject: Subject) -> Check:
    """Whether the examples are in bounds, new to the model, of several classes and enough."""
    name, widest = "data-hygiene", 0.15
    threshold = (
        "inputs outside the bounds, normalised twice, or shared with the training data (more than "
        f"1%); one class only; or an interval of robust accuracy wider than {widest:.0%} each way"
    )
    low, high = subject.threat.bounds
    outside, twice = [], ""

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs and inputs[0].shape[1:] == subject.split.shape:  # not features
            outside.append(_range(inputs[0]))

    hooks = [
        module.register_forward_pre_hook(look)
        for module in subject.model.modules()
        if "normalize" in type(module).__name__.lower()
    ]
    rows = torch.arange(min(_EXAMPLES, len(subject.split)))
    x, _ = subject.inputs(rows)
    try:
        subject.judge.logits(x)
    finally:
        for hook in hooks:
            hook.remove()
    slack = 1e-3 * (high - low)
    for lowest, highest in outside:
        if lowest < low - slack or highest > high + slack:
            twice = (
                f"a normalisation inside the model sees values from {lowest:.3g} to {highest:.3g}"
            )
    if twice:
        return Check(
            name, "fail", f"Inputs are in [{low:g}, {high:g}], but {twice}: they were normalised "
            "before, so eps is not in input units or the model sees what it was not trained on.",
            threshold,
        )  # fmt: skip
    if float(x.min()) < low - slack or float(x.max()) > high + slack:
        return Check(name, "fail", "Inputs lie outside the declared bounds.", threshold)
    if subject.split.labels.unique().numel() < 2:
        return Check(name, "fail", "All examples have the same label.", threshold)
    shared = _shared(subject)
    if len(shared) > 0.01 * len(subject.split):
        return Check(
            name, "fail", f"{len(shared)} of {len(subject.split)} examples are training data, "
            "too.", threshold, named(shared),
        )  # fmt: skip
    lowest, highest = subject.evaluation.robust.interval
    if (highest - lowest) / 2 > widest:
        return Check(
            name, "warn", f"{len(subject.split)} examples are too few: the interval reaches "
            f"{(highest - lowest) / 2:.0%} each way.", threshold,
        )  # fmt: skip
    return Check(
        name, "pass", f"Inputs are in bounds, {len(shared)} of {len(subject.split)} are in the "
        "training data, and they are enough for the claim.", threshold,
    )  # fmt: skip


def _range(x: Tensor) -> tuple[float, float]:
    return float(x.min()), float(x.max())


def _shared(subject: Subject) -> Tensor:
    """Positions of examples that are training examples."""
    if subject.train is None or subject.train.dtype != subject.split.dtype:
        return torch.zeros(0, dtype=torch.long)
    known = set(_hashes(subject.train))
    shared = [k for k, value in enumerate(_hashes(subject.split)) if value in known]
    return torch.tensor(shared, dtype=torch.long)


def _hashes(split: Split) -> Iterator[int]:
    return (hash(row.tobytes()) for part in split.parts() for row in part.cpu().numpy())


def nan_logits(subject: Subject) -> Check:
    """Whether the model answers at all."""
    name, threshold = "nan-logits", "any logit is NaN"
    said = subject.evaluation
    clean = torch.from_numpy((said.clean_prediction == NO_PREDICTION).nonzero()[0])
    found = (said.adversarial_prediction == NO_PREDICTION) & (said.broken_by >= 0)
    adversarial = torch.from_numpy(found.nonzero()[0])
    if len(clean) + len(adversarial) == 0:
        return Check(name, "pass", "No logit is NaN.", threshold)
    return Check(
        name, "fail", f"Logits are NaN (or the model raises) on {len(clean)} clean and "
        f"{len(adversarial)} adversarial inputs; they count as wrong, but a model should answer.",
        threshold, named(torch.cat([clean, adversarial])),
    )  # fmt: skip


def certified_below_attacked(subject: Subject) -> Check:
    """Whether certificate and attacks agree: what is proved cannot be broken."""
    name, threshold = "certified-below-attacked", "an example is proved and broken"
    said = subject.evaluation
    if not said.certificate:
        return Check(name, "not applicable", "No certificate understands the model.", threshold)
    both = torch.from_numpy((said.proved & (said.broken_by != HELD)).nonzero()[0])
    if len(both):
        return Check(
            name, "fail", f"{len(both)} examples are proved by {said.certificate} and broken: one "
            "of the two is a bug.", threshold, named(both),
        )  # fmt: skip
    return Check(
        name, "pass", f"None of {int(said.proved.sum())} proved examples is broken.", threshold
    )
