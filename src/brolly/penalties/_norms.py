"""Penalties on the size of weights: L1, L2 and both."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ._penalty import Covers, Proximal, Weighted, covered


def l1(model: nn.Module, weight: float = 1.0, covers: Covers = "weights") -> Tensor:
    """Sum of absolute weights, `weight * sum(|w|)`.

    Its gradient is `weight * sign(w)`, as that of Keras's `l1(weight)`.

    Args:
        model: Any module.
        weight: Factor.
        covers: Which parameters.

    Raises:
        ValueError: No parameter is covered.

    Example:
        >>> import torch, brolly
        >>> layer = torch.nn.Linear(2, 1)
        >>> _ = torch.nn.init.constant_(layer.weight, -3.0)
        >>> brolly.penalties.l1(layer).item()
        6.0
    """
    return weight * _sum(p.abs().sum() for p in covered(model, covers).values())


def l2(model: nn.Module, weight: float = 1.0, covers: Covers = "weights") -> Tensor:
    """Half the sum of squares of the weights, `weight * sum(w ** 2) / 2`.

    Its gradient is `weight * w`, the same as that of torch's `weight_decay`; Keras's `l2(weight)`
    has no half and is twice as strong.

    Args:
        model: Any module.
        weight: Factor.
        covers: Which parameters.

    Raises:
        ValueError: No parameter is covered.

    Example:
        >>> import torch, brolly
        >>> layer = torch.nn.Linear(2, 1)
        >>> _ = torch.nn.init.constant_(layer.weight, -3.0)
        >>> brolly.penalties.l2(layer).item()
        9.0
    """
    return weight * _sum((p**2).sum() for p in covered(model, covers).values()) / 2


def elastic_net(
    model: nn.Module, weight: float = 1.0, ratio: float = 0.5, covers: Covers = "weights"
) -> Tensor:
    """L1 and L2 mixed, `weight * (ratio * sum(|w|) + (1 - ratio) * sum(w ** 2) / 2)`.

    Args:
        model: Any module.
        weight: Factor of both.
        ratio: Part of L1.
        covers: Which parameters.

    Raises:
        ValueError: No parameter is covered.

    Example:
        >>> import torch, brolly
        >>> layer = torch.nn.Linear(2, 1)
        >>> _ = torch.nn.init.constant_(layer.weight, -3.0)
        >>> brolly.penalties.elastic_net(layer, ratio=0.5).item()
        7.5
    """
    return l1(model, weight * ratio, covers) + l2(model, weight * (1 - ratio), covers)


@dataclasses.dataclass(frozen=True)
class L1(Proximal):
    """Sum of absolute weights, `weight * sum(|w|)` (the lasso, Tibshirani 1996).

    It pulls each weight towards zero by the same amount. Its gradient alone leaves weights that
    jump about zero; the proximal step after the optimiser's, of learning rate lr,

        w <- sign(w) * max(|w| - lr * weight, 0)

    makes them exactly zero (Parikh & Boyd 2014, ch. 6.5). With it the value carries no gradient.
    The step is the exact one for plain gradient descent; with momentum or Adam it is the same
    step after theirs, with the same lr. An average of weights (`EMA`, `SWA`) keeps few zeros.

    Args:
        weight: 0 or more.
        covers: Which parameters.
        proximal: Whether to take the proximal step instead of the gradient.

    Raises:
        ValueError: weight is below 0.

    Example:
        >>> import torch, brolly
        >>> layer = torch.nn.Linear(3, 1)
        >>> with torch.no_grad():
        ...     _ = layer.weight.copy_(torch.tensor([[0.05, -0.5, 1.0]]))
        >>> brolly.penalties.L1(1.0, proximal=True).after_step(layer, lr=0.25)
        >>> layer.weight.tolist()
        [[0.0, -0.25, 0.75]]
    """

    def value(self, model: nn.Module) -> Tensor:
        return l1(model, self.weight, self.covers)

    def shrink(self, model: nn.Module, lr: float) -> None:
        for w in covered(model, self.covers).values():
            w.copy_(torch.nn.functional.softshrink(w, lr * self.weight))


@dataclasses.dataclass(frozen=True)
class L2(Weighted):
    """Half the sum of squares of the weights, `weight * sum(w ** 2) / 2`.

    Its gradient is `weight * w`, the same as that of torch's `weight_decay`; Keras's `l2(weight)`
    has no half and is twice as strong.

    Args:
        weight: 0 or more.
        covers: Which parameters.

    Raises:
        ValueError: weight is below 0.

    Example:
        >>> import torch, brolly
        >>> layer = torch.nn.Linear(2, 1)
        >>> _ = torch.nn.init.constant_(layer.weight, 3.0)
        >>> brolly.penalties.L2(0.5)(layer).item()
        4.5
    """

    def __call__(self, model: nn.Module) -> Tensor:
        return l2(model, self.weight, self.covers)


@dataclasses.dataclass(frozen=True)
class ElasticNet(Weighted):
    """L1 and L2 mixed, `weight * (ratio * sum(|w|) + (1 - ratio) * sum(w ** 2) / 2)`.

    The elastic net (Zou & Hastie 2005) in the units of glmnet and scikit-learn (their `l1_ratio`).
    For exact zeros write `L1(weight * ratio, proximal=True) + L2(weight * (1 - ratio))`.

    Args:
        weight: 0 or more.
        covers: Which parameters.
        ratio: Part of L1, 0 to 1.

    Raises:
        ValueError: weight is below 0, or ratio is not in [0, 1].

    Example:
        >>> import torch, brolly
        >>> layer = torch.nn.Linear(2, 1)
        >>> _ = torch.nn.init.constant_(layer.weight, 3.0)
        >>> brolly.penalties.ElasticNet(2.0, ratio=0.25)(layer).item()
        16.5
    """

    ratio: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.ratio <= 1:
            raise ValueError(f"ratio is {self.ratio}; expected a number in [0, 1]")

    def __call__(self, model: nn.Module) -> Tensor:
        return elastic_net(model, self.weight, self.ratio, self.covers)


def _sum(terms: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum()
