"""A number measured on some examples, and how sure it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

_RESAMPLES = 200  # enough for a standard error (Efron & Tibshirani 1993, section 6.4)
_NORMAL_95 = 1.959964


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A value and its interval at 95 %.

    The interval is the value plus and minus 1.96 bootstrap standard errors over the examples, cut
    to the range the quantity can take.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def bootstrap(
    statistic: Callable[[Tensor], float],
    *sizes: int,
    seed: int,
    limits: tuple[float, float] = (0.0, 1.0),
) -> Estimate:
    """A statistic of all examples, and its interval by drawing examples with replacement.

    Args:
        statistic: Of the examples at some positions, `(sum(sizes),)`.
        sizes: How many examples there are; of several groups one after another, each is drawn
            from by itself.
        seed: Of the draws.
        limits: Lowest and highest value the statistic can take.
    """
    generator = torch.Generator().manual_seed(seed)
    first = [sum(sizes[:number]) for number in range(len(sizes))]

    def draw() -> Tensor:
        groups = zip(first, sizes, strict=True)
        return torch.cat([at + torch.randint(n, (n,), generator=generator) for at, n in groups])

    value = statistic(torch.arange(sum(sizes)))
    drawn = [statistic(draw()) for _ in range(_RESAMPLES)]
    reach = _NORMAL_95 * float(torch.tensor(drawn, dtype=torch.float64).std())
    return Estimate(value, max(value - reach, limits[0]), min(value + reach, limits[1]))
