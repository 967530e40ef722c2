"""One-pixel attack: differential evolution."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from .._draws import Draws
from ..losses import cross_entropy
from ..threats import Threat
from ._attack import Attack
from ._engine import Search

# Su et al. 2019: differential weight; mean and deviation of the first colours, which the paper
# takes as 128 and 127 of 255.
_WEIGHT, _MEAN, _DEVIATION = 0.5, 0.5, 0.5


@dataclasses.dataclass(frozen=True)
class OnePixel(Attack):
    """Differential evolution of a few pixels, their places and colours (Su et al. 2019).

    Needs scores only. The threat counts values, so a pixel of an image `(channels, height, width)`
    costs as many as there are channels, and `eps // channels` pixels change. Other inputs are rows
    of values, each a pixel.

    A child is `a + 0.5 (b - c)` of three members drawn at random, and takes the place of the
    member it follows where its loss is no lower.

    Cost: at most `queries` forward passes, one per member and generation, and one for the clean
    input; none once the example is fooled.

    Args:
        threat: L0.
        queries: Most queries per example; 40,400 for the paper's 100 generations after the first.
        population: Members; 400 in the paper.

    Raises:
        ValueError: There are fewer than four members or fewer queries than members; when called,
            eps does not make up one pixel.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.OnePixel(brolly.L0(1), queries=40, population=10)(model, x, y).cost.backwards
        0
    """

    threat: Threat
    _: dataclasses.KW_ONLY
    queries: int = 40_400
    population: int = 400

    kinds: ClassVar[tuple[str, ...]] = ("l0",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.population < 4:
            raise ValueError(f"population is {self.population}; expected 4 or more")
        if self.queries < self.population:
            raise ValueError(
                f"queries is {self.queries}, fewer than the {self.population} of one generation; "
                "raise queries or lower population"
            )

    @property
    def name(self) -> str:
        return "one-pixel"

    def search(self, search: Search) -> None:
        shape = search.x.shape[1:] if search.x.ndim == 4 else (1, 1, search.x[0].numel())
        pixels = int(self.threat.eps) // shape[0]
        if pixels == 0:
            if self.threat.eps == 0:
                return
            raise ValueError(
                f"eps is {self.threat.eps:.6g}, and a pixel has {shape[0]} values; expected "
                f"{shape[0]} or more"
            )
        loss, rows = search.row_loss(cross_entropy), search.standing()
        like = search.x.new_empty(len(rows), self.population, pixels, 2 + shape[0])
        draws = search.draws.fold(0).of(rows)
        place = draws.uniform(like[..., :2])
        colour = (_MEAN + _DEVIATION * draws.normal(like[..., 2:])).clamp_(0, 1)
        members = torch.cat([place, colour], -1)
        fitness = search.x.new_full((len(rows), self.population), -torch.inf)
        for generation in range(self.queries // self.population):
            if generation == 0:
                children = members
            else:
                children = _children(members, search.draws.fold(generation).of(rows))
            for k in range(self.population):
                rows, members, fitness, children = search.drop_fooled(
                    rows, members, fitness, children
                )
                if len(rows) == 0:
                    return
                x = self._paint(search.x[rows], children[:, k], shape)
                value = loss(search.logits(x, rows), rows).to(fitness.dtype)
                better = value >= fitness[:, k]
                fitness[:, k] = torch.where(better, value, fitness[:, k])
                members[:, k] = torch.where(better[:, None, None], children[:, k], members[:, k])

    def _paint(self, clean: Tensor, genes: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The clean inputs with the pixels of one member each, genes in [0, 1]."""
        height, width = shape[1:]
        images = clean.reshape(len(clean), *shape).clone()
        batch = torch.arange(len(clean), device=clean.device)
        sides = genes.new_tensor([height, width])
        places = (genes[..., :2] * sides).long().minimum((sides - 1).long())
        low, high = self.threat.bounds
        colours = (low + (high - low) * genes[..., 2:]).clamp_(low, high)
        # One after the other: where two share a place, the later one counts, on every device.
        for k in range(genes.shape[1]):
            images[batch, :, places[:, k, 0], places[:, k, 1]] = colours[:, k]
        return images.reshape(clean.shape)


def _children(members: Tensor, draws: Draws) -> Tensor:
    """One child for each member, from three different ones."""
    count = members.shape[1]
    uniform = draws.uniform(members.new_empty(*members.shape[:2], 3))
    a = (uniform[..., 0] * count).long()
    b = 1 + (uniform[..., 1] * (count - 1)).long()
    c = 1 + (uniform[..., 2] * (count - 2)).long()
    c = c + (c >= b)  # the offsets from `a` that are neither 0 nor that of `b`
    batch = torch.arange(len(members), device=members.device)[:, None]
    first, second, third = (members[batch, k % count] for k in (a, a + b, a + c))
    return (first + _WEIGHT * (second - third)).clamp_(0, 1)
