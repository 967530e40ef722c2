"""Layers without useful gradients, made passable."""

import pytest
import torch
from oracles.networks import Function, inputs, mlp, predictions
from torch import nn

from brolly import PGD, Linf
from brolly.models import BPDA


def quantise(x: torch.Tensor) -> torch.Tensor:
    return torch.round(x * 32) / 32


def test_pgd_fails_without_and_succeeds_with_it() -> None:
    network, x = mlp(), inputs(60)
    closed = nn.Sequential(Function(quantise), network)
    opened = nn.Sequential(BPDA(quantise), network)
    y = predictions(closed, x)
    pgd = PGD(Linf(0.1), steps=10, random_start=False)
    assert pgd(closed, x, y).success.sum() == 0
    result = pgd(opened, x, y)
    assert result.success.sum() > 30
    assert torch.equal(predictions(closed, result.x) != y, result.success)


def test_forward_is_the_layer_and_backward_the_substitute() -> None:
    x = inputs(4).requires_grad_()
    out = BPDA(torch.round, lambda x: x**2)(x)
    torch.testing.assert_close(out, torch.round(x), rtol=0, atol=1e-15)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(gradient, 2 * x.detach())


def test_shapes_that_differ() -> None:
    with pytest.raises(ValueError, match=r"shape \(4, 2\), its substitute \(4, 6\)"):
        BPDA(lambda x: x[:, :2])(inputs(4))
