"""The affine layer: a linear map and the slopes that are learned with it."""

import pytest
import torch
from torch import nn

from brolly.models import AffineLayer, AffineMLP


def test_the_equation_output_by_output():
    layer = AffineLayer(3, 2).double()
    with torch.no_grad():
        layer.activation.weight.copy_(torch.tensor([0.1, -2.0]))
    x = torch.randn(20, 3, dtype=torch.float64)
    weight, bias = layer.linear.weight.tolist(), layer.linear.bias.tolist()
    for row, out in zip(x.tolist(), layer(x).tolist(), strict=True):
        for k, slope in enumerate(layer.activation.weight.tolist()):
            z = sum(w * value for w, value in zip(weight[k], row, strict=True)) + bias[k]
            assert out[k] == pytest.approx(max(0, z) + slope * min(0, z), rel=1e-9)


def test_slopes_belong_to_the_last_axis():
    layer = AffineLayer(3, 4)
    with torch.no_grad():
        layer.activation.weight.copy_(torch.arange(4.0))
    x = torch.randn(5, 4, 3)  # four steps, four outputs
    by_step = torch.stack([layer(x[:, step]) for step in range(4)], 1)
    torch.testing.assert_close(layer(x), by_step)


@pytest.mark.parametrize(
    ("slope", "limit"), [(0.0, torch.relu), (1.0, lambda z: z)], ids=["relu", "linear"]
)
def test_the_ends_of_the_slope(slope, limit):
    layer = AffineLayer(3, 4, slope=slope)
    x = torch.randn(5, 3)
    torch.testing.assert_close(layer(x), limit(layer.linear(x)))


@pytest.mark.parametrize("slope", [0.0, 0.25, 1.0])
def test_the_weights_keep_the_second_moment(slope):
    torch.manual_seed(0)
    layer = AffineLayer(500, 400, slope=slope)
    weight = layer.linear.weight
    assert (weight.var() * 500 * (1 + slope**2)).item() == pytest.approx(2, rel=0.02)
    assert not layer.linear.bias.any()
    x = torch.randn(400, 500)
    assert layer(x).square().mean().item() == pytest.approx(1, rel=0.05)


def test_a_step_learns_the_slopes():
    model = AffineMLP(6, 3, hidden=[5])
    model(torch.randn(8, 6)).square().sum().backward()
    slopes = model[2].activation.weight
    assert slopes.shape == (5,)
    assert slopes.grad.abs().min() > 0


def test_dropout_is_there_when_asked_for():
    dropped = [m.p for m in AffineMLP(4, 2, dropout=0.5).modules() if isinstance(m, nn.Dropout)]
    assert dropped == [0.5, 0.5]
    assert not any(isinstance(m, nn.Dropout) for m in AffineMLP(4, 2).modules())
