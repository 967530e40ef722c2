"""The affine layer: a linear map and an activation that is learned with it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .._ranges import check_range
from ._dropout import DropoutKind, dropout_of
from ._normalize import ChannelStatistics, first_layer


class AffineLayer(nn.Module):
    r"""A linear map whose activation is learned: PReLU, with a slope for each output (He et al.
    2015).

    .. math:: y_i = \max(0, z_i) + a_i \min(0, z_i), \quad z = W x + b

    The weights begin as the authors draw them, with variance `2 / ((1 + slope**2) in_features)`,
    which keeps the variance of the forward pass; biases begin at 0. At a slope of 1 the layer is
    linear, at 0 it is a ReLU. The authors do not decay slopes, nor does `decays: weights`.

    Args:
        in_features: Values in.
        out_features: Values out.
        slope: Of negative values, to begin with; 0.25 by the authors.

    Shape:
        `(batch, ..., in_features)` to `(batch, ..., out_features)`.

    Raises:
        ValueError: A size is below 1.

    Example:
        >>> import torch
        >>> from brolly.models import AffineLayer
        >>> layer = AffineLayer(3, 2)
        >>> layer(torch.rand(5, 3)).shape, layer.activation.weight.tolist()
        (torch.Size([5, 2]), [0.25, 0.25])
    """

    def __init__(self, in_features: int, out_features: int, *, slope: float = 0.25) -> None:
        check_range("[1, inf)", in_features=in_features, out_features=out_features)
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.activation = nn.PReLU(out_features, init=slope)
        nn.init.kaiming_normal_(self.linear.weight, a=slope)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        z = self.linear(x)
        # PReLU has its slopes along axis 1.
        return self.activation(z.flatten(0, -2)).reshape(z.shape)


class AffineMLP(nn.Sequential):
    """Affine layers, one above the other, and a linear one for the logits.

    Args:
        features: Values in one input; images are flattened.
        classes: Number of logits.
        hidden: Width of each affine layer.
        slope: Of negative values, to begin with.
        dropout: Probability of dropping a hidden value while training.
        dropout_kind: `bernoulli`, where a dropped value is 0, or `gaussian`: `GaussianDropout`.
        normalize: Channel statistics of the first layer; None: inputs are taken as they are.

    Raises:
        ValueError: A size is below 1.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        hidden: Sequence[int] = (256, 256),
        slope: float = 0.25,
        dropout: float = 0.0,
        dropout_kind: DropoutKind = "bernoulli",
        normalize: ChannelStatistics | None = None,
    ) -> None:
        check_range("[1, inf)", features=features, classes=classes)
        layers: list[nn.Module] = [first_layer(normalize), nn.Flatten()]
        for width in hidden:
            check_range("[1, inf)", hidden=width)
            layers.append(AffineLayer(features, width, slope=slope))
            layers += [dropout_of(dropout, dropout_kind)] if dropout else []
            features = width
        super().__init__(*layers, nn.Linear(features, classes))
