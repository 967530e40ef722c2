"""Steps along an accumulated gradient: what the attacks made to transfer share."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from .._draws import Draws
from ..losses import cross_entropy
from ..threats import Threat
from ..threats._threat import per_example
from ._attack import Attack, check_counts
from ._engine import RowLoss, Search

#: Gradient of the loss at inputs of the rows in hand, with their shape.
Gradient = Callable[[Tensor], Tensor]


class Refinement(abc.ABC):
    """Another gradient in the place of the plain one, to fit a model less closely."""

    @abc.abstractmethod
    def refine(self, gradient: Gradient, draws: Draws) -> Gradient:
        """The gradient to use instead of `gradient`."""


@dataclasses.dataclass(frozen=True)
class MomentumAttack(Attack):
    r"""The steps that the attacks of this family share.

    .. math::
        g_{k+1} = \mu g_k + \frac{G(x_k) + v_k}{\mathrm{mean} |G(x_k) + v_k|}, \quad
        x_{k+1} = P(x_k + \alpha \, \mathrm{ascend}(g_{k+1}))

    Its members are named settings of the same fields, so what the papers combine is combined
    here: `NIM(threat, refine=(Smooth(), Scaled(), Diverse()))` is SI-NI-TI-DIM. They climb the
    cross-entropy of the label, or descend that of the target.

    Cost: `steps` backward passes, times the copies of `Scaled`, times `1 + neighbours` before the
    last step; and two forward passes. An example ends early where the model errs at an iterate
    itself; at inputs beside it, such as those of `Diverse`, errors do not count.

    Args:
        threat: The perturbations that are allowed.
        steps: Gradient steps; 10 in the papers.
        step_size: Length of a step in input units; None: `eps / steps`, as in the papers.
        momentum: Decay of the accumulated gradient; 1 in the papers.
        nesterov: Whether the gradient is taken where momentum alone would lead (NI).
        neighbours: Points whose mean gradient corrects the next one (VT); 0: none.
        neighbourhood: How far away they are drawn, as a multiple of eps.
        refine: What becomes of the gradient G; the first is the outermost.

    Raises:
        ValueError: A count or a length is out of range.
    """

    _: dataclasses.KW_ONLY
    steps: int = 10
    step_size: float | None = None
    momentum: float = 1.0
    nesterov: bool = False
    neighbours: int = 0
    neighbourhood: float = 1.5
    refine: tuple[Refinement, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(steps=self.steps)
        width = 2 * self.threat.eps
        if self.step_size is not None and not 0 < self.step_size <= width:
            raise ValueError(
                f"step_size is {self.step_size:.6g}, but the ball of {self.threat} is {width:.6g} "
                "wide; expected more than 0 and at most that, or None for eps / steps"
            )
        for field in ("momentum", "neighbours", "neighbourhood"):
            value = getattr(self, field)
            if not 0 <= value < math.inf:
                raise ValueError(f"{field} is {value}; expected a finite number, 0 or more")

    @property
    def name(self) -> str:
        return type(self).__name__.lower()

    @property
    def step(self) -> float:
        """Length of a step in input units."""
        return self.threat.eps / self.steps if self.step_size is None else self.step_size

    def search(self, search: Search) -> None:
        loss = search.row_loss(cross_entropy)
        rows = search.standing()
        clean = x = search.x[rows]
        velocity = correction = torch.zeros_like(x)
        for step in range(self.steps):
            draws = search.draws.fold(step)
            look = self._ahead(x, velocity) if self.nesterov else x
            gradient = self._gradient(search, loss, rows, x, draws.fold(0))(look)
            rows, x, clean, velocity, correction, gradient = search.drop_fooled(
                rows, x, clean, velocity, correction, gradient
            )
            if len(rows) == 0:
                return
            corrected = gradient + correction
            size = corrected.flatten(1).abs().mean(1).clamp_min(torch.finfo(x.dtype).tiny)
            velocity = self.momentum * velocity + corrected / per_example(size, x)
            if self.neighbours and step < self.steps - 1:
                nearby = self._gradient(search, loss, rows, x, draws.fold(1))
                around = draws.fold(2).of(rows)
                total = torch.zeros_like(x)
                for _ in range(self.neighbours):
                    total += nearby(x + self._offset(x, around))
                correction = total / self.neighbours - gradient
            x = self.threat.project(x + self.step * self.threat.ascend(velocity), clean)
        search.logits(x, rows)

    def _gradient(
        self, search: Search, loss: RowLoss, rows: Tensor, x: Tensor, draws: Draws
    ) -> Gradient:
        def plain(at: Tensor) -> Tensor:
            # Inputs beside the iterate may leave the threat, so only the iterate is judged.
            return search.at(at, rows, loss, judge=at is x).gradient

        own = draws.of(rows)
        gradient: Gradient = plain
        for refinement in reversed(self.refine):
            gradient = refinement.refine(gradient, own)
        return gradient

    def _ahead(self, x: Tensor, velocity: Tensor) -> Tensor:
        # The mean entry of a new gradient is 1, so in Linf one step's worth of each is `step`.
        # In L2 a vector with such entries has the length sqrt(values).
        values = math.prod(x.shape[1:])
        reach = self.step / (math.sqrt(values) if self.threat.order == 2 else 1)
        return x + reach * self.momentum * velocity

    def _offset(self, x: Tensor, draws: Draws) -> Tensor:
        """Uniform in the ball of `neighbourhood * eps`, not cut to the bounds."""
        return ball(self.threat, x, draws) * (self.neighbourhood * self.threat.eps)


def ball(threat: Threat, x: Tensor, draws: Draws) -> Tensor:
    """A random point of the unit ball of Linf or L2 for each example."""
    if threat.order == math.inf:
        return draws.uniform(x) * 2 - 1
    direction = threat.ascend(draws.normal(x))
    volume = draws.uniform(x.new_empty(len(x), 1))[:, 0]
    return direction * per_example(volume ** (1 / math.prod(x.shape[1:])), x)


def check_images(x: Tensor, name: str) -> None:
    """Raises ValueError where `x` is not a batch of images."""
    if x.ndim != 4:
        raise ValueError(
            f"{name} works on images (batch, channels, height, width), but the inputs have shape "
            f"{tuple(x.shape)}. Leave it out, as in MIM, or reshape inside the model"
        )
