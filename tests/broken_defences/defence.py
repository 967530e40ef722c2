"""What the zoo says about each of its models."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from broken_defences.training import THREAT
from torch import nn

from brolly.threats import Threat


@dataclasses.dataclass(frozen=True)
class Defence:
    """A small version of a published idea.

    Attributes:
        name: What tables call it.
        build: Trains it from a seed; in eval mode.
        paper: Where the idea and, for broken ones, its end were published.
        caught_by: The check that is to notice what is wrong; "" for sound models.
        threat: What it is evaluated against.
    """

    name: str
    build: Callable[[int], nn.Module]
    paper: str
    caught_by: str = ""
    threat: Threat = THREAT
