"""MART."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from ..attacks import PGD
from ..data import Batch
from ..losses import cross_entropy, kl
from ._inner import PGDObjective, check_ranges, highest_cross_entropy
from ._objective import Crafting, Loss, LossOf, crafting, forward


@dataclasses.dataclass(frozen=True)
class MART(PGDObjective):
    r"""Misclassification-aware adversarial training (Wang et al. 2020).

    .. math:: \mathrm{mean}_i \; CE(f(x'), y_i) - \log(1 - \max_{k \ne y_i} p_k(x'))
              + \beta \, KL(p(x_i) \,\|\, p(x')) \, (1 - p_{y_i}(x_i))

    with p the softmax of f, and x' the last point of PGD on the cross-entropy. The second term
    pushes down the best wrong class, the third counts most where the clean input is not yet
    classified with confidence. All three are descended in everything they depend on.

    The authors' code adds constants (1.0001 in the logarithm) so that nothing becomes infinite;
    here `log(1 - p)` is computed from the logits, exactly.

    Cost of a step, with k steps of PGD: k + 2 forward passes, k backward passes to the input and
    two to the weights.

    Args:
        attack: The inner maximisation; one restart.
        beta: Weight of the divergence; 6 in the authors' code for the wide ResNet on CIFAR-10.
        mode: State of BatchNorm and dropout while crafting; `eval` in the authors' code too.

    Raises:
        ValueError: beta is below 0.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> objective = brolly.MART(brolly.PGD(brolly.Linf(0.1), steps=3), beta=6)
        >>> history = brolly.fit(model, data, objective=objective, epochs=1)
        >>> sorted(history.epochs[0].logs)
        ['boosted', 'divergence']
    """

    _: dataclasses.KW_ONLY
    beta: float = 6.0
    mode: Crafting = "eval"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(beta=self.beta)

    @classmethod
    def as_published(cls, attack: PGD, *, beta: float = 6.0) -> MART:
        """The choices of Wang et al. (2020): the search begins at the clean input.

        Their code adds noise of standard deviation 0.001 there, of which the cross-entropy has
        no need.
        """
        return cls(dataclasses.replace(attack, random_start=False), beta=beta)

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        with crafting(model, batch, generator, self.mode) as draws:
            x_adv = highest_cross_entropy(self.attack, model, batch, draws)

        def loss(model: nn.Module) -> Loss:
            clean, adversarial = forward(model, batch.x), forward(model, x_adv)
            boosted = boosted_cross_entropy(adversarial, batch.y).mean()
            doubt = 1 - clean.softmax(1).gather(1, batch.y[:, None])[:, 0]
            divergence = (kl(adversarial, clean) * doubt).mean()
            return Loss(
                boosted + self.beta * divergence,
                {"boosted": boosted.detach(), "divergence": divergence.detach()},
            )

        return loss


def boosted_cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy, and minus the logarithm of what the best wrong class leaves, `(batch,)`."""
    rival = logits.scatter(1, y[:, None], -torch.inf).argmax(1, keepdim=True)
    without = logits.scatter(1, rival, -torch.inf)
    return cross_entropy(logits, y) + logits.logsumexp(1) - without.logsumexp(1)
