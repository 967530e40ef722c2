"""Stages of residual blocks, which every residual network has between its first and last layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from .._ranges import check_range
from ._dropout import drop_block_of, drop_paths


def residual_stages(
    block: Callable[..., nn.Module],
    in_channels: int,
    widths: Sequence[int],
    blocks: Sequence[int],
    *,
    drop_path: float,
    drop_block: float,
    block_size: int,
) -> list[nn.Module]:
    """Blocks of all stages; each stage but the first halves the resolution.

    Args:
        block: Makes one: `block(in_channels, channels, stride=..., drop_path=...)`.
        in_channels: Channels that the first stage is given.
        widths: Channels of each stage.
        blocks: How many each stage has.
        drop_path: Of the last block; that of the others grows to it.
        drop_block: After each block of the last two stages.
        block_size: Side of what it drops.
    """
    layers: list[nn.Module] = []
    paths = iter(drop_paths(drop_path, sum(blocks)))
    for stage, (channels, count) in enumerate(zip(widths, blocks, strict=True)):
        check_range("[1, inf)", blocks=count)
        for number in range(count):
            stride = 2 if stage > 0 and number == 0 else 1
            layers.append(block(in_channels, channels, stride=stride, drop_path=next(paths)))
            if stage >= len(blocks) - 2:
                layers += drop_block_of(drop_block, block_size)
            in_channels = channels
    return layers
