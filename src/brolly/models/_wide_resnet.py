"""Wide residual networks."""

from __future__ import annotations

import functools

from torch import nn

from .._ranges import check_range
from ._batchnorm import norm_of
from ._dropout import DropoutKind
from ._normalize import ChannelStatistics, first_layer
from ._preact_resnet import PreActBlock, preact_head, prepare
from ._stages import residual_stages


class WideResNet(nn.Sequential):
    """The wide residual network (Zagoruyko & Komodakis 2016), WRN-depth-widen.

    A convolution to 16 channels and three stages of `PreActBlock`s with 16, 32 and 64 times
    `widen` channels. The defaults, WRN-16-4, are for small images and machines; the work on
    robustness uses 28-10, 34-10 and 70-16. It is the authors' network, in which the bias of the
    last layer begins at 0, too.

    Args:
        in_channels: Channels of the input.
        classes: Number of logits.
        depth: Layers, `6 n + 4`: 10, 16, 22, 28, ...
        widen: Times as many channels as a common residual network.
        dropout: Probability of dropping a value between the convolutions of a block; the authors
            use 0.3 for CIFAR and 0.4 for SVHN where they use it.
        dropout_kind: `bernoulli`, where a dropped value is 0, or `gaussian`: `GaussianDropout`.
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
        ValueError: The depth is not of that form, a size is below 1, or a rate is not at least 0
            and below 1.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        depth: int = 16,
        widen: int = 4,
        dropout: float = 0.0,
        dropout_kind: DropoutKind = "bernoulli",
        drop_path: float = 0.0,
        drop_block: float = 0.0,
        block_size: int = 3,
        affine: bool = True,
        track_running_stats: bool = True,
        dual: bool = False,
        normalize: ChannelStatistics | None = None,
    ) -> None:
        check_range("[1, inf)", in_channels=in_channels, classes=classes, widen=widen)
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"depth is {depth}; expected 6 n + 4: 10, 16, 22, 28, 34, ...")
        norm = norm_of(affine, track_running_stats, dual)
        block = functools.partial(
            PreActBlock, dropout=dropout, dropout_kind=dropout_kind, norm=norm
        )
        widths, blocks = [16 * widen, 32 * widen, 64 * widen], [(depth - 4) // 6] * 3
        head = preact_head(64 * widen, classes, norm)
        nn.init.zeros_(head[-1].bias)  # pyright: ignore[reportArgumentType]
        super().__init__(
            first_layer(normalize),
            nn.Conv2d(in_channels, 16, 3, padding=1, bias=False),
            *residual_stages(
                block,
                16,
                widths,
                blocks,
                drop_path=drop_path,
                drop_block=drop_block,
                block_size=block_size,
            ),
            *head,
        )
        prepare(self)
