"""Residual networks for small images, laid out channels-last for speed."""

from __future__ import annotations

import functools

from torch import Tensor, nn
from torch.nn.functional import relu

from .._ranges import check_range
from ._batchnorm import NormOf, norm_of
from ._convolutional import channels_last, convolution
from ._dropout import drop_path_of
from ._normalize import ChannelStatistics, first_layer
from ._stages import residual_stages


class ResNet(nn.Sequential):
    """The residual network of He et al. (2016) for CIFAR: three stages of basic blocks.

    Args:
        in_channels: Channels of the input.
        classes: Number of logits.
        depth: Layers, `6 n + 2`: 8, 14, 20, ...
        width: Channels of the first stage; each next stage has twice as many at half the
            resolution.
        drop_path: Probability that the last block is left out for an example; that of the others
            grows to it linearly with depth (stochastic depth, Huang et al. 2016, who use 0.5).
        drop_block: Part of the values that `DropBlock` drops after each block of the last two
            stages. Its authors use 0.1, and drop after each convolution and on the way around.
        block_size: Side of a dropped block. Its authors use 7 for ImageNet; 3 is for the smaller
            maps of small images.
        affine: Whether BatchNorm has a scale and a shift to learn.
        track_running_stats: Whether BatchNorm keeps statistics for eval mode; without them it
            takes those of the batch there too, and examples depend on each other.
        dual: Whether adversarial batches have statistics of their own: `DualBatchNorm`.
        normalize: Channel statistics of the first layer; None: inputs are taken as they are.

    Raises:
        ValueError: The depth is not of that form, the width is below 1, or a rate is not at least
            0 and below 1.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        depth: int = 20,
        width: int = 16,
        drop_path: float = 0.0,
        drop_block: float = 0.0,
        block_size: int = 3,
        affine: bool = True,
        track_running_stats: bool = True,
        dual: bool = False,
        normalize: ChannelStatistics | None = None,
    ) -> None:
        check_range("[1, inf)", width=width)
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth is {depth}; expected 6 n + 2: 8, 14, 20, 26, 32, ...")
        norm = norm_of(affine, track_running_stats, dual)
        blocks = residual_stages(
            functools.partial(ResidualBlock, norm=norm),
            width,
            [width, 2 * width, 4 * width],
            [(depth - 2) // 6] * 3,
            drop_path=drop_path,
            drop_block=drop_block,
            block_size=block_size,
        )
        super().__init__(
            first_layer(normalize),
            *convolution(in_channels, width, norm=norm),
            *blocks,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * width, classes),
        )
        channels_last(self)


class ResidualBlock(nn.Module):
    """Two convolutions and a way around them (He et al. 2016): the authors' basic block.

    .. math:: y = a(D(N_2(C_2(a(N_1(C_1(x)))))) + S(x))

    with 3 x 3 convolutions C, normalisation N, ReLU a and `DropPath` D. The way around, S, is the
    identity; on a change of shape it is a 1 x 1 convolution with normalisation (the authors'
    option B).

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        stride: Of the first convolution.
        drop_path: Probability of leaving the convolutions out for an example.
        norm: Makes the normalisation of so many channels.

    Raises:
        ValueError: A size is below 1.

    Example:
        >>> import torch
        >>> from brolly.models import ResidualBlock
        >>> ResidualBlock(4, 8, stride=2)(torch.rand(2, 4, 6, 6)).shape
        torch.Size([2, 8, 3, 3])
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int = 1,
        drop_path: float = 0.0,
        norm: NormOf = nn.BatchNorm2d,
    ) -> None:
        check_range("[1, inf)", in_channels=in_channels, channels=channels, stride=stride)
        super().__init__()
        self.body = nn.Sequential(
            *convolution(in_channels, channels, stride=stride, norm=norm),
            *convolution(channels, channels, norm=norm)[:2],
            *drop_path_of(drop_path),
        )
        self.shortcut = (
            nn.Identity()
            if stride == 1 and in_channels == channels
            else nn.Sequential(
                *convolution(in_channels, channels, size=1, stride=stride, norm=norm)[:2]
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.body(x) + self.shortcut(x))
