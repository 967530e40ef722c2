"""Networks of dense layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from .._ranges import check_range
from ._dropout import DropoutKind, dropout_of
from ._normalize import ChannelStatistics, first_layer


class SoftmaxRegression(nn.Sequential):
    """One affine layer (multinomial logistic regression).

    Args:
        features: Values in one input; images are flattened.
        classes: Number of logits.
        normalize: Channel statistics of the first layer; None: inputs are taken as they are.
    """

    def __init__(
        self, features: int, classes: int, *, normalize: ChannelStatistics | None = None
    ) -> None:
        super().__init__(first_layer(normalize), nn.Flatten(), nn.Linear(features, classes))


class MLP(nn.Sequential):
    """Dense layers with ReLU between.

    Args:
        features: Values in one input; images are flattened.
        classes: Number of logits.
        hidden: Width of each hidden layer.
        dropout: Probability of dropping a hidden value while training.
        dropout_kind: `bernoulli`, where a dropped value is 0, or `gaussian`: `GaussianDropout`.
        normalize: Channel statistics of the first layer; None: inputs are taken as they are.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        hidden: Sequence[int] = (256, 256),
        dropout: float = 0.0,
        dropout_kind: DropoutKind = "bernoulli",
        normalize: ChannelStatistics | None = None,
    ) -> None:
        layers: list[nn.Module] = [first_layer(normalize), nn.Flatten()]
        for width in hidden:
            check_range("[1, inf)", hidden=width)
            layers += [nn.Linear(features, width), nn.ReLU()]
            layers += [dropout_of(dropout, dropout_kind)] if dropout else []
            features = width
        super().__init__(*layers, nn.Linear(features, classes))
