"""Friendly adversarial training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .._ranges import check_range
from .._untouched import input_gradient
from ..attacks import PGD
from ..data import Batch
from ..losses import cross_entropy
from ._inner import PGDObjective
from ._objective import Loss, LossOf, crafting, forward


@dataclasses.dataclass(frozen=True)
class FAT(PGDObjective):
    r"""Friendly adversarial training (Zhang et al. 2020): PGD that stops soon after it succeeded.

    Minimises `mean CE(f(x'), y)`, where PGD on the cross-entropy of an example ends when it stands
    at a wrongly classified point from which it has already taken `tau` steps away from such points,
    or after all its steps. Such examples teach a network that the worst ones would only confuse;
    clean accuracy gains, robust accuracy pays.

    Examples that have stopped leave the batch, so crafting is always in eval mode, as in the
    authors' code. Noise of standard deviation 0.001 that it adds at every step is left out.

    Cost of a step, with k steps of PGD: at most k + 1 forward passes, k backward passes to the
    input, and one to the weights; how many steps an example took is logged as `steps`.

    Args:
        attack: The inner maximisation; one restart.
        tau: Steps from misclassified points before an example stops. From the attack's number of
            steps on it is PGD training.
        grows_at: Parts of the training after which `fit` adds 1 to tau; in the authors' code
            50 / 120 and 90 / 120, so that tau is 0, 1 and 2 (`as_published`).

    Raises:
        ValueError: tau is below 0, the attack has restarts or momentum, or a part is not in [0, 1].

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> objective = brolly.FAT(brolly.PGD(brolly.Linf(0.1), steps=5), tau=1)
        >>> history = brolly.fit(model, data, objective=objective, epochs=1)
        >>> 0 < history.epochs[0].logs["steps"] < 5
        True
    """

    _: dataclasses.KW_ONLY
    tau: int = 0
    grows_at: Sequence[float] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tau < 0:
            raise ValueError(f"tau is {self.tau}; expected 0 or more steps")
        check_range("[0, 1]", grows_at=self.grows_at)

    @classmethod
    def as_published(cls, attack: PGD) -> FAT:
        """The choices of the code of Zhang et al. (2020)."""
        return cls(attack, grows_at=(50 / 120, 90 / 120))

    def at(self, epoch: int, epochs: int) -> FAT:
        grown = sum((epoch - 1) / epochs >= part for part in self.grows_at)
        return dataclasses.replace(self, tau=self.tau + grown, grows_at=())

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        with crafting(model, batch, generator, "eval") as draws:
            random = self.attack.random_start
            start = self.threat.sample(batch.x, draws) if random else batch.x
            x_adv, steps = self._climb(model, batch, start)

        def loss(model: nn.Module) -> Loss:
            return Loss(cross_entropy(forward(model, x_adv), batch.y).mean(), {"steps": steps})

        return loss

    def _climb(self, model: nn.Module, batch: Batch, start: Tensor) -> tuple[Tensor, Tensor]:
        """The last point of each example, and the mean number of steps."""
        reached, left = start.clone(), torch.full_like(batch.y, self.tau)
        rows, taken = torch.arange(len(start), device=start.device), 0
        for _ in range(self.attack.steps):
            with torch.enable_grad():
                x = reached[rows].requires_grad_()
                logits = forward(model, x)
                gradient = input_gradient(cross_entropy(logits, batch.y[rows]), x)
            wrong = logits.argmax(1) != batch.y[rows]
            goes_on = ~wrong | (left[rows] > 0)
            left[rows] -= wrong.long()
            rows, x, gradient = rows[goes_on], x.detach()[goes_on], gradient[goes_on]
            if len(rows) == 0:
                break
            stepped = x + self.attack.step * self.threat.ascend(gradient)
            reached[rows] = self.threat.project(stepped, batch.x[rows])
            taken += len(rows)
        return reached, torch.tensor(taken / len(start))
