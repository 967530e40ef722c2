"""Which class to aim at, and which classes can be taken for which."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Int
from torch import Tensor, nn

from .._draws import Draws
from ._attack import Attack
from ._engine import untouched

Classes = Int[Tensor, " batch"]


def least_likely(model: nn.Module, x: Tensor, y: Tensor) -> Classes:
    """The class with the lowest logit that is not the label (Kurakin et al. 2017).

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> target = brolly.attacks.least_likely(model, x, y)
        >>> brolly.PGD(brolly.Linf(0.1))(model, x, y, target=target).success.shape
        torch.Size([2])
    """
    return _logits(model, x).scatter(1, y.long()[:, None], torch.inf).argmin(1)


def runner_up(model: nn.Module, x: Tensor, y: Tensor) -> Classes:
    """The class with the highest logit that is not the label: the easiest target, mostly."""
    return _logits(model, x).scatter(1, y.long()[:, None], -torch.inf).argmax(1)


def random_other(
    y: Classes,
    classes: int,
    generator: torch.Generator | None = None,
    index: Tensor | None = None,
) -> Classes:
    """A class other than the label, uniformly.

    Args:
        y: Labels, `(batch,)`.
        classes: How many there are.
        generator: Source of randomness; None: seed 0.
        index: Index of each example in its data set; its class depends on the generator and on
            this alone. None: 0, 1, ...

    Raises:
        ValueError: There is no other class.
    """
    if classes < 2:
        raise ValueError(f"classes is {classes}; expected 2 or more, to have another one")
    index = torch.arange(len(y), device=y.device) if index is None else index
    uniform = Draws.from_generator(generator, index).uniform(
        torch.empty(len(y), 1, dtype=torch.float64, device=y.device)
    )[:, 0]
    return (y.long() + 1 + (uniform * (classes - 1)).long()) % classes


@dataclasses.dataclass(frozen=True)
class Confusion:
    """Which classes an attack can make a model take for which.

    Attributes:
        moved: Examples of class i that were moved to class j, `(classes, classes)`.
        tried: Examples of class i that the attack was tried on, `(classes,)`.
    """

    moved: Int[Tensor, "classes classes"]
    tried: Int[Tensor, " classes"]


def confusion(
    attack: Attack,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    generator: torch.Generator | None = None,
    index: Tensor | None = None,
) -> Confusion:
    """Aims every example that is right at every other class.

    Cost: that of the attack, times the number of classes less one.

    Args:
        attack: Run with a target.
        model: Maps inputs to logits `(batch, classes)`.
        x: Clean inputs, `(batch, ...)`.
        y: Labels, `(batch,)`.
        generator: Source of randomness of the attack; None: seed 0.
        index: Index of each example in its data set; None: 0, 1, ...

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(5, 1, 2, 2), torch.tensor([0, 2, 1, 1, 0])
        >>> found = brolly.attacks.confusion(brolly.PGD(brolly.Linf(0.1)), model, x, y)
        >>> found.moved.shape
        torch.Size([3, 3])
    """
    logits = _logits(model, x)
    classes, y = logits.shape[1], y.long()
    index = torch.arange(len(x), device=x.device) if index is None else index
    right = (logits.argmax(1) == y).nonzero()[:, 0]
    moved = torch.zeros(classes, classes, dtype=torch.long, device=x.device)
    for step in range(1, classes):
        target = (y[right] + step) % classes
        result = attack(
            model, x[right], y[right], target=target, generator=generator, index=index[right]
        )
        hits = result.success
        moved.index_put_(
            (y[right][hits], target[hits]), torch.ones_like(target[hits]), accumulate=True
        )
    return Confusion(moved, torch.bincount(y[right], minlength=classes))


def _logits(model: nn.Module, x: Tensor) -> Tensor:
    with untouched(model), torch.no_grad():
        return model(x)
