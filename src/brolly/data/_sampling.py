"""Which examples a pass takes, in which order."""

from __future__ import annotations

import torch
from torch import Tensor

from ._split import Split


def shuffled_rows(count: int, generator: torch.Generator) -> Tensor:
    """Each of `count` rows once, in random order."""
    return torch.randperm(count, generator=generator)


def balanced_rows(labels: Tensor, generator: torch.Generator) -> Tensor:
    """As many rows as there are labels, drawn with replacement; each class is equally likely.

    Within its class each row is equally likely, so an example of a class with m of n rows, out of
    k classes, is expected n / (k m) times.
    """
    by_class, counts = labels.argsort(stable=True), labels.bincount()
    classes = torch.randint(len(counts), labels.shape, generator=generator)
    # In float64, a number below 1 times a count stays below the count.
    place = torch.rand(len(labels), generator=generator, dtype=torch.float64) * counts[classes]
    return by_class[(counts.cumsum(0) - counts)[classes] + place.long()]


def check_every_class(split: Split) -> None:
    """Raises ValueError where a class has no examples to draw."""
    counts = split.labels.bincount(minlength=len(split.classes)).tolist()
    missing = [name for name, count in zip(split.classes, counts, strict=True) if count == 0]
    if missing:
        shown = ", ".join(repr(name) for name in missing[:5])
        raise ValueError(
            f"balanced sampling draws each class equally often, but {split.dataset}/{split.name} "
            f"has no examples of {len(missing)} of its {len(counts)} classes ({shown}"
            f"{', ...' if len(missing) > 5 else ''}); leave balanced out, or these classes"
        )
