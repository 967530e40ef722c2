"""SCORE, by squared errors of probabilities."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..attacks import PGD
from ..data import Batch
from ._inner import PGDObjective, check_ranges, farthest
from ._objective import Crafting, Loss, LossOf, crafting, forward


@dataclasses.dataclass(frozen=True)
class SCORE(PGDObjective):
    r"""Self-consistent robust error by squared errors (LSE; Pang et al. 2022).

    .. math:: \mathrm{mean}_i \; \|p(x_i) - e_{y_i}\|^2
              + \beta \max\left(\max_{x' \in T(x_i)} \|p(x') - p(x_i)\|^2 - m, 0\right)

    with p the softmax of the logits and e_y the label as a vector: TRADES with a distance of
    probabilities in the place of cross-entropy and divergence. Unlike those it obeys a triangle
    inequality, and a net with the true probabilities everywhere is not asked to be flatter than
    they are. PGD climbs the squared distance to the clean probabilities, which are computed once.

    Cost of a step, with k steps of PGD: k + 3 forward passes, k backward passes to the input and
    two to the weights.

    Args:
        attack: The inner maximisation; one restart, from a random point of the ball, as the
            distance has no gradient at the clean input.
        beta: Weight of the distance; 4 in the authors' example for CIFAR-10.
        margin: Squared distance m below which an example asks for nothing more; 0 in their code.
        mode: State of BatchNorm and dropout while crafting; the authors' code uses `train`.

    Raises:
        ValueError: A number is below 0, or the attack begins at the clean input.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> objective = brolly.SCORE(brolly.PGD(brolly.Linf(0.1), steps=3), margin=0.01)
        >>> history = brolly.fit(model, data, objective=objective, epochs=1)
        >>> sorted(history.epochs[0].logs)
        ['distance', 'natural']
    """

    _: dataclasses.KW_ONLY
    beta: float = 4.0
    margin: float = 0.0
    mode: Crafting = "eval"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(beta=self.beta, margin=self.margin)
        if not self.attack.random_start:
            raise ValueError(
                "the attack has random_start=False, but the distance that SCORE climbs has no "
                "gradient at the clean input; write random_start=True"
            )

    @classmethod
    def as_published(cls, attack: PGD, *, beta: float = 4.0) -> SCORE:
        """The choices of Pang et al. (2022).

        For L2 their code starts next to the clean input instead (noise of 0.001).
        """
        return cls(attack, beta=beta, mode="train")

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        x = batch.x
        with crafting(model, batch, generator, self.mode) as draws:
            start = self.threat.sample(x, draws)
            x_adv, _ = farthest(self.attack, model, x, start, squared_distance)

        def loss(model: nn.Module) -> Loss:
            logits = forward(model, x)
            label = F.one_hot(batch.y, logits.shape[1]).to(logits.dtype)
            natural = (logits.softmax(1) - label).square().sum(1).mean()
            distance = squared_distance(forward(model, x_adv), logits)
            robust = (distance - self.margin).relu().mean()
            return Loss(
                natural + self.beta * robust,
                {"natural": natural.detach(), "distance": distance.mean().detach()},
            )

        return loss


def squared_distance(logits: Tensor, reference: Tensor) -> Tensor:
    """Squared Euclidean distance of the probabilities, `(batch,)`."""
    return (logits.softmax(1) - reference.softmax(1)).square().sum(1)
