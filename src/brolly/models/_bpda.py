"""Layers without useful gradients, made passable."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class BPDA(nn.Module):
    """Backward pass differentiable approximation (Athalye et al. 2018).

    Computes what a layer computes; gradients pass through a substitute instead. It opens layers
    that hide the gradient, such as rounding, JPEG or bit-depth reduction, to gradient attacks:
    wrap the layer in the model you attack, and let the evaluator judge on the same model.

    Args:
        layer: What the forward pass does; its output has the shape of the substitute's.
        substitute: A differentiable function near it; None: the identity.

    Example:
        >>> import torch
        >>> from brolly.models import BPDA
        >>> x = torch.tensor([0.2, 0.7], requires_grad=True)
        >>> out = BPDA(torch.round)(x)
        >>> out.sum().backward()
        >>> out.tolist(), x.grad.tolist()
        ([0.0, 1.0], [1.0, 1.0])
    """

    def __init__(
        self,
        layer: Callable[[Tensor], Tensor],
        substitute: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.layer = layer
        self.substitute = nn.Identity() if substitute is None else substitute

    def forward(self, x: Tensor) -> Tensor:
        passable = self.substitute(x)
        exact = self.layer(x.detach()).detach()
        if exact.shape != passable.shape:
            raise ValueError(
                f"the layer returned shape {tuple(exact.shape)}, its substitute "
                f"{tuple(passable.shape)}; expected the same"
            )
        return passable + (exact - passable).detach()
