"""What attacks on decisions share: counted questions, a start, the way back to the boundary."""

from __future__ import annotations

import torch
from torch import Tensor

from ..threats import Threat
from ..threats._threat import per_example
from ._engine import Search

#: Random inputs to try before an example is given up.
_TRIES = 100


class Decisions:
    """Asks of a search whether candidates reach the goal, and nothing else.

    Attributes:
        left: Questions each example has left, `(batch,)`.
    """

    def __init__(self, search: Search, queries: int) -> None:
        self.search = search
        self.left = torch.full_like(search.y, queries)

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        self.left[rows] -= 1
        return self.search.reached(self.search.logits(x, rows), rows)

    def drop_done(self, rows: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """`rows` and what goes along, without those that are fooled or have no question left."""
        going = (self.left[rows] > 0) & ~self.search.fooled[rows]
        if going.all():
            return rows, *state
        return rows[going], *(tensor[going] for tensor in state)


def adversarial_start(decisions: Decisions, starts: Tensor | None) -> tuple[Tensor, Tensor]:
    """An adversarial input for every example that one is found for, however far.

    First `starts`, in their order; then up to 100 inputs of uniform noise between two random
    levels, so that not every one of them looks the same to the model. Each costs one query.

    Args:
        decisions: What to ask.
        starts: Inputs `(count, ...)` to try, or None.

    Returns:
        The rows that have one, and those inputs.

    Raises:
        ValueError: The starts have another shape than the inputs or leave the bounds.
    """
    search = decisions.search
    clean, (low, high) = search.x, search.threat.bounds
    known = clean[:0] if starts is None else starts.to(clean)
    if known.shape[1:] != clean.shape[1:]:
        raise ValueError(
            f"starts have shape {tuple(known.shape)}; expected (count, "
            f"{', '.join(map(str, clean.shape[1:]))}) for inputs of shape {tuple(clean.shape)}"
        )
    if ((known < low) | (known > high)).any():
        raise ValueError(f"starts leave the bounds {[low, high]}; expected values inside")
    found, x = torch.zeros_like(search.fooled), clean.clone()
    rows = search.standing()
    for number in range(len(known) + _TRIES):
        (rows,) = decisions.drop_done(rows)
        if len(rows) == 0:
            break
        if number < len(known):
            tried = known[number].expand(len(rows), *known.shape[1:])
        else:
            draws = search.draws.fold(number - len(known)).of(rows)
            levels = draws.uniform(clean.new_empty(len(rows), 2))
            first, second = (per_example(levels[:, k], clean) for k in (0, 1))
            noise = torch.lerp(first, second, draws.uniform(clean[rows]))
            tried = (low + (high - low) * noise).clamp_(low, high)
        hit = decisions(tried, rows)
        x[rows[hit]], found[rows[hit]] = tried[hit], True
        rows = rows[~hit]
    rows = found.nonzero()[:, 0]
    rows, x = decisions.drop_done(rows, x[rows])
    return rows, x


def to_boundary(decisions: Decisions, rows: Tensor, x: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Draws adversarial inputs towards the clean ones by bisection, up to the decision boundary.

    In L2 along the segment between them, in Linf through the balls around the clean input.

    Returns:
        The rows that are to go on, and their nearest input that is adversarial.
    """
    search = decisions.search
    near, far = torch.zeros_like(x.flatten(1)[:, 0]), torch.ones_like(x.flatten(1)[:, 0])
    for _ in range(steps):
        rows, x, near, far = decisions.drop_done(rows, x, near, far)
        if len(rows) == 0:
            break
        middle = (near + far) / 2
        hit = decisions(_towards(search.threat, search.x[rows], x, middle), rows)
        near, far = torch.where(hit, near, middle), torch.where(hit, middle, far)
    rows, x, far = decisions.drop_done(rows, x, far)
    return rows, _towards(search.threat, search.x[rows], x, far)


def _towards(threat: Threat, clean: Tensor, x: Tensor, part: Tensor) -> Tensor:
    """The point of the ball around `clean`, with that part of the radius of `x`, nearest to `x`."""
    if threat.order == 2:
        return torch.lerp(clean, x, per_example(part, x)).clamp_(*threat.bounds)
    radius = per_example(part * threat.distance(x, clean), x)
    return torch.minimum(torch.maximum(x, clean - radius), clean + radius).clamp_(*threat.bounds)
