"""Square attack: random search with square windows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from .._draws import Draws
from ..losses import margin
from ..threats import Threat
from ..threats._threat import norm, per_example
from ._attack import Attack, check_counts
from ._engine import Search

# Andriushchenko et al. 2020, section 4: queries (of 10,000) at which the windows shrink to half.
_HALVED_AT = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@dataclasses.dataclass(frozen=True)
class Square(Attack):
    """Random search that changes one square window of the image at a time.

    Square attack (Andriushchenko et al. 2020), for L1 as in Croce & Hein (2021). It needs the
    model's scores only, no gradients, so gradients that mislead do not mislead it: where it breaks
    what attacks along the gradient did not, the gradients are masked.

    A window that raises the margin of the wrong classes is kept. In Linf a window sets every
    channel to one corner of the ball; in L2 and L1 it moves what a second window has spent of eps
    into a new peak. Inputs that are no images `(channels, height, width)` are taken for one row of
    values, and windows are intervals.

    Cost: one forward pass per query, until the example is fooled; none where a window would change
    nothing.

    Args:
        threat: Linf, L2 or L1.
        queries: Windows to try; 5,000 in Croce & Hein (2020).
        share: Part of the image that the first windows cover; 0.8 in Croce & Hein (2020).

    Raises:
        ValueError: There are no queries, or `share` is not above 0 and at most 1.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.Square(brolly.Linf(0.1), queries=50)(model, x, y).cost.backwards
        0
    """

    _: dataclasses.KW_ONLY
    queries: int = 5000
    share: float = 0.8

    kinds: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(queries=self.queries)
        if not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}; expected more than 0 and at most 1")

    @property
    def name(self) -> str:
        return "square"

    def search(self, search: Search) -> None:
        rows = search.standing()
        clean = _as_images(search.x)[rows]
        start, move = (
            (_stripes, _set_corner) if self.threat.order == float("inf") else (_tiles, _move_peak)
        )
        best = start(self.threat, clean, search.draws.fold(0).of(rows))
        value = self._closeness(search, best, rows)
        for query in range(1, self.queries):
            rows, clean, best, value = search.drop_fooled(rows, clean, best, value)
            if len(rows) == 0:
                return
            window = self._window(query, clean)
            tried = move(self.threat, best, clean, window, search.draws.fold(query).of(rows))
            # Many windows hold what they would be set to already; there is nothing to ask then.
            new = (tried != best).flatten(1).any(1).nonzero()[:, 0]
            if len(new) == 0:
                continue
            found = self._closeness(search, tried[new], rows[new])
            better = found > value[new]
            kept = new[better]
            best[kept] = tried[kept]
            value[kept] = found[better]

    def _window(self, query: int, images: Tensor) -> tuple[int, int]:
        """Height and width of the windows at a query."""
        height, width = images.shape[-2:]
        halved = sum(query > limit for limit in _HALVED_AT)
        area = self.share / 2**halved * height * width
        least = 1 if self.threat.order == float("inf") else 3
        tall = min(max(round(math.sqrt(area)), least), height)
        return tall, min(max(round(area / tall), least), width)

    def _closeness(self, search: Search, images: Tensor, rows: Tensor) -> Tensor:
        logits = search.logits(images.reshape(-1, *search.x.shape[1:]), rows)
        if search.target is None:
            return margin(logits, search.y[rows])
        return -margin(logits, search.target[rows])


def _as_images(x: Tensor) -> Tensor:
    return x if x.ndim == 4 else x.reshape(len(x), 1, 1, -1)


def _signs(uniform: Tensor) -> Tensor:
    return torch.where(uniform < 0.5, -1.0, 1.0).to(uniform.dtype)


def _places(uniform: Tensor, window: tuple[int, int], shape: Sequence[int]) -> tuple[Tensor, ...]:
    """Rows `(batch, tall)` and columns `(batch, wide)` of one window per example.

    `uniform` holds two numbers in [0, 1) for each example.
    """
    return tuple(
        (uniform[:, axis, None] * (shape[axis] - window[axis] + 1)).long()
        + torch.arange(window[axis], device=uniform.device)
        for axis in (0, 1)
    )


# Linf: every value lies in a corner of the ball.


def _stripes(threat: Threat, clean: Tensor, draws: Draws) -> Tensor:
    """Vertical stripes of one sign."""
    signs = _signs(draws.uniform(clean[:, :, :1]))
    return threat.project(clean + threat.eps * signs, clean)


def _set_corner(
    threat: Threat, best: Tensor, clean: Tensor, window: tuple[int, int], draws: Draws
) -> Tensor:
    """One sign for each channel of the window."""
    channels, *shape = clean.shape[1:]
    uniform = draws.uniform(clean.new_empty(len(clean), 2 + channels))
    rows, columns = _places(uniform, window, shape)
    inside = torch.zeros(len(clean), 1, *shape, dtype=torch.bool, device=clean.device)
    batch = torch.arange(len(clean), device=clean.device)[:, None, None]
    inside[batch, 0, rows[:, :, None], columns[:, None, :]] = True
    signs = _signs(uniform[:, 2:])[:, :, None, None]
    return torch.where(inside, threat.project(clean + threat.eps * signs, clean), best)


# L2 and L1: what a window holds of eps is moved into a peak elsewhere.


def _tiles(threat: Threat, clean: Tensor, draws: Draws) -> Tensor:
    """Peaks of random sign, five to a side."""
    shape = clean.shape[-2:]
    tile = tuple(max(size // 5, 1) for size in shape)
    peak = _peaks(tile, 0, clean)
    counts = [size // side for size, side in zip(shape, tile, strict=True)]
    signs = _signs(draws.uniform(clean.new_empty(len(clean), clean.shape[1], *counts)))
    tiled = (signs[:, :, :, None, :, None] * peak[:, None, :]).flatten(4, 5).flatten(2, 3)
    delta = torch.zeros_like(clean)
    top, left = ((s - n * t) // 2 for s, n, t in zip(shape, counts, tile, strict=True))
    delta[:, :, top : top + tiled.shape[2], left : left + tiled.shape[3]] = tiled
    return _fill_ball(threat, clean, delta)


def _move_peak(
    threat: Threat, best: Tensor, clean: Tensor, window: tuple[int, int], draws: Draws
) -> Tensor:
    channels, *shape = clean.shape[1:]
    uniform = draws.uniform(clean.new_empty(len(clean), 5 + channels))
    batch = torch.arange(len(clean), device=clean.device)[:, None, None, None]
    every = torch.arange(channels, device=clean.device)[:, None, None]

    def at(numbers: Tensor) -> tuple[Tensor, ...]:
        rows, columns = _places(numbers, window, shape)
        return batch, every, rows[:, None, :, None], columns[:, None, None, :]

    target, source, delta = at(uniform[:, :2]), at(uniform[:, 2:4]), best - clean
    order = threat.order
    before = _size(delta, order)
    unused = (threat.eps**order - before.sum(1, keepdim=True)).clamp_min(0) / channels
    old = delta[target]
    cleared = delta.clone()
    cleared[target], cleared[source] = 0, 0
    spent = before - _size(cleared, order)
    upright = (uniform[:, 4] < 0.5)[:, None, None, None]
    peak = torch.where(upright, _peaks(window, 0, clean), _peaks(window, 1, clean))
    new = peak * _signs(uniform[:, 5:])[:, :, None, None] + _unit(old, order)
    cleared[target] = _unit(new, order) * (spent + unused).clamp_min(0) ** (1 / order)
    return _fill_ball(threat, clean, cleared)


def _fill_ball(threat: Threat, clean: Tensor, delta: Tensor) -> Tensor:
    """The perturbation scaled to length eps, cut to the bounds."""
    length = norm(delta, threat.order).clamp_min(1e-12)
    x = clean + delta * per_example(threat.eps / length, clean)
    return threat.project(x, clean)


def _size(delta: Tensor, order: float) -> Tensor:
    """Sum of powers of each channel, `(batch, channels, 1, 1)`."""
    return (delta.abs() ** order).sum((-2, -1), keepdim=True)


def _unit(delta: Tensor, order: float) -> Tensor:
    return delta / (_size(delta, order) ** (1 / order)).clamp_min(1e-12)


def _peaks(window: tuple[int, ...], axis: int, like: Tensor) -> Tensor:
    """A positive and a negative peak side by side, the paper's eta, of length 1 in L2."""
    first = window[axis] // 2
    halves = []
    for length, sign in ((first, 1.0), (window[axis] - first, -1.0)):
        sides = [length if axis == k else window[k] for k in (0, 1)]
        away = [torch.arange(side, device=like.device) - side // 2 for side in sides]
        far = torch.maximum(away[0].abs()[:, None], away[1].abs()[None, :])
        rings = 1 / torch.arange(1, max(sides) // 2 + 2, device=like.device).to(like.dtype) ** 2
        halves.append(sign * rings.flip(0).cumsum(0).flip(0)[far])
    peaks = torch.cat(halves, axis)
    return peaks / peaks.norm()
