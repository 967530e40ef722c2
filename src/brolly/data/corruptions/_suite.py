"""What a corruption and a suite of them are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal

from torch import Tensor

SEVERITIES = (1, 2, 3, 4, 5)

Group = Literal["noise", "blur", "weather", "digital", "shape", "drawing"]
Parameters = tuple[tuple[float, ...], ...]


@dataclasses.dataclass(frozen=True)
class Corruption:
    """One type: its group, how it is done, and its severities.

    Attributes:
        group: What it resembles.
        apply: Called with images, random numbers, the length of a published pixel in pixels, and
            the parameters of a severity.
        parameters: One tuple for each severity, from 1; lengths in pixels of the published size.
        measured: The severities that the published benchmark asks for; none for the extra types,
            which no mean counts.
    """

    group: Group
    apply: Callable[..., Tensor] = dataclasses.field(repr=False)
    parameters: Parameters
    measured: tuple[int, ...] = SEVERITIES


@dataclasses.dataclass(frozen=True)
class Suite:
    """Corruptions that were published together.

    Attributes:
        name: Of the published set of images.
        side: Height and width of its images, in pixels.
        kinds: Its types by name, in the published order.
    """

    name: str
    side: int
    kinds: Mapping[str, Corruption]

    @property
    def measured(self) -> tuple[tuple[str, int], ...]:
        """Type and severity of every cell of its benchmark."""
        return tuple(
            (kind, severity)
            for kind, corruption in self.kinds.items()
            for severity in corruption.measured
        )
