"""Residual networks with the activation before the convolution."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from torch import Tensor, nn

from .._ranges import check_range
from ._batchnorm import NormOf, norm_of
from ._convolutional import channels_last
from ._dropout import DropoutKind, drop_path_of, dropout_of
from ._normalize import ChannelStatistics, first_layer
from ._stages import residual_stages


class PreActBlock(nn.Module):
    """A residual block that leaves the way around untouched (He et al. 2016b).

    .. math:: y = x + P(C_2(D(a_2(C_1(a_1(x))))))

    with 3 x 3 convolutions C, BatchNorm and ReLU a, dropout D (Zagoruyko & Komodakis 2016) and
    `DropPath` P.
    On a change of shape, the way around is a 1 x 1 convolution of `a_1(x)`.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        stride: Of the first convolution.
        dropout: Probability of dropping a value between the convolutions.
        dropout_kind: `bernoulli`, where a dropped value is 0, or `gaussian`: `GaussianDropout`.
        drop_path: Probability of leaving the convolutions out for an example.
        norm: Makes the normalisation of so many channels.

    Raises:
        ValueError: A size is below 1.

    Example:
        >>> import torch
        >>> from brolly.models import PreActBlock
        >>> PreActBlock(4, 8, stride=2)(torch.rand(2, 4, 6, 6)).shape
        torch.Size([2, 8, 3, 3])
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int = 1,
        dropout: float = 0.0,
        dropout_kind: DropoutKind = "bernoulli",
        drop_path: float = 0.0,
        norm: NormOf = nn.BatchNorm2d,
    ) -> None:
        check_range("[1, inf)", in_channels=in_channels, channels=channels, stride=stride)
        super().__init__()
        self.activate = nn.Sequential(norm(in_channels), nn.ReLU())
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False),
            norm(channels),
            nn.ReLU(),
            *([dropout_of(dropout, dropout_kind)] if dropout else []),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            *drop_path_of(drop_path),
        )
        self.shortcut = (
            None
            if stride == 1 and in_channels == channels
            else nn.Conv2d(in_channels, channels, 1, stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        active = self.activate(x)
        around = x if self.shortcut is None else self.shortcut(active)
        return self.body(active) + around


class PreActResNet(nn.Sequential):
    """The pre-activation residual network (He et al. 2016b).

    With the defaults it is the PreActResNet-18 of the work on robustness, among it Wong et al.
    (2020) and Rice et al. (2020). `blocks=(n, n, n), width=16` is the authors' network of depth
    `6 n + 2` for CIFAR.

    Args:
        in_channels: Channels of the input.
        classes: Number of logits.
        blocks: Residual blocks of each stage.
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
        ValueError: A size is below 1, `blocks` is empty, or a rate is not at least 0 and below 1.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        blocks: Sequence[int] = (2, 2, 2, 2),
        width: int = 64,
        drop_path: float = 0.0,
        drop_block: float = 0.0,
        block_size: int = 3,
        affine: bool = True,
        track_running_stats: bool = True,
        dual: bool = False,
        normalize: ChannelStatistics | None = None,
    ) -> None:
        check_range("[1, inf)", in_channels=in_channels, classes=classes, width=width)
        if not blocks:
            raise ValueError("blocks is empty; expected a number per stage: (2, 2, 2, 2)")
        norm = norm_of(affine, track_running_stats, dual)
        super().__init__(
            first_layer(normalize),
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
            *residual_stages(
                functools.partial(PreActBlock, norm=norm),
                width,
                [width * 2**k for k in range(len(blocks))],
                blocks,
                drop_path=drop_path,
                drop_block=drop_block,
                block_size=block_size,
            ),
            *preact_head(width * 2 ** (len(blocks) - 1), classes, norm),
        )
        prepare(self)


def preact_head(channels: int, classes: int, norm: NormOf) -> list[nn.Module]:
    """From the last stage to the logits."""
    return [
        norm(channels),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, classes),
    ]


def prepare(model: nn.Module) -> None:
    """Convolutions with variance `2 / fan_out`, as the authors draw them, laid out for speed."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
    channels_last(model)
