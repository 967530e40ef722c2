"""The dropout family beyond torch's, and dropout at test time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d
from torch.nn.modules.dropout import _DropoutNd

from .._ranges import check_range

#: What `dropout` of a network does to a value: it is 0 at random, or has Gaussian noise with the
#: same mean and variance.
DropoutKind = Literal["bernoulli", "gaussian"]


class DropBlock(_DropoutNd):
    r"""DropBlock (Ghiasi, Lin & Le 2018): square blocks of feature maps are 0.

    .. math:: \gamma = \frac{p}{b^2} \frac{h \, w}{(h - b + 1)(w - b + 1)}

    is the probability that a place at which a whole block fits is the centre of a dropped one, in
    each channel by itself; what is left is scaled by (values) / (values kept) of the whole
    batch. In eval mode it is the identity. The authors let p grow from 0 over the training, which
    is left to the caller (`p` may be set).

    Args:
        p: Part of the values that is dropped, about; 0.1 in the paper.
        size: Side b of a block, at most that of the feature map; 7 in the paper.

    Raises:
        ValueError: p is not at least 0 and below 1, or size is below 1.

    Example:
        >>> import torch, brolly
        >>> layer = brolly.models.DropBlock(p=0.2, size=3)
        >>> layer(torch.ones(2, 4, 8, 8)).shape
        torch.Size([2, 4, 8, 8])
    """

    def __init__(self, p: float = 0.1, size: int = 7) -> None:
        check_range("[0, 1)", p=p)
        check_range("[1, inf)", size=size)
        super().__init__(p)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if x.ndim != 4:
            raise ValueError(
                f"DropBlock was given shape {tuple(x.shape)}; expected (batch, channels, height, "
                "width)"
            )
        block = [min(self.size, side) for side in x.shape[2:]]
        places = [side - length + 1 for side, length in zip(x.shape[2:], block, strict=True)]
        values, fits = x.shape[2] * x.shape[3], places[0] * places[1]
        rate = min(1.0, self.p * values / (block[0] * block[1] * fits))
        corners = torch.empty(*x.shape[:2], *places, device=x.device).bernoulli_(rate)
        around = (block[1] - 1, block[1] - 1, block[0] - 1, block[0] - 1)
        dropped = max_pool2d(nn.functional.pad(corners, around), block, stride=1)
        kept = (1 - dropped).to(x.dtype)
        return x * kept / kept.mean().clamp_min(1 / kept.numel())

    def extra_repr(self) -> str:
        return f"p={self.p}, size={self.size}"


class DropPath(_DropoutNd):
    """Stochastic depth (Huang et al. 2016): a residual branch is 0 for some examples.

    `x * m / (1 - p)` with m drawn from Bernoulli(1 - p) for each example; put it last in the
    branch: `x + drop_path(branch(x))`. In eval mode it is the identity.

    Where we differ from the authors: they drop the branch for the whole batch at once, and scale by
    1 - p in eval mode instead. They let p grow linearly with depth, to 0.5 at the last block.

    Args:
        p: Probability that the branch is dropped.

    Raises:
        ValueError: p is not at least 0 and below 1.

    Example:
        >>> import torch, brolly
        >>> _ = torch.manual_seed(0)
        >>> brolly.models.DropPath(0.5)(torch.ones(100, 1)).unique()
        tensor([0., 2.])
    """

    def __init__(self, p: float = 0.5) -> None:
        check_range("[0, 1)", p=p)
        super().__init__(p)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        kept = x.new_empty(len(x), *(1,) * (x.ndim - 1)).bernoulli_(1 - self.p)
        return x * kept / (1 - self.p)


class GaussianDropout(_DropoutNd):
    r"""Dropout with Gaussian noise (Srivastava et al. 2014, section 10).

    .. math:: x \, (1 + \sqrt{p / (1 - p)} \, \epsilon), \quad \epsilon \sim N(0, 1)

    which has the mean and the variance of dropout with the same p. In eval mode it is the identity.

    Args:
        p: Rate of the dropout that it stands for; torch's convention (probability of dropping).

    Raises:
        ValueError: p is not at least 0 and below 1.

    Example:
        >>> import torch, brolly
        >>> _ = torch.manual_seed(0)
        >>> layer = brolly.models.GaussianDropout(p=0.2)
        >>> bool((layer(torch.ones(100_000)).std() - 0.5).abs() < 0.01)
        True
    """

    def __init__(self, p: float = 0.5) -> None:
        check_range("[0, 1)", p=p)
        super().__init__(p)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        return x * (1 + (self.p / (1 - self.p)) ** 0.5 * torch.randn_like(x))


class MonteCarloDropout(nn.Module):
    """A model whose dropout is on in eval mode, too (Gal & Ghahramani 2016).

    Each pass draws anew; their mean is the model's answer. Attacks and `evaluate` see the dropout
    on: `evaluate` finds out that the model draws random numbers, attacks it through EOT and judges
    the mean of 20 passes. An attack called by itself meets another network at each step; wrap it
    in `brolly.EOT`. Dropout in a model that is not wrapped is off in eval mode, and so for attacks.

    Args:
        model: A model with dropout layers: torch's modules or those of `brolly.models`. Calls of
            `torch.nn.functional.dropout` are out of reach.

    Raises:
        ValueError: There is no dropout layer, or all have a rate of 0.

    Example:
        >>> import torch, brolly
        >>> model = brolly.models.MLP(4, classes=2, dropout=0.5).eval()
        >>> random = brolly.models.MonteCarloDropout(model).eval()
        >>> x = torch.ones(1, 4)
        >>> torch.equal(model(x), model(x)), torch.equal(random(x), random(x))
        (True, False)
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if not any(layer.p > 0 for layer in _dropouts(model)):
            raise ValueError(
                "the model has no dropout layer to switch on; expected nn.Dropout or one of its "
                "family as a module, with a rate above 0, such as dropout=0.2 gives it"
            )
        self.model = model
        self.training = model.training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with dropout_on(self.model):
            return self.model(*args, **kwargs)


@contextlib.contextmanager
def dropout_on(model: nn.Module) -> Iterator[nn.Module]:
    """Switches the dropout layers of a model on for a while, whatever its mode.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Dropout(0.5).eval()
        >>> with brolly.models.dropout_on(model):
        ...     model.training
        True
        >>> model.training
        False
    """
    modes = [(layer, layer.training) for layer in _dropouts(model)]
    try:
        for layer, _ in modes:
            layer.training = True
        yield model
    finally:
        for layer, training in modes:
            layer.training = training


def dropout_of(p: float, kind: DropoutKind) -> nn.Module:
    """The layer that a network's `dropout` and `dropout_kind` ask for."""
    if kind not in ("bernoulli", "gaussian"):
        raise ValueError(f"dropout_kind is {kind!r}; expected 'bernoulli' or 'gaussian'")
    return GaussianDropout(p) if kind == "gaussian" else nn.Dropout(p)


def drop_paths(drop_path: float, blocks: int) -> list[float]:
    """The rate of each block: growing linearly with depth, to `drop_path` at the last one."""
    check_range("[0, 1)", drop_path=drop_path)
    return [drop_path * ((block + 1) / blocks) for block in range(blocks)]


def drop_path_of(rate: float) -> list[nn.Module]:
    """What ends a branch: `DropPath`, or nothing at rate 0."""
    return [DropPath(rate)] if rate else []


def drop_block_of(drop_block: float, block_size: int) -> list[nn.Module]:
    """What follows convolutions: `DropBlock`, or nothing at rate 0."""
    check_range("[0, 1)", drop_block=drop_block)
    check_range("[1, inf)", block_size=block_size)
    return [DropBlock(drop_block, block_size)] if drop_block else []


def _dropouts(model: nn.Module) -> list[_DropoutNd]:
    return [module for module in model.modules() if isinstance(module, _DropoutNd)]
