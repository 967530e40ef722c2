"""Projected gradient descent."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from ..losses import cross_entropy
from ..threats._climb import climb
from ..threats._threat import norm, per_example
from ._attack import Attack
from ._engine import Search


@dataclasses.dataclass(frozen=True)
class PGD(Attack):
    r"""Projected gradient descent (Madry et al. 2018) on the cross-entropy.

    .. math:: x_{k+1} = P(x_k + \alpha \, \mathrm{ascend}(\nabla L(x_k)))

    where `ascend` is the sign for Linf, the unit vector for L2 and the largest entry for L1. With
    a target, the cross-entropy of the target is descended instead.

    Cost: `steps` forward and backward passes and one forward pass per restart and example that
    still stands, and one forward pass for the clean input.

    Args:
        threat: The perturbations that are allowed.
        steps: Gradient steps per restart.
        step_size: Length of a step in input units; None: `2.5 * eps / steps`, at most eps, so that
            the boundary can be reached from anywhere (Madry et al. 2018, MNIST and CIFAR).
        restarts: Independent searches of the examples that still stand.
        random_start: Whether a search begins at a random point of the ball or at the clean input.
        momentum: Decay of the accumulated gradient; 1.0 gives MIM (Dong et al. 2018).

    Raises:
        ValueError: A step is longer than the ball is wide, or a count is below 1.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.PGD(brolly.Linf(8 / 255), steps=20)(model, x, y).x.shape
        torch.Size([2, 1, 2, 2])
    """

    _: dataclasses.KW_ONLY
    steps: int = 20
    step_size: float | None = None
    restarts: int = 1
    random_start: bool = True
    momentum: float = 0.0

    @property
    def name(self) -> str:
        return "pgd"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.restarts < 1:
            raise ValueError(
                f"steps is {self.steps}, restarts is {self.restarts}; expected 1 or more of each"
            )
        width = 2 * self.threat.eps
        if self.step_size is not None and not 0 < self.step_size <= width:
            raise ValueError(
                f"step_size is {self.step_size:.6g}, but the ball of {self.threat} is {width:.6g} "
                f"wide; expected more than 0 and at most that. Write for example "
                f"{self._default_step:.6g}, or None for 2.5 * eps / steps"
            )

    @property
    def step(self) -> float:
        """Length of a step in input units."""
        return self._default_step if self.step_size is None else self.step_size

    @property
    def _default_step(self) -> float:
        return min(2.5 / self.steps, 1) * self.threat.eps

    def search(self, search: Search) -> None:
        loss = search.row_loss(cross_entropy)
        for restart in range(self.restarts):
            rows = search.standing()
            if len(rows) == 0:
                return
            clean = search.x[rows]
            draws = search.draws.fold(restart).of(rows)
            x = self.threat.sample(clean, draws) if self.random_start else clean
            velocity = torch.zeros_like(x)
            for _ in range(self.steps):
                gradient = search.at(x, rows, loss).gradient
                rows, x, clean, gradient, velocity = search.drop_fooled(
                    rows, x, clean, gradient, velocity
                )
                if len(rows) == 0:
                    break
                if self.momentum:
                    scale = norm(gradient, 1).clamp_min(torch.finfo(x.dtype).tiny)
                    velocity = self.momentum * velocity + gradient / per_example(scale, x)
                    gradient = velocity
                x = self.threat.project(x + self.step * self.threat.ascend(gradient), clean)
            else:
                search.logits(x, rows)

    def climb(self, loss: Callable[[Tensor], Tensor], clean: Tensor, start: Tensor) -> Tensor:
        """The plain ascent that training uses: all steps for all examples, the last point.

        Args:
            loss: Maps inputs `(batch, ...)` to their losses `(batch,)`.
            clean: Centre of the threat.
            start: Where to begin.
        """
        return climb(self.threat, loss, clean, start, steps=self.steps, step=self.step)
