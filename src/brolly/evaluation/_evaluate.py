"""Attack a model, example by example, and write down what happened."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .._device import pick_device
from ..attacks import APGD, EOT, APGDTargeted, Attack, rand
from ..attacks._standard import members
from ..certify import Certificate, IntervalBounds
from ..data import Split, as_split
from ..threats import Threat, parse_threat
from ._begin import begin, go_on, restore
from ._evaluation import Checked, Evaluation, Picture, Precision
from ._evidence import Evidence, input_sha256
from ._findings import Findings, Found
from ._guard import Guarded
from ._judge import Judge
from ._shards import (
    among_ranks,
    forget_shares,
    from_first_rank,
    in_processes,
    ranks,
    recover,
    together,
)
from ._work import Work, twin_of, with_evidence
from .checks import Subject, run_checks

_PICTURES = 12

_LEVELS: tuple[Checked, ...] = ("", "cheap", "full")

#: Forward passes whose mean is the answer of a model that draws random numbers (Croce & Hein 2020).
_SAMPLES = 20


def default_attacks(threat: Threat) -> tuple[Attack, ...]:
    """APGD on the cross-entropy, then on the targeted DLR loss (Croce & Hein 2020)."""
    return APGD(threat), APGDTargeted(threat)


def evaluate(
    model: nn.Module,
    split: Split | Iterable[Any],
    threat: Threat,
    *,
    attacks: Attack | Sequence[Attack] | None = None,
    examples: int | None = None,
    batch_size: int = 256,
    curve_examples: int = 500,
    certificate: Certificate | None = IntervalBounds(),
    checks: Checked = "cheap",
    seed: int = 0,
    precision: Precision = "float32",
    device: str | None = None,
    processes: int = 1,
    name: str | None = None,
    command: str = "",
    save_to: str | Path | None = None,
    evidence: str | Path | None = None,
    reuse: Sequence[str | Path] = (),
    train: Split | Iterable[Any] | None = None,
    on_progress: Callable[[Evaluation], None] | None = None,
) -> Evaluation:
    """Measures clean, robust and certified accuracy, and tests itself.

    The attacks follow each other; each meets the examples that still stand. Every input they
    return is put back into the threat and shown to the untouched model, in eval mode and full
    precision; only that counts. NaN logits are failures of the model, and so are errors it raises
    on some inputs. The verdict of an example depends on the seed and its position in the split,
    not on the batch size, nor on how many processes or ranks share the work.

    A model that draws random numbers is attacked through EOT; its answer is the mean of 20 passes.

    Args:
        model: Maps inputs to logits `(batch, classes)`; left as it is.
        split: What to attack, in its stored order; usually `data.test`. Batches of a `DataLoader`
            are put together first (`brolly.data.gather`).
        threat: What the adversary may do.
        attacks: In this order; an ensemble stands for its members. None:
            `default_attacks(threat)`, or `rand(threat)` for a random model. Their threats must be
            `threat`.
        examples: How many, from the first; None: all.
        batch_size: Examples attacked at a time.
        curve_examples: Examples for robust accuracy against eps; 0: no curve.
        certificate: What proves that examples hold, where it understands the model; None: nothing.
        checks: Which checks to run at the end: `cheap`, `full`, or none with "". What they look
            for is in `docs/checks.md`.
        seed: Of every attack.
        precision: `bfloat16` searches under autocast, which is two to three times as fast where
            the hardware has it. In both, the search runs on a copy with BatchNorm folded into the
            layers before it. Verdicts come from the untouched model in float32, and an example
            whose success they do not confirm is searched again on that.
        device: Where to compute; None: CUDA where there is one. The model is moved there.
        processes: How many to share the examples, on a CPU; the threads are shared out, too.
            Under `torch.distributed` the ranks share them instead, and return the same.
        name: What to call the model; None: its class.
        command: The command that repeats this, for the record.
        save_to: A JSON file that keeps the evaluation after every batch. If it holds an
            evaluation of the same model, split and threat, that one goes on and ends the same;
            more examples or further attacks begin where it ended.
        evidence: An HDF5 file that anyone can check the evaluation by (`brolly verify`); None:
            `save_to` with the ending `.h5`.
        reuse: Evidence about the same model and split at smaller eps, whose adversarial inputs
            are shown to the judge first.
        train: The training examples, for the check that none of them is evaluated.
        on_progress: Called with the evaluation so far, after every batch.

    Raises:
        ValueError: An argument does not fit, or `save_to` holds a different evaluation.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.SoftmaxRegression(64, classes=10)
        >>> history = brolly.fit(model, data, epochs=2)
        >>> result = brolly.evaluate(model, data.test, brolly.Linf(0.1), examples=50)
        >>> result.certified.hits <= result.robust.hits <= result.clean.hits
        True
    """
    split = as_split(split, threat.bounds)
    train = None if train is None else as_split(train, threat.bounds)
    plan = None if attacks is None else members(attacks)
    _check_arguments(split, threat, plan, examples, batch_size, curve_examples, processes)
    device = pick_device(device)
    model = model.to(device)
    saved, files = _load(save_to), [Path(file) for file in reuse]
    count = max(examples or len(split), 0 if saved is None else len(saved.index))
    part = split.first(min(count, len(split)))
    guarded = Guarded(model)
    samples = _samples(guarded, part, batch_size, device, seed) if saved is None else saved.samples
    plan = _for_samples(plan, threat, samples)
    state = begin(
        model, split, len(part), threat, plan, seed, precision, samples,
        name or type(model).__name__, command,
    )  # fmt: skip
    if saved is not None:
        state = go_on(saved, state, Path(str(save_to)))
        if _ended(state, curve_examples, checks):
            return state
    else:
        state = with_evidence(state, files)
    first = part.scaled(part.first(8).read()).to(device)
    work = Work(
        model, guarded, Guarded(twin_of(model, first)), part, threat, plan, certificate, seed,
        batch_size, precision, device, samples,
    )  # fmt: skip
    rank, world = ranks()

    def show(state: Evaluation) -> Evaluation:
        if rank == 0 and on_progress is not None:
            on_progress(state)
        return state

    def keep(state: Evaluation) -> Evaluation:
        if rank == 0 and save_to is not None:
            state.save(save_to)
        return show(state)

    with _findings(save_to, evidence, processes * world) as (findings, proof):
        state = recover(restore(state, findings, proof), findings)
        together()
        state = work.look_at_clean(state, findings)
        state = keep(work.show_again(state, findings, files))
        if world > 1:
            state = keep(among_ranks(work, state, findings))
        elif processes > 1:
            state = keep(in_processes(work, state, findings, processes, show))
        else:
            state = work.attack(state, findings, keep)
        if rank == 0:
            forget_shares(findings)
            state = _finish(work, state, findings, curve_examples, checks, train)
            if proof is not None:
                _evidence(state, findings, part).save(proof)
            state = keep(state)
            findings.remove()
        return from_first_rank(state)


def _load(path: str | Path | None) -> Evaluation | None:
    return Evaluation.load(path) if path is not None and Path(path).is_file() else None


def _samples(model: nn.Module, split: Split, batch_size: int, device: str, seed: int) -> int:
    """How many passes the answer of a model is the mean of."""
    x = split.scaled(split.first(batch_size).read()).to(device)
    return _SAMPLES if Judge(model, seed=seed).is_random(x) else 1


def _for_samples(
    plan: tuple[Attack, ...] | None, threat: Threat, samples: int
) -> tuple[Attack, ...]:
    """The attacks as they have to be for models that draw random numbers."""
    if samples == 1:
        return default_attacks(threat) if plan is None else plan
    if plan is None:
        return members(rand(threat))
    return tuple(attack if attack.passes > 1 else EOT(attack, samples=samples) for attack in plan)


def _ended(state: Evaluation, curve_examples: int, checks: Checked) -> bool:
    """Whether nothing that is asked for is missing."""
    drawn = bool(state.curve) or not curve_examples or state.samples > 1
    return state.complete and drawn and _LEVELS.index(state.checked) >= _LEVELS.index(checks)


@contextlib.contextmanager
def _findings(
    save_to: str | Path | None, evidence: str | Path | None, sharers: int
) -> Iterator[tuple[Findings, Path | None]]:
    """Where to keep what is found, and the file that becomes the evidence."""
    if evidence is None and save_to is not None:
        evidence = Path(save_to).with_suffix(".h5")
    if evidence is not None:
        proof = Path(evidence)
        yield Findings(proof.with_name(f"{proof.name}.parts")), proof
    elif sharers > 1:
        with tempfile.TemporaryDirectory() as folder:
            yield Findings(Path(folder)), None
    else:
        yield Findings(), None


def _finish(
    work: Work,
    state: Evaluation,
    findings: Findings,
    curve_examples: int,
    checks: Checked,
    train: Split | None,
) -> Evaluation:
    """What is left to do when every attack has met every example."""
    if curve_examples and not state.curve and state.samples == 1:
        try:
            state = work.draw_curve(state, curve_examples)
        except ValueError as error:  # the model has no gradients, which the curve's attack needs
            note = f"no robust accuracy against eps: {error}"
            state = dataclasses.replace(state, warnings=(*state.warnings, note))
    refuted = tuple(
        f"{record.name} claimed {record.refuted} successes that the evaluator refuted"
        for record in state.attacks
        if record.refuted
    )
    state = dataclasses.replace(
        state,
        warnings=tuple(dict.fromkeys((*state.warnings, *refuted))),
        pictures=_pictures(work, state, _adversarial(state, findings)),
        complete=True,
    )
    if _LEVELS.index(checks) > _LEVELS.index(state.checked):
        found = _adversarial(state, findings)
        subject = Subject(
            model=work.model,
            split=work.split,
            threat=work.threat,
            evaluation=state,
            adversarial_index=torch.from_numpy(found.index),
            adversarial=torch.from_numpy(found.inputs),
            seed=work.seed,
            batch_size=work.batch_size,
            device=work.device,
            train=train,
        )
        state = dataclasses.replace(
            state, checks=run_checks(subject, full=checks == "full"), checked=checks
        )
    return state


def _adversarial(state: Evaluation, findings: Findings) -> Found:
    """The adversarial inputs of all broken examples."""
    parts = [part for number in range(len(state.attacks)) for part in findings.of(str(number))]
    shape = findings.of("clean")[0]
    nothing = Found(shape.index[:0], shape.inputs[:0], shape.logits[:0])
    return Found.joined(parts) or nothing


def _pictures(work: Work, state: Evaluation, found: Found) -> tuple[Picture, ...]:
    """The first broken examples, before and after."""
    first = found.where(np.arange(min(_PICTURES, len(found.index))))
    clean = work.inputs(torch.from_numpy(first.index))[0].float().cpu().numpy()
    return tuple(
        Picture(
            index=int(row),
            label=int(state.label[row]),
            clean_prediction=int(state.clean_prediction[row]),
            adversarial_prediction=int(state.adversarial_prediction[row]),
            clean=before,
            adversarial=after,
        )
        for row, before, after in zip(first.index, clean, first.inputs, strict=True)
    )


def _evidence(state: Evaluation, findings: Findings, split: Split) -> Evidence:
    found, clean = _adversarial(state, findings), Found.joined(findings.of("clean"))
    assert clean is not None  # every example was looked at
    return Evidence(
        evaluation=state,
        input_sha256=input_sha256(split),
        clean_logits=clean.logits,
        adversarial_index=found.index,
        adversarial=found.inputs.reshape(-1, *split.shape),
        adversarial_logits=found.logits,
    )


def _check_arguments(
    split: Split,
    threat: Threat,
    attacks: Sequence[Attack] | None,
    examples: int | None,
    batch_size: int,
    curve_examples: int,
    processes: int,
) -> None:
    if examples is not None and not 1 <= examples <= len(split):
        raise ValueError(
            f"examples is {examples}; {split.dataset}/{split.name} has {len(split)}, so expected "
            f"1 to {len(split)}"
        )
    if batch_size < 1 or curve_examples < 0:
        raise ValueError(
            f"batch_size is {batch_size}, curve_examples is {curve_examples}; expected 1 or more "
            "and 0 or more"
        )
    if len(split) == 0:
        raise ValueError(f"{split.dataset}/{split.name} is empty; expected examples to attack")
    if math.isinf(threat.eps):
        raise ValueError(
            f"threat is {threat}, which everything lies in; give a radius, for example "
            f"{threat.kind}:0.1. Distances without a limit: call the attack itself"
        )
    if parse_threat(f"{threat.kind}:{threat.eps!r}", threat.bounds) != threat:
        raise ValueError(
            f"{threat!r} has no text form, so its evaluation could not be read back; expected a "
            "plain Linf, L2, L1 or L0. Call the attack itself"
        )
    if processes < 1:
        raise ValueError(f"processes is {processes}; expected 1 or more")
    if attacks is None:
        return
    if not attacks:
        raise ValueError("attacks is empty; expected at least one, or None for the default")
    for attack in attacks:
        if attack.threat != threat:
            raise ValueError(
                f"{attack.name} attacks inside {attack.threat!r}, but the evaluation is for "
                f"{threat!r}; give both the same threat"
            )
