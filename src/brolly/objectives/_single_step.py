"""Adversarial training with a single gradient step: N-FGSM and FGSM-RS."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from .._ranges import check_range
from .._untouched import input_gradient
from ..data import Batch
from ..losses import cross_entropy
from ..threats import Threat
from ._objective import Crafting, Loss, LossOf, Objective, crafting, forward


@dataclasses.dataclass(frozen=True)
class NFGSM(Objective):
    r"""Noise-FGSM (de Jorge et al. 2022): a full step from a noisy point, not projected back.

    .. math:: x' = x + \eta + \alpha \, \mathrm{ascend}(\nabla L(x + \eta)),
              \quad \eta \sim U(\text{ball of radius } k \varepsilon)

    minimising `mean CE(f(x'), y)`, with x' cut to the bounds alone. The noise, wider than the
    ball, is what keeps single-step training from overfitting to its own attack.

    Cost of a step: two forward passes, a backward pass to the input and one to the weights.

    Args:
        adversary: The threat to train against.
        noise: Radius k of the noise as a multiple of eps; 2 in the paper.
        step: Length alpha of the step as a multiple of eps; 1 in the paper.
        label_smoothing: Mass taken from the label and spread over all classes; 0 in the paper.
        mode: State of BatchNorm and dropout while crafting; the paper's code uses `train`.

    Raises:
        ValueError: noise is below 0, step not above 0, or label_smoothing not in [0, 1].
    """

    adversary: Threat
    _: dataclasses.KW_ONLY
    noise: float = 2.0
    step: float = 1.0
    label_smoothing: float = 0.0
    mode: Crafting = "eval"

    def __post_init__(self) -> None:
        check_range("[0, inf)", noise=self.noise)
        check_range("(0, inf)", step=self.step)
        check_range("[0, 1]", label_smoothing=self.label_smoothing)

    @classmethod
    def as_published(cls, adversary: Threat) -> NFGSM:
        """The choices of de Jorge et al. (2022)."""
        return cls(adversary, mode="train")

    @property
    def threat(self) -> Threat:
        return self.adversary

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        threat = self.adversary
        with crafting(model, batch, generator, self.mode) as draws:
            noisy = threat.with_eps(self.noise * threat.eps).sample(batch.x, draws)
            direction = threat.ascend(start_gradient(model, noisy, batch.y))
        x_adv = (noisy + self.step * threat.eps * direction).clamp_(*threat.bounds)
        return lambda model: smoothed_loss(model, x_adv, batch.y, self.label_smoothing)


@dataclasses.dataclass(frozen=True)
class FGSMRS(Objective):
    r"""FGSM with a random start, "fast" adversarial training (Wong, Rice & Kolter 2020).

    .. math:: x' = P(x + \eta + \alpha \, \mathrm{ascend}(\nabla L(x + \eta))),
              \quad \eta \sim U(\text{ball of radius } \varepsilon)

    minimising `mean CE(f(x'), y)`. Prone to catastrophic overfitting at larger eps: watch the
    robust validation accuracy, or use `NFGSM`.

    Cost of a step: two forward passes, a backward pass to the input and one to the weights.

    Args:
        adversary: The threat to train against.
        step: Length alpha of the step as a multiple of eps; 1.25 in the paper.
        label_smoothing: Mass taken from the label and spread over all classes; 0 in the paper.
        mode: State of BatchNorm and dropout while crafting; the paper's code uses `train`.

    Raises:
        ValueError: step is not above 0, or label_smoothing not in [0, 1].
    """

    adversary: Threat
    _: dataclasses.KW_ONLY
    step: float = 1.25
    label_smoothing: float = 0.0
    mode: Crafting = "eval"

    def __post_init__(self) -> None:
        check_range("(0, inf)", step=self.step)
        check_range("[0, 1]", label_smoothing=self.label_smoothing)

    @classmethod
    def as_published(cls, adversary: Threat) -> FGSMRS:
        """The choices of Wong et al. (2020)."""
        return cls(adversary, mode="train")

    @property
    def threat(self) -> Threat:
        return self.adversary

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        threat = self.adversary
        with crafting(model, batch, generator, self.mode) as draws:
            start = threat.sample(batch.x, draws)
            direction = threat.ascend(start_gradient(model, start, batch.y))
        x_adv = threat.project(start + self.step * threat.eps * direction, batch.x)
        return lambda model: smoothed_loss(model, x_adv, batch.y, self.label_smoothing)


def start_gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Gradient of the cross-entropy at the point the single step is taken from."""
    x = x.detach().requires_grad_()
    return input_gradient(cross_entropy(forward(model, x), y), x)


def smoothed_loss(model: nn.Module, x: Tensor, y: Tensor, label_smoothing: float) -> Loss:
    """Mean cross-entropy of the crafted inputs."""
    logits = forward(model, x)
    return Loss(nn.functional.cross_entropy(logits, y, label_smoothing=label_smoothing), {})
