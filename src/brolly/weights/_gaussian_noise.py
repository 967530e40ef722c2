"""Gaussian noise on weights."""

from __future__ import annotations

import dataclasses
from typing import Literal

from torch import Tensor, nn

from ._noise import NormalNoise, WeightNoise, When


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianNoise(WeightNoise):
    r"""Gaussian noise on each weight, relative to the scale of its layer.

    .. math:: \text{additive: } w + \sigma \, s_l \, \epsilon, \quad
              \text{multiplicative: } w \, (1 + \sigma \, \epsilon), \quad
              \epsilon \sim N(0, 1)

    with :math:`s_l` the standard deviation of the weights of layer l, through which no gradient
    flows. Trained with, it favours weights at which the loss is flat (Hinton & van Camp 1993;
    Graves 2011, with one absolute sigma).

    Cost: one random number for each weight and pass.

    Args:
        std: sigma. Additive: in standard deviations of the weights of the layer. Multiplicative:
            as a part of each weight. 0.1 is our choice.
        kind: How the noise acts.
        layers: Which layers.
        when: In which mode of the model there is noise.

    Raises:
        ValueError: std is not above 0.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> model = brolly.weights.GaussianNoise(std=0.2).attach(model)
        >>> history = brolly.fit(model, data, epochs=2)
        >>> model = brolly.weights.detach(model)
    """

    std: float = 0.1
    kind: Literal["additive", "multiplicative"] = "additive"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.std > 0:
            raise ValueError(f"std is {self.std}; expected more than 0")
        if self.kind not in ("additive", "multiplicative"):
            raise ValueError(f"kind is {self.kind!r}; expected 'additive' or 'multiplicative'")

    def transform(self, layer: nn.Module) -> AdditiveNoise | MultiplicativeNoise:
        noise = AdditiveNoise if self.kind == "additive" else MultiplicativeNoise
        return noise(self.std, self.when)


class AdditiveNoise(NormalNoise):
    """`w + std * (standard deviation of w) * draw`."""

    def __init__(self, std: float, when: When) -> None:
        super().__init__(when)
        self.std = std

    def perturb(self, weight: Tensor, draw: Tensor) -> Tensor:
        return weight + self.std * weight.detach().std(correction=0) * draw


class MultiplicativeNoise(NormalNoise):
    """`w * (1 + std * draw)`."""

    def __init__(self, std: float, when: When) -> None:
        super().__init__(when)
        self.std = std

    def perturb(self, weight: Tensor, draw: Tensor) -> Tensor:
        return weight * (1 + self.std * draw)
