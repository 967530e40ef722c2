"""What a model answers on a split, as it is or changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ..attacks import Attack
from ..data import Split
from ..threats import Threat, parse_threat
from ._evaluation import Count
from ._judge import NO_PREDICTION, Judge

#: Maps inputs `(batch, ...)`, labels and positions in the split, `(batch,)`, to other inputs.
Change = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class Look:
    """Shows inputs to a model in batches; answers are gathered on the CPU, in float64."""

    model: nn.Module
    batch_size: int
    device: str
    seed: int

    def logits(self, split: Split, change: Change | None = None) -> Tensor:
        """Logits on a split, `(examples, classes)`."""
        judge, parts = Judge(self.model), []
        for x, y, rows in self._batches(split):
            x = x if change is None else change(x, y, rows)
            parts.append(judge.logits(x).double().cpu())
        return torch.cat(parts)

    def attacked(self, split: Split, attack: Attack) -> Tensor:
        """Logits on what an attack makes of a split, `(examples, classes)`."""
        return self.logits(split, self.change_by(attack))

    def draws_random_numbers(self, split: Split) -> bool:
        """Whether the model answers differently when asked twice."""
        x, *_ = next(self._batches(split))
        return Judge(self.model, seed=self.seed).is_random(x)

    def right(self, split: Split) -> Count:
        """How many predictions on a split are right."""
        return Count(int((predicted(self.logits(split)) == split.labels.cpu()).sum()), len(split))

    def changed(self, split: Split, change: Change) -> Split:
        """The split with other inputs, which are as the model wants them."""
        inputs = torch.cat([change(*batch).cpu() for batch in self._batches(split)])
        return dataclasses.replace(split, inputs=inputs, scale=1.0)

    def change_by(self, attack: Attack) -> Change:
        """What an attack on the model makes of inputs, put back into the threat."""

        def change(x: Tensor, y: Tensor, rows: Tensor) -> Tensor:
            generator = torch.Generator().manual_seed(self.seed)
            found = attack(self.model, x, y, generator=generator, index=rows)
            return attack.threat.project(found.x, x)

        return change

    def _batches(self, split: Split) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for rows in torch.arange(len(split)).split(self.batch_size):
            x, y = split.scaled(split.read(rows)), split.labels[rows]
            yield x.to(self.device), y.to(self.device), rows.to(self.device)


def predicted(logits: Tensor) -> Tensor:
    """Classes of the highest logits, `NO_PREDICTION` where one is not finite."""
    return logits.argmax(1).masked_fill(~logits.isfinite().all(1), NO_PREDICTION)


def threat_text(threat: Threat) -> str:
    """The threat as text that `parse_threat` reads back, to the last digit."""
    return f"{threat.kind}:{threat.eps!r}"


def check_extent(split: Split, threat: Threat, examples: int | None, batch_size: int) -> None:
    """Raises ValueError where a result could not be written down, or a number is out of range."""
    if parse_threat(threat_text(threat), threat.bounds) != threat:
        raise ValueError(
            f"{threat} has parts that its text does not hold, so a result could not be written "
            "down; expected a ball with one radius, such as Linf(8/255)"
        )
    if examples is not None and not 1 <= examples <= len(split):
        raise ValueError(f"examples is {examples}; expected 1 to {len(split)}")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; expected 1 or more")
