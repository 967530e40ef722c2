"""Network in network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from .._ranges import check_range
from ._convolutional import channels_last
from ._dropout import DropoutKind, dropout_of
from ._normalize import ChannelStatistics, first_layer


class NiNBlock(nn.Sequential):
    """A convolution whose filter is a small network (Lin et al. 2014): the paper's "mlpconv".

    A convolution, then 1 x 1 convolutions, each with ReLU. Weights begin with variance
    `2 / fan_in` (He et al. 2015), biases at 0.

    Args:
        in_channels: Channels of the input.
        channels: Of the convolution and of each 1 x 1 convolution after it.
        size: Of the convolution; the padding keeps the resolution.

    Raises:
        ValueError: A size is below 1, or `channels` is empty.

    Example:
        >>> import torch
        >>> from brolly.models import NiNBlock
        >>> NiNBlock(3, (16, 8, 8), size=5)(torch.rand(2, 3, 9, 9)).shape
        torch.Size([2, 8, 9, 9])
    """

    def __init__(self, in_channels: int, channels: Sequence[int], *, size: int = 3) -> None:
        check_range("[1, inf)", in_channels=in_channels, size=size)
        if not channels:
            raise ValueError("channels is empty; expected one width per convolution: (16, 8, 8)")
        layers: list[nn.Module] = []
        for width in channels:
            check_range("[1, inf)", channels=width)
            convolution = nn.Conv2d(in_channels, width, size, padding="same")
            nn.init.kaiming_normal_(convolution.weight)
            nn.init.zeros_(convolution.bias)  # pyright: ignore[reportArgumentType]
            layers += [convolution, nn.ReLU()]
            in_channels, size = width, 1
        super().__init__(*layers)


class NiN(nn.Sequential):
    """Network in network (Lin et al. 2014): three blocks, and a mean over places for each class.

    With the defaults it is the authors' network for CIFAR-10, but for the weights to begin with
    (theirs are Gaussians of a fixed width) and the last ReLU: logits may be negative here, so that
    a class which is never on can still be learned.

    Args:
        in_channels: Channels of the input; images of 4 x 4 and more.
        classes: Number of logits.
        width: Channels of the first convolution; the next have five sixths and half as many, those
            of the other blocks as many.
        dropout: Probability of dropping a value after the first and the second block.
        dropout_kind: `bernoulli`, where a dropped value is 0, or `gaussian`: `GaussianDropout`.
        normalize: Channel statistics of the first layer; None: inputs are taken as they are.

    Raises:
        ValueError: A size is below 1, or the width below 2.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        width: int = 192,
        dropout: float = 0.5,
        dropout_kind: DropoutKind = "bernoulli",
        normalize: ChannelStatistics | None = None,
    ) -> None:
        check_range("[1, inf)", in_channels=in_channels, classes=classes)
        if width < 2:
            raise ValueError(f"width is {width}; expected 2 or more, as half of it is used too")
        super().__init__(
            first_layer(normalize),
            NiNBlock(in_channels, (width, width * 5 // 6, width // 2), size=5),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            dropout_of(dropout, dropout_kind),
            NiNBlock(width // 2, (width, width, width), size=5),
            nn.AvgPool2d(3, stride=2, ceil_mode=True),
            dropout_of(dropout, dropout_kind),
            *list(NiNBlock(width, (width, width, classes)))[:-1],
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        channels_last(self)
