"""Evidence checked by somebody who trusts nobody."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .._device import pick_device
from ..certify import Certificate, IntervalBounds, Unsupported
from ..data import Split, as_split
from ._evaluation import WRONG
from ._evidence import Evidence, input_sha256
from ._guard import Guarded
from ._judge import Judge, model_sha256, predictions

#: Logits of one model on two machines differ by rounding; by more than this of their size, they
#: are of two models.
_ROUNDING = 1e-3


@dataclasses.dataclass(frozen=True)
class Claim:
    """Something evidence says, and whether it is so.

    Attributes:
        text: The claim.
        examined: How many things it was looked at for.
        failing: Positions in the split where it does not hold; `(-1,)` where it is about no
            example.
        note: More, in words.
    """

    text: str
    examined: int
    failing: tuple[int, ...] = ()
    note: str = ""

    @property
    def holds(self) -> bool:
        return not self.failing


def verify(
    evidence: Evidence | str | Path,
    model: nn.Module,
    split: Split | Iterable[Any],
    *,
    certificate: Certificate = IntervalBounds(),
    batch_size: int = 256,
    device: str | None = None,
) -> tuple[Claim, ...]:
    """Re-checks every claim of evidence with the model and the data alone, without an attack.

    That an example held cannot be checked so: evidence says what was tried, and anyone may try
    more.

    Args:
        evidence: What `evaluate` wrote, or the path of it.
        model: The model it is said to be about; left as it is.
        split: The split it is said to be about.
        certificate: What the proofs are repeated with.
        batch_size: Examples looked at at a time.
        device: Where to compute; None: CUDA where there is one.

    Raises:
        ValueError: The file cannot be read, or model, data and evidence do not fit each other at
            all.

    Example:
        >>> import tempfile, brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.SoftmaxRegression(64, classes=10)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = f"{folder}/result.h5"
        ...     result = brolly.evaluate(model, data.test, brolly.Linf(0.1), examples=20,
        ...                              evidence=file)
        ...     claims = brolly.verify(file, model, data.test)
        >>> all(claim.holds for claim in claims)
        True
    """
    if not isinstance(evidence, Evidence):
        evidence = Evidence.load(evidence)
    said = evidence.evaluation
    split = as_split(split, said.threat.bounds)
    _check_shapes(evidence, split)
    device = pick_device(device)
    model = model.to(device)
    guarded = Guarded(model)
    guarded.classes = evidence.clean_logits.shape[1]
    judge = Judge(guarded, said.samples, said.seed)
    rows = said.index
    clean = _clean_logits(judge, split, rows, batch_size, device)
    wrong = rows[said.broken_by == WRONG]
    right = rows[said.broken_by != WRONG]
    return (
        _whole(
            "the model has the weights that were evaluated",
            model_sha256(model) == said.model.sha256,
            f"evidence is about {said.model.name}, {said.model.sha256[:16]}",
        ),
        _whole(
            "the data set is the one that was evaluated",
            split.sha256 == said.data.sha256,
            f"evidence is about {said.data.name}/{said.data.split}, {said.data.sha256[:16]}",
        ),
        _each(
            "clean inputs are those of the data set",
            rows,
            (input_sha256(split.select(torch.from_numpy(rows))) != evidence.input_sha256).any(1),
        ),
        _each("labels are those of the data set", rows, split.labels[rows].numpy() != said.label),
        _each("clean logits are what the model gives", rows, ~_agree(clean, evidence.clean_logits)),
        _each(
            "clean inputs said to be right are right",
            right,
            (_classes(clean) != said.label)[said.broken_by != WRONG],
        ),
        _each(
            "clean inputs said to be wrong are wrong",
            wrong,
            (_classes(clean) == said.label)[said.broken_by == WRONG],
        ),
        *_adversarial_claims(evidence, judge, split, batch_size, device),
        *_proofs(evidence, model, split, certificate, batch_size, device),
        _whole(
            "counts and headline follow from the verdicts",
            said.counted().attacks == said.attacks
            and said.certified.hits <= said.robust.hits <= said.clean.hits,
            f"{said.certified.hits} proved, {said.robust.hits} hold, {said.clean.hits} right, "
            f"of {len(rows)}",
        ),
    )


def _adversarial_claims(
    evidence: Evidence, judge: Judge, split: Split, batch_size: int, device: str
) -> list[Claim]:
    said, rows = evidence.evaluation, evidence.adversarial_index
    threat, (low, high) = said.threat, said.threat.bounds
    parts: list[tuple[Tensor, ...]] = []
    for at in torch.arange(len(rows)).split(batch_size):
        x_adv = torch.from_numpy(evidence.adversarial[at.numpy()]).to(device)
        x = split.scaled(split.read(torch.from_numpy(rows[at.numpy()]))).to(device)
        inside = (x_adv >= low) & (x_adv <= high)
        part = (
            inside.flatten(1).all(1),
            threat.contains(x_adv, x),
            threat.distance(x_adv, x),
            judge.logits(x_adv),
        )
        parts.append(tuple(value.cpu() for value in part))
    if parts:
        bounded, near, distance, logits = (
            torch.cat(part).numpy() for part in zip(*parts, strict=True)
        )
    else:
        bounded = near = np.zeros(0, dtype=bool)
        distance, logits = np.zeros(0), evidence.adversarial_logits
    at = np.searchsorted(said.index, rows)
    claimed = said.index[said.broken_by >= 0]
    return [
        _each(
            "every example said to be broken has its adversarial input",
            claimed,
            ~np.isin(claimed, rows),
        ),
        _each(f"adversarial inputs lie within {said.threat}", rows, ~near),
        _each(f"adversarial inputs lie within the bounds [{low:g}, {high:g}]", rows, ~bounded),
        _each(
            "adversarial inputs are misclassified in full precision",
            rows,
            _classes(logits) == said.label[at],
        ),
        _each(
            "adversarial logits are what the model gives",
            rows,
            ~_agree(logits, evidence.adversarial_logits),
        ),
        _each(
            "distances are as written",
            rows,
            ~np.isclose(distance, said.distance[at], rtol=1e-4, atol=1e-6),
        ),
    ]


def _proofs(
    evidence: Evidence,
    model: nn.Module,
    split: Split,
    certificate: Certificate,
    batch_size: int,
    device: str,
) -> list[Claim]:
    said = evidence.evaluation
    rows = said.index[said.proved]
    if len(rows) == 0:
        return []
    text = f"proofs by {said.certificate} can be repeated"
    proved = []
    for part in torch.from_numpy(rows).split(batch_size):
        x, y = split.scaled(split.read(part)).to(device), split.labels[part].to(device)
        try:
            proved.append(certificate.proves(model, x, y, said.threat).cpu())
        except Unsupported as error:
            return [Claim(text, len(rows), (-1,), str(error))]
    return [_each(text, rows, ~torch.cat(proved).numpy())]


def _clean_logits(
    judge: Judge, split: Split, rows: np.ndarray, batch_size: int, device: str
) -> np.ndarray:
    parts = [
        judge.logits(split.scaled(split.read(part)).to(device)).float().cpu()
        for part in torch.from_numpy(rows).split(batch_size)
    ]
    return torch.cat(parts).numpy()


def _check_shapes(evidence: Evidence, split: Split) -> None:
    said, shape = evidence.evaluation, evidence.adversarial.shape[1:]
    if said.data.classes != split.classes or tuple(shape) != split.shape:
        raise ValueError(
            f"evidence is about {said.data.name}/{said.data.split} with inputs of shape "
            f"{tuple(shape)} and {len(said.data.classes)} classes, got {split.dataset}/"
            f"{split.name} with {split.shape} and {len(split.classes)}; expected what it is about"
        )
    if len(said.index) and int(said.index.max()) >= len(split):
        raise ValueError(
            f"evidence is about example {int(said.index.max())}, but {split.dataset}/{split.name} "
            f"has {len(split)}; expected the whole split"
        )


def _whole(text: str, holds: bool, note: str) -> Claim:
    return Claim(text, 1, () if holds else (-1,), note)


def _each(text: str, rows: np.ndarray, failing: np.ndarray) -> Claim:
    return Claim(text, len(rows), tuple(int(row) for row in rows[failing]))


def _classes(logits: np.ndarray) -> np.ndarray:
    return predictions(torch.from_numpy(logits)).numpy()


def _agree(logits: np.ndarray, written: np.ndarray) -> np.ndarray:
    """Where logits are the same up to what rounding does to them."""
    if logits.shape != written.shape:
        return np.zeros(len(logits), dtype=bool)
    size = np.abs(np.nan_to_num(written)).max(1, initial=1.0)[:, None]
    same = np.abs(logits - written) <= _ROUNDING * size
    return (same | (np.isnan(logits) & np.isnan(written)) | (logits == written)).all(1)
