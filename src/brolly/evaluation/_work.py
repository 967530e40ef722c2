"""The examples of an evaluation, looked at and attacked batch by batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..attacks import Attack, AttackResult, Cost
from ..certify import Certificate, Unsupported
from ..data import Split
from ..models import PROBABILITIES, QueryBudgetExhausted, are_probabilities, fold_batchnorm
from ..threats import Threat
from ._curve import CURVE_ATTACK, robustness_curve
from ._evaluation import HELD, WRONG, AttackRecord, Evaluation, Precision
from ._evidence import Evidence, file_sha256
from ._findings import Findings, Found
from ._guard import Guarded
from ._judge import NO_PREDICTION, Judge, predictions

#: What the record of evidence that is shown again is called, before its threat.
SHOWN_AGAIN = "evidence at "

#: Keeps an evaluation after a batch, and gives it back.
Keep = Callable[[Evaluation], Evaluation]


@dataclasses.dataclass(frozen=True)
class Work:
    """What an evaluation is made of; its methods each add a piece to an `Evaluation`."""

    model: nn.Module
    guarded: Guarded  # the model, whose errors are answers
    twin: Guarded  # what the search runs on
    split: Split
    threat: Threat
    attacks: tuple[Attack, ...]
    certificate: Certificate | None
    seed: int
    batch_size: int
    precision: Precision
    device: str
    samples: int

    @property
    def judge(self) -> Judge:
        return Judge(self.guarded, self.samples, self.seed)

    def inputs(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        x = self.split.scaled(self.split.read(rows)).to(self.device)
        return x, self.split.labels[rows].to(self.device)

    def look_at_clean(self, state: Evaluation, findings: Findings) -> Evaluation:
        """Predictions and proofs for the examples that nobody has looked at."""
        new = np.flatnonzero(state.tried < 0)
        if len(new) == 0:
            return state
        values = {
            name: getattr(state, name).copy()
            for name in ("clean_prediction", "adversarial_prediction", "broken_by", "distance",
                         "tried", "proved")
        }  # fmt: skip
        certificate, probable, nan = self.certificate, True, 0
        for rows in torch.from_numpy(new).split(self.batch_size):
            x, y = self.inputs(rows)
            logits = self.judge.logits(x)
            _check_classes(self.split, logits.shape[1])
            probable = probable and are_probabilities(logits)
            findings.add("clean", _found(rows, x.flatten(1)[:, :0], logits))
            at, prediction = rows.numpy(), predictions(logits).cpu().numpy()
            wrong = prediction != state.label[at]
            nan += int((prediction == NO_PREDICTION).sum())
            values["clean_prediction"][at] = values["adversarial_prediction"][at] = prediction
            values["broken_by"][at] = np.where(wrong, WRONG, HELD)
            values["distance"][at] = np.where(wrong, 0.0, np.nan)
            values["tried"][at] = 0
            if certificate is not None and self.samples == 1:
                try:
                    proved = certificate.proves(self.model, x, y, self.threat)
                    values["proved"][at] = proved.cpu().numpy() & ~wrong
                except Unsupported:
                    certificate = None
        warnings = [PROBABILITIES] if probable else []
        warnings += [f"{nan} clean inputs give NaN logits; they count as wrong"] if nan else []
        if self.samples > 1:
            warnings.append(
                f"the model draws random numbers: attacks and verdicts are about the mean of "
                f"{self.samples} forward passes"
            )
        named = certificate.name if certificate is not None and self.samples == 1 else ""
        return self._warned(
            dataclasses.replace(
                state,
                **values,
                certificate=named,
                warnings=tuple(dict.fromkeys((*state.warnings, *warnings))),
            ).counted()
        )

    def show_again(
        self, state: Evaluation, findings: Findings, files: Sequence[Path]
    ) -> Evaluation:
        """Shows the judge what broke the model at smaller eps, where it has not seen it yet."""
        by_hash = {file_sha256(file): file for file in files}
        for number in range(_shown(state)):
            waiting = (state.broken_by == HELD) & (state.tried == number)
            file = by_hash.get(state.attacks[number].settings["sha256"])
            if file is not None and waiting.any():
                evidence = Evidence.load(file)
                known = np.isin(evidence.adversarial_index, state.index[waiting])
                rows = torch.from_numpy(evidence.adversarial_index[known])
                inputs = torch.from_numpy(evidence.adversarial[known])
                for at in torch.arange(len(rows)).split(self.batch_size):
                    found = inputs[at].to(self.device)
                    state = self._judge(state, findings, number, rows[at], found)
            state = dataclasses.replace(
                state, tried=np.where(waiting, number + 1, state.tried)
            ).counted()
        return state

    def attack(self, state: Evaluation, findings: Findings, keep: Keep) -> Evaluation:
        """Every attack meets the examples of `state` that still stand."""
        self.guarded.classes = self.twin.classes = findings.of("clean")[0].logits.shape[1]
        shown = _shown(state)
        for number in range(shown, shown + len(self.attacks)):
            while True:
                waiting = (state.broken_by == HELD) & (state.tried == number)
                rows = state.index[waiting][: self.batch_size]
                if len(rows) == 0:
                    break
                attack = self.attacks[number - shown]
                state = keep(self._meet(state, findings, number, attack, torch.from_numpy(rows)))
        return state

    def draw_curve(self, state: Evaluation, examples: int) -> Evaluation:
        """Robust accuracy against eps on the first examples."""
        part = self.split.first(examples)
        verdict = torch.from_numpy(state.broken_by[: len(part)])
        curve = robustness_curve(
            self.guarded, part, self.threat, verdict != WRONG, verdict == HELD,
            seed=self.seed, batch_size=self.batch_size, device=self.device,
        )  # fmt: skip
        return dataclasses.replace(state, curve=curve, curve_attack=CURVE_ATTACK)

    def _meet(
        self, state: Evaluation, findings: Findings, number: int, attack: Attack, rows: Tensor
    ) -> Evaluation:
        """An attack meets a batch."""
        x, y = self.inputs(rows)
        found, cost, refuted, spent = self._search(attack, x, y, rows)
        at = np.searchsorted(state.index, rows.numpy())
        queries, tried = state.queries.copy(), state.tried.copy()
        queries[at] += spent.cpu().numpy()
        tried[at] = number + 1
        records = list(state.attacks)
        records[number] = dataclasses.replace(
            records[number],
            refuted=records[number].refuted + refuted,
            cost=records[number].cost + cost,
        )
        state = dataclasses.replace(state, queries=queries, tried=tried, attacks=tuple(records))
        return self._judge(self._warned(state), findings, number, rows, found)

    def _judge(
        self, state: Evaluation, findings: Findings, number: int, rows: Tensor, found: Tensor
    ) -> Evaluation:
        """Writes down which of the inputs found break the model."""
        x, y = self.inputs(rows)
        found = self.threat.project(found, x)
        broken, logits = self.judge.breaks(self.threat, x, y, found)
        at = np.searchsorted(state.index, rows.numpy())[broken.cpu().numpy()]
        findings.add(str(number), _found(rows[broken.cpu()], found[broken], logits[broken]))
        broken_by, distance = state.broken_by.copy(), state.distance.copy()
        prediction = state.adversarial_prediction.copy()
        broken_by[at] = number
        prediction[at] = predictions(logits[broken]).cpu().numpy()
        distance[at] = self.threat.distance(found, x)[broken].double().cpu().numpy()
        return dataclasses.replace(
            state, broken_by=broken_by, adversarial_prediction=prediction, distance=distance
        ).counted()

    def _search(
        self, attack: Attack, x: Tensor, y: Tensor, rows: Tensor
    ) -> tuple[Tensor, Cost, int, Tensor]:
        """What an attack finds, its cost, its successes that are none, and passes an example."""
        low = self.precision == "bfloat16"
        result = self._run(attack, self.twin, x, y, rows, low)
        spent = _spent(result, x)
        broken = self.judge.breaks(self.threat, x, y, result.x)[0]
        refuted = (result.success & ~broken).nonzero()[:, 0]
        if len(refuted) == 0 or not (low or self.twin.model is not self.model):
            return result.x, result.cost, len(refuted), spent
        again = self._run(attack, self.guarded, x[refuted], y[refuted], rows[refuted.cpu()], False)
        spent[refuted] += _spent(again, x[refuted])
        broken = self.judge.breaks(self.threat, x[refuted], y[refuted], again.x)[0]
        found = result.x.index_copy(0, refuted, again.x)
        return found, result.cost + again.cost, int((again.success & ~broken).sum()), spent

    def _run(
        self, attack: Attack, guarded: Guarded, x: Tensor, y: Tensor, rows: Tensor, low: bool
    ) -> AttackResult:
        def run(model: nn.Module) -> AttackResult:
            generator = torch.Generator().manual_seed(self.seed)
            with torch.autocast(x.device.type, torch.bfloat16, enabled=low):
                return attack(model, x, y, generator=generator, index=rows.to(self.device))

        try:
            return run(guarded.model)
        except (torch.OutOfMemoryError, QueryBudgetExhausted):
            raise
        except Exception:  # if the model raised it, on some input, the guard makes it an answer
            return run(guarded)

    def _warned(self, state: Evaluation) -> Evaluation:
        """With what the model raised so far."""
        raised = (
            f"the model raised on some inputs, which count as failures: {message}"
            for message in (*self.guarded.messages, *self.twin.messages)
        )
        return dataclasses.replace(state, warnings=tuple(dict.fromkeys((*state.warnings, *raised))))


def with_evidence(state: Evaluation, files: Sequence[Path]) -> Evaluation:
    """A record for each file of evidence, before those of the attacks."""
    records = (
        AttackRecord(
            f"{SHOWN_AGAIN}{_matching(Evidence.load(file), state, file)}",
            {"sha256": file_sha256(file)},
        )
        for file in files
    )
    return dataclasses.replace(state, attacks=(*records, *state.attacks))


def twin_of(model: nn.Module, x: Tensor) -> nn.Module:
    """A faster copy to search on: BatchNorm folded, channels last.

    The model itself, where it cannot be copied so or the copy does not say the same on `x`.
    """
    for memory in (torch.channels_last, torch.preserve_format):
        try:
            twin = fold_batchnorm(model)
            twin.to(memory_format=memory)  # pyright: ignore[reportCallIssue]  # torch's stubs lack it
            said, again = Judge(model).logits(x), Judge(twin).logits(x)
        except Exception:  # the user's module may refuse a copy, or its layout, in any way
            continue
        if torch.allclose(again, said, rtol=1e-3, atol=1e-4, equal_nan=True):
            return twin
    return model


def _shown(state: Evaluation) -> int:
    return sum(record.name.startswith(SHOWN_AGAIN) for record in state.attacks)


def _found(rows: Tensor, inputs: Tensor, logits: Tensor) -> Found:
    return Found(rows.numpy(), inputs.float().cpu().numpy(), logits.float().cpu().numpy())


def _spent(result: AttackResult, x: Tensor) -> Tensor:
    return torch.zeros(len(x), dtype=torch.long) if result.queries is None else result.queries


def _matching(evidence: Evidence, state: Evaluation, file: Path) -> Threat:
    """The threat of evidence, if all it found counts here."""
    old = evidence.evaluation
    differing = [
        what
        for what, same in (
            ("model", old.model.sha256 == state.model.sha256),
            ("data", old.data.sha256 == state.data.sha256),
            ("threat", old.threat.with_eps(state.threat.eps) == state.threat
             and old.threat.eps <= state.threat.eps),
        )
        if not same
    ]  # fmt: skip
    if differing:
        raise ValueError(
            f"{file} is evidence about another {' and another '.join(differing)}; expected the "
            f"same model and data, and {state.threat.kind} with eps at most {state.threat.eps}"
        )
    return old.threat


def _check_classes(split: Split, classes: int) -> None:
    if classes < len(split.classes):
        raise ValueError(
            f"the model returns {classes} logits, but {split.dataset} has {len(split.classes)} "
            "classes; expected one logit per class"
        )
