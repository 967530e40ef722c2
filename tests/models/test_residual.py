"""Residual blocks against their equations; NiN's blocks; depth and shape of the networks."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from brolly.models import (
    NiN,
    NiNBlock,
    PreActBlock,
    PreActResNet,
    ResidualBlock,
    WideResNet,
)


def lived(model: nn.Module) -> nn.Module:
    """With running statistics that matter."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return model.double().eval()


def normed(norm, x):
    """(x - mean) / sqrt(var + eps) * scale + shift, channel by channel."""
    each = [
        (x[:, k] - norm.running_mean[k]) / (norm.running_var[k] + norm.eps) ** 0.5 * norm.weight[k]
        + norm.bias[k]
        for k in range(x.shape[1])
    ]
    return torch.stack(each, 1)


SHAPES = [(3, 3, 1), (3, 5, 1), (3, 3, 2), (3, 6, 2)]


@pytest.mark.parametrize(("in_channels", "channels", "stride"), SHAPES)
def test_the_residual_block(in_channels, channels, stride):
    block = lived(ResidualBlock(in_channels, channels, stride=stride))
    x = torch.randn(2, in_channels, 5, 6, dtype=torch.float64)
    convolutions = [m for m in block.body if isinstance(m, nn.Conv2d)]
    norms = [m for m in block.body if isinstance(m, nn.BatchNorm2d)]
    inner = normed(norms[0], F.conv2d(x, convolutions[0].weight, stride=stride, padding=1)).relu()
    body = normed(norms[1], F.conv2d(inner, convolutions[1].weight, padding=1))
    around = x
    if stride > 1 or in_channels != channels:
        convolution, norm = block.shortcut
        around = normed(norm, F.conv2d(x, convolution.weight, stride=stride))
    torch.testing.assert_close(block(x), (body + around).relu())


@pytest.mark.parametrize(("in_channels", "channels", "stride"), SHAPES)
def test_the_block_with_activations_first(in_channels, channels, stride):
    block = lived(PreActBlock(in_channels, channels, stride=stride, dropout=0.5))
    x = torch.randn(2, in_channels, 5, 6, dtype=torch.float64)
    active = normed(block.activate[0], x).relu()
    first, norm, _, _, second = block.body
    inner = normed(norm, F.conv2d(active, first.weight, stride=stride, padding=1)).relu()
    same = stride == 1 and in_channels == channels
    around = x if same else F.conv2d(active, block.shortcut.weight, stride=stride)
    expected = F.conv2d(inner, second.weight, padding=1) + around
    torch.testing.assert_close(block(x), expected)


def layers(model):
    return [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "shortcut" not in name
    ]


@pytest.mark.parametrize("depth", [10, 16, 22])
def test_depth_of_a_wide_network_counts_as_its_authors_count(depth):
    with torch.device("meta"):
        model = WideResNet(3, 10, depth=depth, widen=2)
    shortcuts = 3  # one per stage, which the authors count in `6 n + 4`
    assert len(layers(model)) + shortcuts == depth + 1  # and the linear layer, which they do not


@pytest.mark.parametrize("n", [1, 3])
def test_depth_of_a_narrow_network(n):
    with torch.device("meta"):
        assert len(layers(PreActResNet(3, 10, blocks=(n, n, n), width=16))) == 6 * n + 2


@pytest.mark.parametrize("build", [
    lambda: PreActResNet(3, 10, blocks=(1, 1, 1), width=32),
    lambda: WideResNet(3, 10, depth=10, widen=2),
])  # fmt: skip
def test_convolutions_begin_with_the_variance_of_the_authors(build):
    torch.manual_seed(0)
    for module in build().modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            assert (module.weight.var() * fan_out).item() == pytest.approx(2, rel=0.15)
            assert module.bias is None


def test_dropout_lies_between_the_convolutions():
    dropped = WideResNet(1, 3, depth=16, widen=1, dropout=0.3)
    assert [m.p for m in dropped.modules() if isinstance(m, nn.Dropout)] == [0.3] * 6
    assert not any(isinstance(m, nn.Dropout) for m in WideResNet(1, 3, depth=10).modules())


def test_a_block_of_networks_is_the_same_network_at_each_place():
    torch.manual_seed(0)
    block = NiNBlock(2, (5, 4, 3), size=3).double()
    x = torch.randn(2, 2, 5, 5, dtype=torch.float64)
    first, _, second, _, third, _ = block
    out = block(x)
    padded = F.pad(x, (1, 1, 1, 1))
    for row, column in [(0, 0), (2, 3), (4, 4)]:
        patch = padded[:, :, row : row + 3, column : column + 3].flatten(1)
        z = (patch @ first.weight.flatten(1).T + first.bias).relu()
        z = (z @ second.weight.flatten(1).T + second.bias).relu()
        z = (z @ third.weight.flatten(1).T + third.bias).relu()
        torch.testing.assert_close(out[:, :, row, column], z)


def test_nin_halves_twice_and_averages_places():
    model = NiN(1, 3, width=6).eval()
    x = torch.rand(2, 1, 32, 32)
    shapes = []
    for layer in model:
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes[2] == (3, 16, 16)
    assert shapes[5] == (6, 8, 8)
    assert shapes[-3:] == [(3, 8, 8), (3, 1, 1), (3,)]
    assert (NiN(1, 9, width=6)(torch.rand(20, 1, 8, 8)) < 0).any()
