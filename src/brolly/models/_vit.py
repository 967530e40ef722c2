"""A vision transformer for small images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .._ranges import check_range
from ._dropout import DropoutKind, drop_path_of, drop_paths, dropout_of
from ._normalize import ChannelStatistics, first_layer


class ViT(nn.Sequential):
    """The vision transformer (Dosovitskiy et al. 2021), at a size for small images.

    The image is cut into patches, each is mapped to a vector, a class token joins them, a learned
    position is added to each, and `depth` encoder blocks of attention and an MLP follow; the
    logits come from the class token. It differs from the authors' code in the last layer, whose
    weights begin at 0 there: an attack on a network that is just made would have no gradient.

    It has no BatchNorm, so examples never depend on each other. Every pair of tokens is compared:
    time and memory grow with `(height * width / patch**2) ** 2`.

    Args:
        shape: Of one image, `(channels, height, width)`.
        classes: Number of logits.
        patch: Height and width of a patch, by which those of the image can be divided.
        width: Length of the vectors.
        depth: Encoder blocks.
        heads: Attention heads, by which the width can be divided.
        hidden: Width of the MLPs; None: four times the width, as in the paper.
        dropout: Probability of dropping a value after the positions, the attention and each layer
            of the MLPs; the authors use 0.1 on ImageNet from scratch, and 0 with much data.
        dropout_kind: `bernoulli`, where a dropped value is 0, or `gaussian`: `GaussianDropout`.
        drop_path: Probability that attention, and by itself the MLP, of the last block is left out
            for an example; that of the others grows to it linearly with depth (stochastic depth,
            Huang et al. 2016); 0.1 in DeiT (Touvron et al. 2021).
        normalize: Channel statistics of the first layer; None: inputs are taken as they are.

    Raises:
        ValueError: A size is below 1, does not divide another, the shape is no image, or a rate is
            not at least 0 and below 1.

    Example:
        >>> import torch
        >>> from brolly.models import ViT
        >>> ViT((3, 32, 32), classes=10)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        *,
        patch: int = 4,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        hidden: int | None = None,
        dropout: float = 0.0,
        dropout_kind: DropoutKind = "bernoulli",
        drop_path: float = 0.0,
        normalize: ChannelStatistics | None = None,
    ) -> None:
        check_range("[1, inf)", classes=classes, patch=patch, width=width, depth=depth, heads=heads)
        hidden = 4 * width if hidden is None else hidden
        check_range("[1, inf)", hidden=hidden)
        if width % heads:
            raise ValueError(f"width is {width}; expected a multiple of heads, which is {heads}")
        super().__init__(
            first_layer(normalize),
            Tokens(shape, patch, width),
            dropout_of(dropout, dropout_kind),
            *(
                EncoderBlock(width, heads, hidden, dropout, dropout_kind, path)
                for path in drop_paths(drop_path, depth)
            ),
            nn.LayerNorm(width, eps=1e-6),
            _ClassToken(),
            nn.Linear(width, classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)


class Tokens(nn.Module):
    """`(batch, channels, height, width)` to `(batch, 1 + patches, width)`, positions added."""

    def __init__(self, shape: Sequence[int], patch: int, width: int) -> None:
        super().__init__()
        if len(shape) != 3 or min(shape) < 1 or shape[1] % patch or shape[2] % patch:
            raise ValueError(
                f"shape is {tuple(shape)}; expected (channels, height, width) of an image, the "
                f"last two multiples of patch, which is {patch}"
            )
        self.shape = tuple(shape)
        patches = (shape[1] // patch) * (shape[2] // patch)
        self.embed = nn.Conv2d(shape[0], width, patch, stride=patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(1, 1 + patches, width))
        nn.init.normal_(self.embed.weight, std=(shape[0] * patch**2) ** -0.5)
        nn.init.zeros_(self.embed.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(
                f"images are {tuple(x.shape[1:])}; expected {self.shape}, for which the positions "
                "are learned"
            )
        patches = self.embed(x).flatten(2).transpose(1, 2)  # (batch, patches, width)
        return torch.cat([self.token.expand(len(x), -1, -1), patches], 1) + self.position


class EncoderBlock(nn.Module):
    """Attention and an MLP, each after a LayerNorm and with a way around (Vaswani et al. 2017)."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        dropout: float,
        dropout_kind: DropoutKind = "bernoulli",
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.attend = nn.Sequential(
            nn.LayerNorm(width, eps=1e-6),
            Attention(width, heads, dropout, dropout_kind),
            dropout_of(dropout, dropout_kind),
            *drop_path_of(drop_path),
        )
        self.think = nn.Sequential(
            nn.LayerNorm(width, eps=1e-6),
            nn.Linear(width, hidden),
            nn.GELU(approximate="tanh"),
            dropout_of(dropout, dropout_kind),
            nn.Linear(hidden, width),
            dropout_of(dropout, dropout_kind),
            *drop_path_of(drop_path),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(x)
        return x + self.think(x)


class Attention(nn.Module):
    """Self-attention in several heads: `softmax(q k^T / sqrt(width / heads)) v` in each.

    Written out, as torch's fused kernels have no second derivative.
    """

    def __init__(
        self, width: int, heads: int, dropout: float, dropout_kind: DropoutKind = "bernoulli"
    ) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.dropout, self.out = dropout_of(dropout, dropout_kind), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (batch, heads, tokens, size)
            for part in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        mixed = self.dropout(scores.softmax(-1)) @ value
        return self.out(mixed.transpose(1, 2).flatten(2))


class _ClassToken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]
