"""GradAlign: single-step adversarial training with aligned input gradients."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from .._untouched import Mode, input_gradient, private_randomness, untouched
from ..data import Batch
from ..losses import cross_entropy
from ..threats import Threat
from ._inner import check_ranges
from ._objective import Crafting, Loss, LossOf, Objective, crafting, forward
from ._single_step import start_gradient


@dataclasses.dataclass(frozen=True)
class GradAlign(Objective):
    r"""FGSM with aligned input gradients (Andriushchenko & Flammarion 2020).

    .. math:: \mathrm{mean}_i \; CE(f(x_i'), y_i)
              + \lambda \big(1 - \cos(\nabla L(x_i), \nabla L(x_i + \eta_i))\big), \quad
              x' = P(x + \varepsilon \, \mathrm{ascend}(\nabla L(x))), \;
              \eta \sim U(\text{ball of radius } \varepsilon)

    Where the gradient points the same way all over the ball, a single step finds the worst input:
    that keeps FGSM from catastrophic overfitting also at larger eps. The second gradient is
    differentiated (double backward); the first, which FGSM steps along, is held fixed, as in the
    authors' code. Examples with a gradient of zero count in the mean of the first term alone.
    Random points lie in the bounds; the authors' need not.

    Cost of a step: three forward passes, two backward passes to the input and one to the weights
    that goes through the second of them too: three times N-FGSM's time (de Jorge et al. 2022).

    Args:
        adversary: The threat to train against.
        weight: Lambda; 0.2 in the paper for CIFAR-10 at `linf:8/255`, where the authors'
            experiments use `0.02 * 10 ** (255 * eps / 8)` for other radii up to 16/255.
        mode: State of BatchNorm and dropout while crafting and in both gradients that are
            compared; the authors' code uses `train`.

    Raises:
        ValueError: The weight is negative.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> objective = brolly.GradAlign(brolly.Linf(0.1), weight=0.5)
        >>> len(brolly.fit(model, data, objective=objective, epochs=2).epochs)
        2
    """

    adversary: Threat
    _: dataclasses.KW_ONLY
    weight: float = 0.2
    mode: Crafting = "eval"

    def __post_init__(self) -> None:
        check_ranges(weight=self.weight)

    @classmethod
    def as_published(cls, adversary: Threat, *, weight: float = 0.2) -> GradAlign:
        """The choices of Andriushchenko & Flammarion (2020)."""
        return cls(adversary, weight=weight, mode="train")

    @property
    def threat(self) -> Threat:
        return self.adversary

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        threat, x, y = self.adversary, batch.x, batch.y
        kept: Mode = "eval" if self.mode == "eval" else "keep"
        with crafting(model, batch, generator, self.mode) as draws:
            here = start_gradient(model, x, y)
            elsewhere = threat.sample(x, draws)
        x_adv = threat.project(x + threat.eps * threat.ascend(here), x)

        def loss(model: nn.Module) -> Loss:
            # In the modes, and with the dropout, that the first gradient was computed with.
            with untouched(model, kept), private_randomness(draws, x.device):
                leaf = elsewhere.detach().requires_grad_()
                value = cross_entropy(forward(model, leaf), y)
                there = input_gradient(value, leaf, create_graph=True)
            robust = cross_entropy(forward(model, x_adv), y).mean()
            misaligned = _misalignment(here, there)
            return Loss(
                robust + self.weight * misaligned,
                {"robust": robust.detach(), "misalignment": misaligned.detach()},
            )

        return loss


def _misalignment(first: Tensor, second: Tensor) -> Tensor:
    """Mean of one minus the cosine over the rows where both have a direction, or 0."""
    first, second = first.flatten(1), second.flatten(1)
    lengths = first.norm(dim=1), second.norm(dim=1)
    rows = (lengths[0] > 0) & (lengths[1] > 0)
    first, second = (
        each[rows] / length[rows, None]
        for each, length in zip((first, second), lengths, strict=True)
    )
    return (1 - (first * second).sum(1)).sum() / rows.sum().clamp_min(1)
