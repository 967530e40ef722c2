"""Were the attacks strong enough?"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor, nn

from ..._draws import Draws
from ...attacks import APGD, EOT, FGSM, PGD, Attack, Square, Transfer
from ...threats import Threat
from .._check import Check
from ._subject import ENOUGH, Subject, named

_POINTS = 0.002
_EXAMPLES = 100


def _missed(rows: int, of: int, points: float = _POINTS) -> bool:
    """Whether what was found is more than chance: so many points, and enough examples."""
    return rows >= ENOUGH and rows > points * of


def black_box_beats_white_box(subject: Subject, queries: int) -> Check:
    """Square needs scores alone: what only it breaks had gradients that mislead."""
    name = "black-box-beats-white-box"
    threshold = (
        f"Square breaks more than {_POINTS:.1%} of the examples, and at least {ENOUGH}, that "
        "attacks along the gradient left standing"
    )
    total, records = len(subject.evaluation.index), subject.evaluation.attacks
    after = [k for k, record in enumerate(records) if record.name.startswith("square") and k > 0]
    if after:
        broken = torch.from_numpy((subject.evaluation.broken_by == after[0]).nonzero()[0])
        rows, budget = subject.right, "in the evaluation itself"
    else:
        rows = subject.held[:_EXAMPLES]
        if subject.threat.kind not in Square.kinds or len(rows) == 0:
            return Check(name, "not applicable", "Nothing to compare.", threshold)
        broken = rows[subject.broken(Square(subject.threat, queries=queries), rows)]
        total, budget = len(rows), f"with {queries} queries"
    found = f"Square broke {len(broken)} of {len(rows)} examples that stood, {budget}"
    if _missed(len(broken), total):
        return Check(
            name, "fail", f"{found}: gradients mislead, and robust accuracy is overstated.",
            threshold, named(broken),
        )  # fmt: skip
    return Check(name, "pass", f"{found}.", threshold)


def noise_beats_white_box(subject: Subject, full: bool) -> Check:
    """Chance and transfer know no gradients of the model: neither may do better than them."""
    name = "noise-beats-white-box"
    threshold = (
        f"random points of the ball, or inputs found on a surrogate, break more than {_POINTS:.1%} "
        f"of the examples, and at least {ENOUGH}, that attacks along the gradient left standing"
    )
    rows = subject.held[: 2 * _EXAMPLES]
    if len(rows) == 0:
        return Check(name, "not applicable", "No example held.", threshold)
    x, _ = subject.inputs(rows)
    broken, draws = torch.zeros(len(rows), dtype=torch.bool), Draws(subject.seed, rows.to(x.device))
    count = 32 if full else 8
    for number in range(count):
        broken |= subject.breaks(subject.threat.sample(x, draws.fold(number)), rows)
    what = f"{count} random points of the ball"
    if full and subject.threat.kind in APGD.kinds:
        surrogate = _surrogate(subject)
        broken |= subject.broken(Transfer(APGD(subject.threat, steps=30), surrogate), rows)
        what += " and inputs found on a surrogate network"
    hits = rows[broken]
    said = f"{what} broke {len(hits)} of {len(rows)} examples that held"
    said = said[0].upper() + said[1:]
    if _missed(len(hits), len(rows)):
        return Check(
            name, "fail", f"{said}: gradients of the model mislead.", threshold, named(hits)
        )
    return Check(name, "pass", f"{said}.", threshold)


def _surrogate(subject: Subject) -> nn.Module:
    """A network with honest gradients, taught what the model says around the examples."""
    shape, classes = subject.split.shape, len(subject.split.classes)
    rows = torch.arange(min(len(subject.split), 1000))
    x, _ = subject.inputs(rows)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(subject.seed)
        net = nn.Sequential(
            nn.Flatten(), nn.Linear(math.prod(shape), 256), nn.ReLU(), nn.Linear(256, classes)
        ).to(subject.device)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    draws = Draws(subject.seed, rows.to(x.device))
    noisy = [x, *(subject.threat.sample(x, draws.fold(number)) for number in range(3))]
    taught = [subject.judge.predict(at).clamp(0, classes - 1) for at in noisy]
    for _ in range(60):
        for at, answer in zip(noisy, taught, strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(at), answer).backward()
            optimizer.step()
    return net.eval().requires_grad_(False)


def stable_predictions(subject: Subject) -> Check:
    """Where tiny noise turns what attacks could not, predictions jump."""
    name, part = "stable-predictions", 0.05
    threshold = (
        f"noise of {part:.0%} of eps turns more than 1% of the examples, and at least {ENOUGH}, "
        "that attacks left standing"
    )
    rows = subject.held[: 2 * _EXAMPLES]
    if len(rows) == 0 or subject.threat.kind == "l0":
        return Check(name, "not applicable", "No example held.", threshold)
    x, _ = subject.inputs(rows)
    draws = Draws(subject.seed, rows.to(x.device)).fold(99)
    near = subject.threat.with_eps(subject.threat.eps * part)
    turned = torch.zeros(len(rows), dtype=torch.bool)
    for number in range(8):
        turned |= subject.breaks(near.sample(x, draws.fold(number)), rows)
    hits = rows[turned]
    said = f"Noise of {part:.0%} of eps turned {len(hits)} of {len(rows)} examples that held"
    if _missed(len(hits), len(rows), 0.01):
        return Check(
            name, "fail", f"{said}: predictions jump where attacks saw nothing.", threshold,
            named(hits),
        )  # fmt: skip
    return Check(name, "pass", f"{said}.", threshold)


def silent_success(subject: Subject) -> Check:
    """Whether attacks return what they met, and whether that is what the judge sees."""
    name = "silent-success"
    threshold = (
        "an attack passes through a success that it does not return, or claims one that is none"
    )
    refuted = sum(record.refuted for record in subject.evaluation.attacks)
    if refuted and not subject.random:
        return Check(
            name,
            "fail",
            f"Attacks claimed {refuted} successes that the evaluator refuted.",
            threshold,
        )
    rows = subject.right[:8]
    if subject.threat.kind not in APGD.kinds or len(rows) == 0 or subject.random:
        return Check(name, "not applicable", "Nothing to follow.", threshold)
    silent = []
    for row in rows.split(1):
        x, y = subject.inputs(row)
        watch = _Watch(subject.guarded, subject.threat, x, y)
        found = APGD(subject.threat, steps=10)(watch, x, y, index=row.to(x.device))
        if watch.seen and not subject.breaks(found.x, row).any():
            silent.append(int(row))
    if silent:
        return Check(
            name, "fail", f"For {len(silent)} of {len(rows)} examples an attack met an input that "
            "is misclassified, but not when the judge sees it again.", threshold, tuple(silent),
        )  # fmt: skip
    return Check(
        name,
        "pass",
        f"What attacks met on their way, they returned ({len(rows)} followed).",
        threshold,
    )


class _Watch(nn.Module):
    """Notes whether any input it is shown is inside the threat and misclassified.

    Attacks in L1 begin outside.
    """

    def __init__(self, model: nn.Module, threat: Threat, clean: Tensor, y: Tensor) -> None:
        super().__init__()
        self.model, self.threat, self.clean, self.y = model, threat, clean, y
        self.seen = False

    def forward(self, x: Tensor) -> Tensor:
        logits = self.model(x)
        wrong = (logits.argmax(1) != self.y) & self.threat.contains(x, self.clean)
        self.seen = self.seen or bool(wrong.any())
        return logits


def loss_converged(subject: Subject) -> Check:
    """Where few more steps break much more, the attacks stopped on their way."""
    name = "loss-converged"
    threshold = (
        f"twice the steps break more than 5% of the examples, and at least {ENOUGH}, that stood"
    )
    records = [r for r in subject.evaluation.attacks if "steps" in r.settings]
    rows = subject.held[:_EXAMPLES]
    if not records or subject.threat.kind not in APGD.kinds or len(rows) == 0:
        return Check(name, "not applicable", "No steps to double.", threshold)
    steps = max(int(record.settings["steps"]) for record in records)
    doubled = min(2 * steps, 50) if steps < 25 else 0
    if not doubled:
        return Check(name, "not applicable", f"The attacks took {steps} steps.", threshold)
    hits = rows[subject.broken(APGD(subject.threat, steps=doubled), rows)]
    said = f"With {doubled} steps instead of {steps}, {len(hits)} of {len(rows)} more break"
    if _missed(len(hits), len(rows), 0.05):
        return Check(name, "warn", f"{said}: the loss was still rising.", threshold, named(hits))
    return Check(name, "pass", f"{said}.", threshold)


def unbounded_attack(subject: Subject) -> Check:
    """With the whole range allowed every input can be changed into any other, so all break."""
    name = "unbounded-attack"
    chance = 1 / len(subject.split.classes)
    threshold = f"more than {chance:.0%} hold when the whole range is allowed"
    rows = subject.right[:_EXAMPLES]
    if subject.threat.kind not in ("linf", "l2", "l1") or len(rows) == 0:
        return Check(name, "not applicable", "Nothing to attack.", threshold)
    width, count = subject.threat.width, math.prod(subject.split.shape)
    limit = {"linf": width, "l2": width * math.sqrt(count), "l1": width * count}
    free = dataclasses.replace(subject, threat=subject.threat.with_eps(limit[subject.threat.kind]))
    standing = rows
    for loss in ("ce", "dlr"):
        broken = free.broken(_for(subject, APGD(free.threat, loss=loss, steps=50)), standing)
        standing = standing[~broken]
        if len(standing) == 0:
            break
    said = f"{len(standing)} of {len(rows)} hold when the whole range is allowed"
    if len(standing) > chance * len(rows):
        return Check(
            name, "fail", f"{said}: attacks do not find what must be there.", threshold,
            named(standing),
        )  # fmt: skip
    return Check(name, "pass", f"{said}.", threshold)


def accuracy_against_eps(subject: Subject) -> Check:
    """Where all inputs can become one, no more can be right than share a label."""
    name = "accuracy-against-eps"
    # Of inputs that can all become the same one, those with the most common label may be right.
    labels = subject.split.labels
    chance = int(labels.bincount().max()) / len(labels)
    threshold = f"robust accuracy is above {chance:.0%} where all inputs meet"
    curve = subject.evaluation.curve
    if len(curve) < 2:
        return Check(name, "not applicable", "No curve was drawn.", threshold)
    rates = [point.robust.rate for point in curve]
    said = f"Robust accuracy falls from {rates[0]:.1%} to {rates[-1]:.1%} at eps {curve[-1].eps:g}"
    diameter = subject.threat.diameter(torch.Size(subject.split.shape))
    # Within half the diameter lies the middle of the bounds; in L0 all values must change.
    meeting = diameter if subject.threat.kind == "l0" else diameter / 2
    if rates[-1] > chance and curve[-1].eps >= meeting:
        return Check(name, "fail", f"{said}, and no further: attacks are blind.", threshold)
    return Check(name, "pass", f"{said}.", threshold)


def more_steps(subject: Subject) -> Check:
    """Whether stronger settings of the same attacks would have told another number."""
    name, points = "more-steps", 0.005
    threshold = (
        f"twice the steps and restarts break more than {points:.1%} of the examples, and at least "
        f"{ENOUGH}, that stood"
    )
    rows = subject.held[: 2 * _EXAMPLES]
    if subject.threat.kind not in APGD.kinds or len(rows) == 0:
        return Check(name, "not applicable", "Nothing to attack again.", threshold)
    steps = [int(r.settings["steps"]) for r in subject.evaluation.attacks if "steps" in r.settings]
    doubled = 2 * max(steps, default=25)
    broken = torch.zeros(len(rows), dtype=torch.bool)
    for loss in ("ce", "dlr"):
        broken |= subject.broken(
            _for(subject, APGD(subject.threat, loss=loss, steps=doubled)), rows
        )
    hits = rows[broken]
    said = f"{doubled} steps from another start broke {len(hits)} of {len(rows)} that held"
    if _missed(len(hits), len(subject.evaluation.index), points):
        return Check(name, "warn", f"{said}: the attacks were too short.", threshold, named(hits))
    return Check(name, "pass", f"{said}.", threshold)


def iterative_beats_single_step(subject: Subject) -> Check:
    """One step stronger than many is a fault of the attacks; the reverse, of the training."""
    name, part = "iterative-beats-single-step", 0.1
    threshold = (
        f"a single step breaks at least {ENOUGH} examples that iterative attacks left; or more "
        f"than {part:.0%} of those that survive a single step break within half of eps"
    )
    rows = subject.right[:_EXAMPLES]
    if subject.threat.kind not in FGSM.kinds or len(rows) == 0:
        return Check(name, "not applicable", "Nothing to attack.", threshold)
    single = subject.broken(FGSM(subject.threat), rows)
    missed = rows[single & torch.isin(rows, subject.held)]
    if len(missed) >= ENOUGH:
        return Check(
            name, "fail", f"A single step broke {len(missed)} of {len(rows)} examples that "
            "iterative attacks left standing.", threshold, named(missed),
        )  # fmt: skip
    survivors = rows[~single]
    half = subject.threat.with_eps(subject.threat.eps / 2)
    fooled = dataclasses.replace(subject, threat=half).broken(
        _for(subject, PGD(half, steps=10)), survivors
    )
    early = survivors[fooled]
    said = (
        f"Of {len(survivors)} examples that survive a single step, {len(early)} break within half "
        "of eps"
    )
    if len(early) >= ENOUGH and len(early) > part * len(survivors):
        return Check(
            name, "warn", f"{said} in ten steps: the model was fitted to single steps "
            "(catastrophic overfitting), and what it survives of them means nothing.", threshold,
            named(early),
        )  # fmt: skip
    return Check(
        name, "pass", f"{said}; no single step broke what iterative attacks left.", threshold
    )


def _for(subject: Subject, attack: Attack) -> Attack:
    return EOT(attack, samples=subject.evaluation.samples) if subject.random else attack
