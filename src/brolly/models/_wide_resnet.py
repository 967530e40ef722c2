"""Wide residual networks."""

from __future__ import annotations

from torch import nn

from ._batchnorm import norm_of
from ._normalize import ChannelStatistics, first_layer
from ._preact_resnet import preact_head, preact_stages, prepare
from ._sizes import check_sizes


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
        affine: Whether BatchNorm has a scale and a shift to learn.
        track_running_stats: Whether BatchNorm keeps statistics for eval mode; without them it
            takes those of the batch there too, and examples depend on each other.
        dual: Whether adversarial batches have statistics of their own: `DualBatchNorm`.
        normalize: Channel statistics of the first layer; None: inputs are taken as they are.

    Raises:
        ValueError: The depth is not of that form, or a size is below 1.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        depth: int = 16,
        widen: int = 4,
        dropout: float = 0.0,
        affine: bool = True,
        track_running_stats: bool = True,
        dual: bool = False,
        normalize: ChannelStatistics | None = None,
    ) -> None:
        check_sizes(in_channels=in_channels, classes=classes, widen=widen)
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"depth is {depth}; expected 6 n + 4: 10, 16, 22, 28, 34, ...")
        norm = norm_of(affine, track_running_stats, dual)
        widths, blocks = [16 * widen, 32 * widen, 64 * widen], [(depth - 4) // 6] * 3
        head = preact_head(64 * widen, classes, norm)
        nn.init.zeros_(head[-1].bias)  # pyright: ignore[reportArgumentType]
        super().__init__(
            first_layer(normalize),
            nn.Conv2d(in_channels, 16, 3, padding=1, bias=False),
            *preact_stages(16, widths, blocks, dropout=dropout, norm=norm),
            *head,
        )
        prepare(self)
