"""Small networks of every kind of layer, and the threats to bound them under."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from oracles.networks import Function, seeded
from torch import Tensor, nn

from brolly import L0, L1, L2, Linf, Masked, Threat
from brolly.models import Normalize, ResidualBlock
from brolly.models._convolutional import Grid

SHAPE = (2, 6, 6)
MASK = torch.arange(36).reshape(6, 6) % 3 > 0

THREATS: dict[str, Threat] = {
    "linf": Linf(0.05),
    "linf-scaled": Linf(0.1, scale=(1.0, 0.0)),
    "linf-masked": Masked(Linf(0.05), MASK),
    "l2": L2(0.2),
    "l2-masked": Masked(L2(0.2), MASK),
    "l2-one-channel": Masked(L2(0.2), torch.tensor([False, True])[:, None, None]),
    "l1": L1(0.5),
    "l1-masked": Masked(L1(0.5), MASK),
    "l0": L0(2),
    "l0-masked": Masked(L0(2), MASK),
}


class Residual(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def after_convolution(layer: nn.Module, channels: int = 3) -> nn.Module:
    """The layer between a convolution and a linear layer, so that it meets values of any sign."""
    before = nn.Sequential(nn.Conv2d(2, channels, 3, padding=1), layer, nn.Flatten())
    with torch.no_grad():
        before[0].weight *= 3
        width = before.eval()(torch.zeros(1, *SHAPE)).shape[1]
    return nn.Sequential(*before, nn.Linear(width, 4))


def dense(features: int = 72) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(features, 4))


def used_batchnorm() -> nn.Module:
    layer = nn.BatchNorm2d(3)
    with torch.no_grad():
        layer(torch.randn(64, 3, 6, 6) * torch.tensor([0.2, 1, 3])[:, None, None] + 1)
        layer.weight.copy_(torch.tensor([1.5, -0.7, 1.0]))
        layer.bias.normal_()
    return layer


def three_times() -> nn.Module:
    """Each value three times, with the same weights: they move together."""
    last = dense(216)
    with torch.no_grad():
        last[1].weight.copy_(last[1].weight[:, :72].repeat(1, 3))
    return nn.Sequential(Function(lambda x: x.reshape(len(x), 1, 72) * torch.ones(3, 1)), last)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu-in-place": lambda: nn.ReLU(inplace=True),
    "relu6": nn.ReLU6,
    "leaky-relu": lambda: nn.LeakyReLU(0.2),
    "leaky-relu-falling": lambda: nn.LeakyReLU(-0.3),
    "prelu": lambda: nn.PReLU(3, init=-0.4),
    "elu": lambda: nn.ELU(1.7),
    "celu": lambda: nn.CELU(1.7),
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "gelu-tanh": lambda: nn.GELU(approximate="tanh"),
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "hardswish": nn.Hardswish,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "log-sigmoid": nn.LogSigmoid,
    "softplus": lambda: nn.Softplus(beta=2.0, threshold=1.0),
    "softsign": nn.Softsign,
    "hardtanh": lambda: nn.Hardtanh(-0.3, 0.8),
    "hardsigmoid": nn.Hardsigmoid,
    "abs": lambda: Function(torch.abs),
    "clamp": lambda: Function(lambda x: x.clamp(-0.2, 0.3)),
}

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "max-pool": lambda: nn.MaxPool2d(3, stride=2, padding=1),
    "avg-pool": lambda: nn.AvgPool2d(3, stride=1, padding=1),
    "adaptive-avg-pool": lambda: nn.AdaptiveAvgPool2d(4),
    "adaptive-max-pool": lambda: nn.AdaptiveMaxPool2d(2),
    "grid": lambda: Grid(2),
    "grid-that-fits": lambda: Grid(6),
    "batchnorm": used_batchnorm,
    "dropout": nn.Dropout,
    "dropout2d": nn.Dropout2d,
    "identity": nn.Identity,
    "pad": lambda: nn.ZeroPad2d(1),
    "circular": lambda: nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular"),
    "groups": lambda: nn.Conv2d(3, 6, 3, groups=3, stride=2, padding="valid"),
    "dilation": lambda: nn.Conv2d(3, 2, 2, dilation=2, bias=False),
    "transposed": lambda: nn.ConvTranspose2d(3, 2, 3, stride=2),
    "conv1d": lambda: nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 4, 5)),
    "linear-on-axes": lambda: nn.Linear(6, 5),
    "basic-block": lambda: ResidualBlock(3, 3),
    "basic-block-smaller": lambda: ResidualBlock(3, 6, stride=2),
    "residual": lambda: Residual(nn.Sequential(nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1))),
    "pixel-shuffle": lambda: nn.PixelUnshuffle(2),
}

FUNCTIONS: dict[str, Callable[[Tensor], object]] = {
    "numbers": lambda x: 1 - (2 * x - 0.3) / -0.7 + x / 3,
    "negative": lambda x: -x,
    "whole-numbers": lambda x: x - torch.arange(6, dtype=torch.uint8),
    "difference": lambda x: x - 0.5 * x.relu(),
    "product": lambda x: x * x.sigmoid(),
    "cat": lambda x: torch.cat([x, x.tanh(), torch.ones(len(x), 1, 6, 6)], 1),
    "stack": lambda x: torch.stack([x, x.relu()], 1),
    "maximum": lambda x: torch.maximum(x, torch.minimum(x.flip(3), torch.tensor(0.1))),
    "mean": lambda x: x.mean((2, 3), keepdim=True) + x.sum(1, keepdim=True),
    "matmul": lambda x: x @ torch.linspace(-1, 1, 12, dtype=x.dtype).reshape(6, 2) + 1,
    "matmul-from-the-left": lambda x: torch.linspace(-1, 1, 12, dtype=x.dtype).reshape(2, 6) @ x,
    "views": lambda x: x.permute(0, 2, 3, 1)[:, 1:].reshape(len(x), 5, -1).transpose(1, 2),
    "parts": lambda x: x.chunk(3, 1)[0] * 2 + x.unbind(1)[1].unsqueeze(1).expand(-1, 3, -1, -1),
    "in-place": lambda x: x.clone().mul_(2).add_(x).relu_(),
    "shapes": lambda x: x.view(x.size(0), -1) if x.ndim == 4 and x.shape[1] < 9 else x.mean(),
    "conversions": lambda x: x.double().mul(0.1).to(x.dtype).contiguous(),
}

#: What comes first, which finite norms are followed through.
FIRST: dict[str, Callable[[], nn.Module]] = {
    "linear": dense,
    "normalize": lambda: nn.Sequential(Normalize([0.4, 0.6], [0.2, 0.4]), dense()),
    "convolution": lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), dense(48)),
    "normalize-convolution": lambda: nn.Sequential(
        Normalize([0.4, 0.6], [0.2, 0.4]), nn.Conv2d(2, 3, 3, stride=2, padding=1), dense(27)
    ),
    "batchnorm": lambda: nn.Sequential(nn.BatchNorm2d(2, affine=False), dense()),
    "two-linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 9), nn.Tanh(), nn.Linear(9, 4)),
    "other-first": lambda: nn.Sequential(nn.Tanh(), nn.Conv2d(2, 3, 3), dense(48)),
    "repeated": lambda: nn.Sequential(Function(lambda x: torch.cat([x, -x], 1)), dense(144)),
    "repeated-by-a-product": three_times,
    "linear-on-axes": lambda: nn.Sequential(
        Function(lambda x: x.reshape(len(x), 6, 2, 6)), nn.Linear(6, 5), dense(60)
    ),
    "pooled": lambda: nn.Sequential(nn.AvgPool2d(2), dense(18)),
    "circular": lambda: nn.Sequential(
        nn.Conv2d(2, 3, 5, padding=2, padding_mode="circular"), dense(108)
    ),
}

#: They take values `(batch, 3, 6, 6)`.
WITHIN: dict[str, Callable[[], nn.Module]] = {
    **ACTIVATIONS,
    **LAYERS,
    **{f"function-{name}": partial(Function, forward) for name, forward in FUNCTIONS.items()},
}
NETWORKS = {
    **{name: lambda build=build: after_convolution(build()) for name, build in WITHIN.items()},
    **{f"first-{name}": build for name, build in FIRST.items()},
}


def network(name: str, seed: int = 0) -> nn.Module:
    """One of `NETWORKS` in float32 and eval mode."""
    return seeded(NETWORKS[name], seed).float()


def images(count: int = 8, seed: int = 1, shape: tuple[int, ...] = SHAPE) -> Tensor:
    """Some values are at the bounds of [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(count, *shape, generator=generator) * 1.2 - 0.1).clamp(0, 1)
