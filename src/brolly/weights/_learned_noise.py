"""Noise on weights whose size is learned."""

from __future__ import annotations

import dataclasses
from typing import Literal

from torch import Tensor, nn

from ._attach import stored
from ._noise import NormalNoise, WeightNoise, When


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnedNoise(WeightNoise):
    r"""Parametric noise injection, PNI (He, Rakin & Fan 2019), on weights.

    .. math:: w + \alpha \, s_l \, \epsilon, \quad \epsilon \sim N(0, 1)

    with :math:`s_l` the standard deviation of the weights of layer l, through which no gradient
    flows, and a coefficient :math:`\alpha` for each layer or output channel that is trained along.
    The authors minimise the mean of the clean and the adversarial loss, crafted with the noise on;
    with the clean loss alone, they find, the coefficients go to 0.

    The authors' noise stays on at test time (`as_published`), where gradients are noisy: judge it
    by `evaluate`, which attacks through EOT, not by PGD that meets another draw at each step.

    Weight decay of `weights` leaves the coefficients alone, as the authors' does.
    Where we differ: the standard deviation is that of the layer's weights, divided by n, not n - 1.
    In the authors' code inputs are crafted against the network's own predictions, from the sixth
    epoch on.

    Cost: one random number for each weight and pass.

    Args:
        initial: Coefficients at the start, in standard deviations of the weights of the layer;
            0.25 in the paper.
        per: One coefficient for each `layer`, as in the paper, or each output `channel`, which the
            authors' code has as well.
        layers: Which layers.
        when: In which mode of the model there is noise.

    Example:
        >>> import torch, brolly
        >>> model = brolly.weights.LearnedNoise().attach(torch.nn.Linear(4, 2))
        >>> [name for name, _ in model.named_parameters()]
        ['bias', 'parametrizations.weight.original', 'parametrizations.weight.0.coefficients']
    """

    initial: float = 0.25
    per: Literal["layer", "channel"] = "layer"

    @classmethod
    def as_published(cls, *, per: Literal["layer", "channel"] = "layer") -> LearnedNoise:
        """Noise in training and at test time."""
        return cls(per=per, when="always")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.per not in ("layer", "channel"):
            raise ValueError(f"per is {self.per!r}; expected 'layer' or 'channel'")

    def transform(self, layer: nn.Module) -> Learned:
        weight = stored(layer)
        count = 1 if self.per == "layer" else len(weight)
        coefficients = weight.new_full((count,), self.initial)
        return Learned(nn.Parameter(coefficients, weight.requires_grad), self.when)


class Learned(NormalNoise):
    """`w + coefficients * (standard deviation of w) * draw`."""

    def __init__(self, coefficients: nn.Parameter, when: When) -> None:
        super().__init__(when)
        self.coefficients = coefficients

    def perturb(self, weight: Tensor, draw: Tensor) -> Tensor:
        scale = self.coefficients.reshape(-1, *(1,) * (weight.ndim - 1))
        return weight + scale * weight.detach().std(correction=0) * draw
