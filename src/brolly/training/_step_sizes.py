"""How large the gradients and the steps of an epoch are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn


class StepSizes:
    """Gradient norms of an epoch's steps, and how far the middle one moves the weights.

    Everything stays on the device until it is asked for, so that a step waits for nothing.
    """

    def __init__(self, model: nn.Module, steps: int) -> None:
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._middle, self._norms, self._ratio = steps // 2, list[Tensor](), None

    def look_at_gradients(self) -> None:
        """Notes the norm of the gradient that the next step has."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        self._norms.append(_norm(gradients))

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Around the step itself."""
        if len(self._norms) - 1 != self._middle:
            yield
            return
        before = [p.detach().clone() for p in self._parameters]
        yield
        moved = torch._foreach_sub([p.detach() for p in self._parameters], before)
        self._ratio = _norm(moved) / _norm(before).clamp_min(1e-12)

    @property
    def gradient_norm(self) -> float | None:
        """Median over the steps; None where it is no number."""
        return _finite(torch.stack(self._norms).median()) if self._norms else None

    @property
    def largest_gradient_norm(self) -> float | None:
        return _finite(torch.stack(self._norms).max()) if self._norms else None

    @property
    def update_ratio(self) -> float | None:
        """`|step| / |weights|`, of all parameters that are trained."""
        return None if self._ratio is None else _finite(self._ratio)


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors))))


def _finite(value: Tensor) -> float | None:
    return float(value) if value.isfinite() else None
