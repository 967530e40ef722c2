"""What checks look at, and the looks they share."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...attacks import Attack
from ...data import Split
from ...losses import margin
from ...threats import Threat
from .._check import Check
from .._evaluation import HELD, WRONG, Evaluation
from .._guard import Guarded
from .._judge import Judge

#: A check: what it finds about an evaluation.
Look = Callable[["Subject"], Check]

#: Alarms that rest on examples ask for at least this many: one alone may be luck.
ENOUGH = 3

#: The highest positions a check names.
_NAMED = 20


@dataclasses.dataclass(frozen=True)
class Subject:
    """A complete evaluation, with the model and the examples it is about.

    Attributes:
        model: The model; checks leave it as it is.
        split: The examples that were evaluated.
        threat: What the adversary was allowed.
        evaluation: The outcome.
        adversarial_index: Positions of the broken examples, `(m,)`.
        adversarial: The inputs that break them, `(m, ...)`.
        seed: Of the random numbers checks need.
        batch_size: Examples looked at at a time.
        device: Where to compute.
        train: The training examples, if known.
    """

    model: nn.Module
    split: Split
    threat: Threat
    evaluation: Evaluation
    adversarial_index: Tensor
    adversarial: Tensor
    seed: int = 0
    batch_size: int = 256
    device: str = "cpu"
    train: Split | None = None

    @functools.cached_property
    def guarded(self) -> Guarded:
        guarded = Guarded(self.model)
        guarded.classes = len(self.split.classes)
        return guarded

    @property
    def judge(self) -> Judge:
        return Judge(self.guarded, self.evaluation.samples, self.seed)

    @property
    def random(self) -> bool:
        """Whether the model draws random numbers."""
        return self.evaluation.samples > 1

    @functools.cached_property
    def right(self) -> Tensor:
        """Positions of the examples that are right without an adversary."""
        return torch.from_numpy((self.evaluation.broken_by != WRONG).nonzero()[0])

    @functools.cached_property
    def held(self) -> Tensor:
        """Positions of the examples that no attack broke."""
        return torch.from_numpy((self.evaluation.broken_by == HELD).nonzero()[0])

    def inputs(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Clean inputs and labels at some positions."""
        x = self.split.scaled(self.split.read(rows)).to(self.device)
        return x, self.split.labels[rows].to(self.device)

    def closeness(self, x: Tensor, y: Tensor) -> Tensor:
        """How far the best other class is ahead of the label; positive where it wins."""
        return margin(self.judge.logits(x), y)

    def broken(self, attack: Attack, rows: Tensor, model: nn.Module | None = None) -> Tensor:
        """Which of `rows` an attack breaks, as the judge sees it."""
        return self.breaks(self.found(attack, rows, model), rows)

    def found(self, attack: Attack, rows: Tensor, model: nn.Module | None = None) -> Tensor:
        """What an attack finds for `rows`, on the model or on another one."""
        parts = [self.inputs(rows[:0])[0]]
        for part in rows.split(self.batch_size):
            x, y = self.inputs(part)
            result = attack(
                self.guarded if model is None else model, x, y,
                generator=torch.Generator().manual_seed(self.seed + 1),
                index=part.to(self.device),
            )  # fmt: skip
            parts.append(result.x)
        return torch.cat(parts)

    def breaks(self, x_adv: Tensor, rows: Tensor) -> Tensor:
        """Which of `rows` given inputs break, put back into the threat, `(rows,)`."""
        parts = [torch.zeros(0, dtype=torch.bool)]
        for part, found in zip(
            rows.split(self.batch_size), x_adv.split(self.batch_size), strict=True
        ):
            x, y = self.inputs(part)
            parts.append(self.judge.breaks(self.threat, x, y, found)[0].cpu())
        return torch.cat(parts)


def named(rows: Tensor) -> tuple[int, ...]:
    """The first positions, for a report."""
    return tuple(rows.tolist()[:_NAMED])
