"""Small convolutional networks for images of any size, laid out channels-last for speed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._ranges import check_range
from ._batchnorm import NormOf, norm_of
from ._dropout import drop_block_of
from ._normalize import ChannelStatistics, first_layer


class Grid(nn.Module):
    """Averages feature maps to `size x size` places, as `nn.AdaptiveAvgPool2d`.

    Maps that have that size already pass as they are, which on a CPU saves as much time as a
    convolution takes.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        places = (self.size, self.size)
        return x if x.shape[-2:] == places else nn.functional.adaptive_avg_pool2d(x, places)


class LeNet(nn.Sequential):
    """Two convolutions with max pooling and two dense layers, as LeNet-5 (LeCun et al. 1998).

    ReLU takes the place of the sigmoid. With the defaults it is the network of Madry et al.
    (2018) for MNIST.

    Args:
        in_channels: Channels of the input.
        classes: Number of logits.
        width: Channels of the first convolution; the second has twice as many.
        hidden: Width of the dense layer.
        grid: The features are averaged to `grid x grid` places before the dense layer; 7 is what
            28 x 28 images come to by themselves.
        normalize: Channel statistics of the first layer; None: inputs are taken as they are.

    Raises:
        ValueError: A size is below 1.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        width: int = 32,
        hidden: int = 1024,
        grid: int = 7,
        normalize: ChannelStatistics | None = None,
    ) -> None:
        check_range("[1, inf)", width=width, hidden=hidden, grid=grid)
        super().__init__(
            first_layer(normalize),
            nn.Conv2d(in_channels, width, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            Grid(grid),
            nn.Flatten(),
            nn.Linear(2 * width * grid**2, hidden),
            nn.ReLU(),
            nn.Linear(hidden, classes),
        )
        channels_last(self)


class SmallCNN(nn.Sequential):
    """Five convolutions with BatchNorm and two dense layers; quick on a CPU.

    The first convolution halves the resolution, so most of the work is done on few, wide
    feature maps, which a CPU likes best.

    Args:
        in_channels: Channels of the input.
        classes: Number of logits.
        width: The convolutions have `2 * width` channels, after the second halving `4 * width`.
        hidden: Width of the dense layer.
        grid: The features are averaged to `grid x grid` places before the dense layer; 7 is what
            28 x 28 images come to by themselves.
        drop_block: Part of the values that `DropBlock` drops after the third and the fifth
            convolution. Its authors use 0.1, and drop after each one of the last two resolutions.
        block_size: Side of a dropped block. Its authors use 7 for ImageNet; 3 is for the smaller
            maps of small images.
        affine: Whether BatchNorm has a scale and a shift to learn.
        track_running_stats: Whether BatchNorm keeps statistics for eval mode; without them it
            takes those of the batch there too, and examples depend on each other.
        dual: Whether adversarial batches have statistics of their own: `DualBatchNorm`.
        normalize: Channel statistics of the first layer; None: inputs are taken as they are.

    Raises:
        ValueError: A size is below 1, or a rate is not at least 0 and below 1.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        width: int = 32,
        hidden: int = 128,
        grid: int = 7,
        drop_block: float = 0.0,
        block_size: int = 3,
        affine: bool = True,
        track_running_stats: bool = True,
        dual: bool = False,
        normalize: ChannelStatistics | None = None,
    ) -> None:
        check_range("[1, inf)", width=width, hidden=hidden, grid=grid)
        norm = norm_of(affine, track_running_stats, dual)
        blocks = [drop_block_of(drop_block, block_size) for _ in range(2)]
        super().__init__(
            first_layer(normalize),
            *convolution(in_channels, 2 * width, size=5, stride=2, norm=norm),
            *convolution(2 * width, 2 * width, norm=norm),
            *convolution(2 * width, 2 * width, norm=norm),
            *blocks[0],
            *convolution(2 * width, 4 * width, stride=2, norm=norm),
            *convolution(4 * width, 4 * width, norm=norm),
            *blocks[1],
            Grid(grid),
            nn.Flatten(),
            nn.Linear(4 * width * grid**2, hidden),
            nn.ReLU(),
            nn.Linear(hidden, classes),
        )
        channels_last(self)


def convolution(
    in_channels: int,
    channels: int,
    *,
    size: int = 3,
    stride: int = 1,
    norm: NormOf = nn.BatchNorm2d,
) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Convolution, BatchNorm and ReLU; the padding keeps the resolution at stride 1."""
    return (
        nn.Conv2d(in_channels, channels, size, stride, padding=size // 2, bias=False),
        norm(channels),
        nn.ReLU(),
    )


def channels_last(model: nn.Module) -> None:
    """Lays the weights of convolutions out as CPUs and tensor cores like them; no value changes."""
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
