"""BatchNorm: its options, and separate statistics for clean and adversarial batches."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

#: Makes the normalisation layer of so many channels.
NormOf = Callable[[int], nn.Module]


class DualBatchNorm(nn.Module):
    """BatchNorm with separate statistics for clean and adversarial batches (Xie et al. 2020).

    Two whole layers, each with a mean, a variance, a scale and a shift of its own. The clean one
    is used everywhere, in training and eval mode, by attacks and by evaluations, except inside
    `with adversarial_statistics(model):`.

    Args:
        norm: The BatchNorm of clean batches, of any kind; that of adversarial ones begins as its
            copy.

    Attributes:
        clean, adversarial: The two layers.
        chosen: The name of the one in use.

    Raises:
        ValueError: `norm` is no BatchNorm.

    Example:
        >>> import torch
        >>> from brolly.models import DualBatchNorm, adversarial_statistics
        >>> norm = DualBatchNorm(torch.nn.BatchNorm1d(1))
        >>> with adversarial_statistics(norm):
        ...     _ = norm(torch.tensor([[2.0], [4.0]]))
        >>> round(float(norm.adversarial.running_mean), 3), float(norm.clean.running_mean)
        (0.3, 0.0)
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        if not isinstance(norm, _BatchNorm):
            raise ValueError(
                f"norm is a {type(norm).__name__}; expected a BatchNorm, such as nn.BatchNorm2d(16)"
            )
        self.clean = norm
        self.adversarial = copy.deepcopy(norm)
        self.chosen = "clean"

    def forward(self, x: Tensor) -> Tensor:
        return self.clean(x) if self.chosen == "clean" else self.adversarial(x)


@contextlib.contextmanager
def adversarial_statistics(model: nn.Module) -> Iterator[None]:
    """Inside, every `DualBatchNorm` of the model uses and updates its adversarial statistics.

    Args:
        model: A module with a `DualBatchNorm` in it; afterwards it uses what it used before.

    Raises:
        ValueError: There is none in it.
    """
    norms = [module for module in model.modules() if isinstance(module, DualBatchNorm)]
    if not norms:
        raise ValueError(
            "the model has no DualBatchNorm, so it has no statistics of adversarial batches; "
            "build it with dual=True, or convert it: model = dual_batchnorm(model)"
        )
    before = [norm.chosen for norm in norms]
    try:
        for norm in norms:
            norm.chosen = "adversarial"
        yield
    finally:
        for norm, chosen in zip(norms, before, strict=True):
            norm.chosen = chosen


def has_dual_batchnorm(model: nn.Module) -> bool:
    """Whether there is a `DualBatchNorm` in it."""
    return any(isinstance(module, DualBatchNorm) for module in model.modules())


def dual_batchnorm(model: nn.Module) -> nn.Module:
    """A copy of the model with a `DualBatchNorm` in the place of each BatchNorm.

    Both statistics begin as those of the model, so the copy computes the same.

    Args:
        model: Any module that `copy.deepcopy` can copy.

    Raises:
        ValueError: It has no BatchNorm.

    Example:
        >>> from brolly.models import SmallCNN, dual_batchnorm
        >>> type(dual_batchnorm(SmallCNN(1, 10, width=4))[2]).__name__
        'DualBatchNorm'
    """
    twin = nn.Sequential(copy.deepcopy(model))  # so that a model which is a BatchNorm has a parent
    places = [
        (module, name, child)
        for module in twin.modules()
        if not isinstance(module, DualBatchNorm)
        for name, child in module.named_children()
        if isinstance(child, _BatchNorm)
    ]
    if not places:
        raise ValueError("the model has no BatchNorm whose statistics could be kept apart")
    made = {id(child): DualBatchNorm(child).train(child.training) for _, _, child in places}
    for module, name, child in places:
        setattr(module, name, made[id(child)])
    return twin[0]


def norm_of(affine: bool, track_running_stats: bool, dual: bool) -> NormOf:
    """The `nn.BatchNorm2d` that a model's arguments ask for."""

    def make(channels: int) -> nn.Module:
        norm = nn.BatchNorm2d(channels, affine=affine, track_running_stats=track_running_stats)
        return DualBatchNorm(norm) if dual else norm

    return make
