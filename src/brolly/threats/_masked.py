"""A threat that may touch only some values of an input."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .._draws import Draws
from ._threat import Threat


class Masked(Threat):
    """Only the values where `mask` is True may change, as far as `threat` allows.

    Kind, radius and bounds are those of `threat`, so every attack on that works on this.

    Args:
        threat: What may be done to those values.
        mask: Bool, of a shape that broadcasts to one input: `(h, w)` for some pixels,
            `(channels, 1, 1)` for some channels.

    Raises:
        ValueError: The mask is not a bool tensor or True nowhere; with `check_inputs`, it does
            not broadcast to one input.

    Example:
        >>> import torch
        >>> from brolly import L2, Masked
        >>> x = torch.full((1, 3), 0.5)
        >>> threat = Masked(L2(0.1), torch.tensor([True, False, True]))
        >>> threat.project(x + torch.tensor([[0.3, 9.0, 0.4]]), x)
        tensor([[0.5600, 0.5000, 0.5800]])
    """

    def __init__(self, threat: Threat, mask: Tensor) -> None:
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            given = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            raise ValueError(f"mask is {given}; expected a bool tensor, for example image > 0")
        if isinstance(threat, Masked):
            threat, mask = threat.threat, threat.mask & mask
        if not mask.any():
            raise ValueError("mask is True nowhere; expected at least one value that may change")
        super().__init__(threat.eps, threat.bounds)
        # Frozen, as every threat is.
        for name, value in (("threat", threat), ("_mask", mask.clone())):
            object.__setattr__(self, name, value)
        for name in ("kind", "order"):
            object.__setattr__(self, name, getattr(threat, name))

    threat: Threat
    _mask: Tensor

    @property
    def mask(self) -> Tensor:
        return self._mask

    def __repr__(self) -> str:
        return f"Masked({self.threat!r}, mask of shape {tuple(self._mask.shape)})"

    def __str__(self) -> str:
        return f"{self.threat} masked to {int(self._mask.sum())} of {self._mask.numel()}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Masked):
            return NotImplemented
        return self.threat == other.threat and torch.equal(self._mask.cpu(), other._mask.cpu())

    def __hash__(self) -> int:
        mask = self._mask.cpu()
        return hash((self.threat, tuple(mask.shape), mask.numpy().tobytes()))

    def with_eps(self, eps: float) -> Masked:
        return Masked(self.threat.with_eps(eps), self._mask)

    def check_inputs(self, x: Tensor) -> None:
        shape = x.shape[1:]
        try:
            fits = torch.broadcast_shapes(self._mask.shape, shape) == shape
        except RuntimeError:
            fits = False
        if not fits:
            raise ValueError(
                f"mask has shape {tuple(self._mask.shape)}, which does not broadcast to one input "
                f"of shape {tuple(shape)}; expected for example that shape"
            )
        self.threat.check_inputs(x)
        super().check_inputs(x)

    def slack(self, shape: torch.Size) -> float:
        return self.threat.slack(shape)

    def diameter(self, shape: torch.Size) -> float:
        return self.threat.diameter(torch.Size([int(self._mask.expand(shape).sum())]))

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        return self._on_mask(self.threat.project(self._on_mask(x_adv, x), x), x)

    def sample(self, x: Tensor, draws: Draws) -> Tensor:
        if math.isinf(self.order):
            return self._on_mask(self.threat.sample(x, draws), x)
        # A ball of as many dimensions as may change: the shadow of a larger one is thin at its rim.
        free = self._mask.to(x.device).expand(x.shape[1:])
        sampled = x.clone()
        sampled[:, free] = self.threat.sample(x[:, free], draws)
        return sampled

    def ascend(self, gradient: Tensor) -> Tensor:
        return self.threat.ascend(self._on_mask(gradient, torch.zeros_like(gradient)))

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """As the threat measures it; infinite where another value differs."""
        outside = (self._on_mask(x, x_adv) != x).flatten(1).any(1)
        inside = self.threat.distance(self._on_mask(x_adv, x), x)
        return inside.masked_fill(outside, math.inf)

    def contains(self, x_adv: Tensor, x: Tensor) -> Tensor:
        same = self._on_mask(x_adv, x) == x_adv
        return self.threat.contains(x_adv, x) & same.flatten(1).all(1)

    def _on_mask(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """`x_adv` where it may differ from `x`."""
        return torch.where(self._mask.to(x.device), x_adv, x)
