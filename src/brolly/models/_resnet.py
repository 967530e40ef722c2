"""Residual networks for small images, laid out channels-last for speed."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import relu

from ._convolutional import channels_last, convolution
from ._normalize import ChannelStatistics, first_layer
from ._sizes import check_sizes


class ResNet(nn.Sequential):
    """The residual network of He et al. (2016) for CIFAR: three stages of basic blocks.

    Args:
        in_channels: Channels of the input.
        classes: Number of logits.
        depth: Layers, `6 n + 2`: 8, 14, 20, ...
        width: Channels of the first stage; each next stage has twice as many at half the
            resolution.
        normalize: Channel statistics of the first layer; None: inputs are taken as they are.

    Raises:
        ValueError: The depth is not of that form, or the width is below 1.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        depth: int = 20,
        width: int = 16,
        normalize: ChannelStatistics | None = None,
    ) -> None:
        check_sizes(width=width)
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth is {depth}; expected 6 n + 2: 8, 14, 20, 26, 32, ...")
        blocks: list[nn.Module] = []
        channels = width
        for stage in range(3):
            for block in range((depth - 2) // 6):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(BasicBlock(channels, width * 2**stage, stride))
                channels = width * 2**stage
        super().__init__(
            first_layer(normalize),
            *convolution(in_channels, width),
            *blocks,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, classes),
        )
        channels_last(self)


class BasicBlock(nn.Module):
    """Two convolutions and a way around them; the way around is a 1 x 1 convolution on a change
    of shape."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *convolution(in_channels, channels, stride=stride),
            *convolution(channels, channels)[:2],
        )
        self.shortcut = (
            nn.Identity()
            if stride == 1 and in_channels == channels
            else nn.Sequential(*convolution(in_channels, channels, size=1, stride=stride)[:2])
        )

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.body(x) + self.shortcut(x))
