"""Looking at a model without leaving a trace: modes, buffers, randomness, `.grad`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from ._draws import Draws

#: `eval`: every submodule in eval mode while searching. `keep`: the modes the model is in.
Mode = Literal["eval", "keep"]


@contextlib.contextmanager
def untouched(model: nn.Module, mode: Mode = "eval") -> Iterator[None]:
    """Leaves modes and buffers of every submodule as it found them; in between, eval mode."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    try:
        if mode == "eval":
            for module, _ in modes:
                module.training = False
        yield
    finally:
        for module, training in modes:
            module.training = training
        for module, name, buffer, value in buffers:
            module._buffers[name] = buffer
            # Through `.data`, as autograd is not to see a change: the values are what they were.
            buffer.data.copy_(value)


@contextlib.contextmanager
def private_randomness(draws: Draws, device: torch.device) -> Iterator[None]:
    """Gives a randomised model numbers of its own, and the global generators their state back."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        # torch.manual_seed would seed every device, also those that are not forked here.
        torch.default_generator.manual_seed(draws.seed)
        for forked in devices:
            with torch.cuda.device(forked):
                torch.cuda.manual_seed(draws.seed)
        yield


def input_gradient(
    loss: Tensor, x: Tensor, keep_graph: bool = False, create_graph: bool = False
) -> Tensor:
    """Gradient of `loss.sum()` in `x`. Parameters get no `.grad`; NaN becomes 0.

    Args:
        loss: Of any shape.
        x: What it was computed from.
        keep_graph: For more gradients of the same loss.
        create_graph: For gradients of this gradient, which then has a graph of its own.

    Raises:
        ValueError: The loss does not depend on `x` in a way autograd can follow.
    """
    if not loss.requires_grad:
        raise ValueError(
            "the model's output carries no gradient: something inside it cuts the graph "
            "(torch.no_grad, detach, .data, argmax or a NumPy round trip). Gradient attacks need "
            "a forward pass that autograd can follow"
        )
    (gradient,) = torch.autograd.grad(
        loss.sum(),
        x,
        retain_graph=keep_graph or create_graph,
        create_graph=create_graph,
        allow_unused=True,
    )
    if gradient is None:
        raise ValueError(
            "the model's output does not depend on its input; expected logits computed from it"
        )
    return gradient.nan_to_num(nan=0.0)  # not in place: it may be one value, expanded
