"""Variational dropout: a Gaussian for each weight, and its distance from the prior."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..penalties import Penalty
from ._attach import attached_to, stored
from ._noise import NormalNoise, WeightNoise, When


@dataclasses.dataclass(frozen=True, kw_only=True)
class VariationalDropout(WeightNoise):
    r"""Variational dropout (Kingma, Salimans & Welling 2015), with one rate for each weight
    (Molchanov, Ashukha & Vetrov 2017).

    .. math:: w + \sigma \, \epsilon, \quad \epsilon \sim N(0, 1), \quad
              \alpha = \sigma^2 / w^2

    The variance of each weight is trained along; :math:`\alpha` is that of the Gaussian dropout it
    amounts to. Add `VariationalKL` to what is minimised: without it the noise dies out, and with
    it weights that are not needed drown in noise (:math:`\log \alpha > 3`), so that they may as
    well be 0.

    Where we differ from the authors: weights are drawn once for all examples of a batch (both
    papers draw activations, one for each example, which makes gradients less noisy); in eval mode
    the mean weights are used as they are, where Molchanov et al. set those of
    :math:`\log \alpha > 3` to 0; and :math:`\log \alpha` is not clipped.

    Cost: one random number for each weight and pass; twice the parameters.

    Args:
        log_variance: :math:`\log \sigma^2` at the start; -10 in the code of Molchanov et al.
        layers: Which layers.
        when: In which mode of the model there is noise.

    Raises:
        ValueError: log_variance is not finite.

    Example:
        >>> import brolly
        >>> from brolly.weights import VariationalDropout, VariationalKL
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> model = VariationalDropout().attach(model)
        >>> history = brolly.fit(model, data, penalty=VariationalKL(1 / len(data.train)), epochs=2)
    """

    log_variance: float = -10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.log_variance):
            raise ValueError(f"log_variance is {self.log_variance}; expected a finite number")

    def transform(self, layer: nn.Module) -> Variational:
        weight = stored(layer)
        values = weight.new_full((weight.numel(),), self.log_variance)
        return Variational(nn.Parameter(values, weight.requires_grad), self.when)


class Variational(NormalNoise):
    """`w + exp(log_variances / 2) * draw`."""

    def __init__(self, log_variances: nn.Parameter, when: When) -> None:
        super().__init__(when)
        self.log_variances = log_variances

    def perturb(self, weight: Tensor, draw: Tensor) -> Tensor:
        return weight + (self.log_variances / 2).exp().view(weight.shape) * draw

    def log_alpha(self, weight: Tensor) -> Tensor:
        """Logarithm of the dropout rates, of the shape of `weight`."""
        return self.log_variances.view(weight.shape) - (weight**2 + 1e-8).log()


@dataclasses.dataclass(frozen=True)
class VariationalKL(Penalty):
    r"""Divergence of the weights under `VariationalDropout` from the log-uniform prior.

    .. math:: \text{weight} \sum_i k_1 - k_1 \, \text{sigmoid}(k_2 + k_3 \log \alpha_i)
              + \tfrac{1}{2} \log(1 + \alpha_i^{-1})

    with k = 0.63576, 1.87320, 1.48695: the approximation of Molchanov, Ashukha & Vetrov (2017, eq.
    14), which is 0 where a weight is nothing but noise.

    Args:
        weight: 1 / (number of training examples) beside a mean loss gives the evidence lower bound.

    Raises:
        ValueError: weight is below 0; when called, no layer of the model has `VariationalDropout`.

    Example:
        >>> import torch, brolly
        >>> model = brolly.weights.VariationalDropout().attach(torch.nn.Linear(4, 2))
        >>> bool(brolly.weights.VariationalKL(1.0)(model) > 0)
        True
    """

    weight: float

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ValueError(f"weight is {self.weight}; expected 0 or more")

    def __call__(self, model: nn.Module) -> Tensor:
        if reasons := self.reasons_against(model):
            raise ValueError(reasons[0])
        terms: list[Tensor] = []
        for layer, transforms in attached_to(model):
            weight = stored(layer)
            for transform in transforms:
                if isinstance(transform, Variational):
                    terms.append(_divergence(transform.log_alpha(weight)))
                weight = transform.mean(weight)
        return self.weight * torch.stack(terms).sum()

    def reasons_against(self, model: nn.Module) -> list[str]:
        parts = [transform for _, transforms in attached_to(model) for transform in transforms]
        if any(isinstance(part, Variational) for part in parts):
            return []
        return [
            "VariationalKL is the divergence of VariationalDropout, which no layer of the model "
            "has; attach it before: VariationalDropout().attach(model), in a recipe under weights"
        ]


def _divergence(log_alpha: Tensor) -> Tensor:
    k1, k2, k3 = 0.63576, 1.87320, 1.48695
    return (k1 * torch.sigmoid(-k2 - k3 * log_alpha) + softplus(-log_alpha) / 2).sum()
