"""Weight normalisation."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from ._attach import Reparametrization, Transform, stored
from ._noise import without_noise


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightNorm(Reparametrization):
    r"""Weight normalisation (Salimans & Kingma 2016): length and direction of a weight apart.

    .. math:: w_k = g_k \, v_k / \|v_k\|

    for each output (channel) k. The stored weight is v; g starts as the length of w, so the
    function of the model does not change. Nothing in it is random.

    The same as `torch.nn.utils.parametrizations.weight_norm` but for how it is kept: v is the
    parameter that the weight was, and g has one axis, so that weight decay of `weights` takes
    it for a scale and leaves it alone. Decay of v does not change the function, only how fast
    its direction turns. The initialisation from data in the paper is left out.

    Cost: one norm for each output and pass.

    Args:
        layers: Which layers.

    Example:
        >>> import torch, brolly
        >>> layer = brolly.weights.WeightNorm().attach(torch.nn.Linear(4, 2))
        >>> lengths = layer.parametrizations.weight[0].lengths
        >>> torch.allclose(layer.weight.norm(dim=1), lengths)
        True
    """

    def transform(self, layer: nn.Module) -> Normalised:
        with without_noise(layer), torch.no_grad():
            weight = layer.weight
            assert isinstance(weight, Tensor)
            lengths = _lengths(weight)
        return Normalised(nn.Parameter(lengths, stored(layer).requires_grad))


class Normalised(Transform):
    """`lengths * v / |v|`."""

    def __init__(self, lengths: nn.Parameter) -> None:
        super().__init__()
        self.lengths = lengths

    def forward(self, weight: Tensor) -> Tensor:
        return self.mean(weight)

    def mean(self, weight: Tensor) -> Tensor:
        tiny = torch.finfo(weight.dtype).tiny
        scale = self.lengths / _lengths(weight).clamp_min(tiny)
        return weight * scale.reshape(-1, *(1,) * (weight.ndim - 1))


def _lengths(weight: Tensor) -> Tensor:
    return torch.linalg.vector_norm(weight.flatten(1), dim=1)
