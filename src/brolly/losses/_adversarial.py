"""The loss at the worst inputs of a threat, in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from .._draws import Draws
from .._untouched import private_randomness, untouched
from ..models._outputs import forward
from ..threats import Threat
from ..threats._climb import climb
from ._losses import cross_entropy, dlr, margin

_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ce": cross_entropy,
    "margin": margin,
    "dlr": dlr,
}


def adversarial_loss(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    *,
    steps: int = 10,
    loss: Literal["ce", "margin", "dlr"] = "ce",
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Loss at the worst inputs that projected gradient descent finds (Madry et al. 2018).

    .. math:: \mathrm{mean}_i \, L(f(x_i'), y_i), \quad
              x_i' \approx \arg\max_{x' \in T(x_i)} L(f(x'), y_i)

    The search begins at a random point of the threat, takes steps of `2.5 eps / steps` (at most
    eps) with the model in eval mode, and its last point is what counts. The loss there is computed
    with every submodule in the mode it is in, and its graph reaches the parameters: call it in a
    training step in the place of `torch.nn.functional.cross_entropy`. The search leaves modes,
    buffers, `.grad` and the global random state as it found them; BatchNorm in training mode sees
    the worst inputs alone.

    Cost: steps + 1 forward passes, `steps` backward passes to the input.

    Args:
        model: Maps inputs to logits `(batch, classes)`.
        x: Clean inputs inside the threat's bounds, `(batch, ...)`.
        y: Labels, `(batch,)`.
        threat: The perturbations that are allowed, such as `Linf(8 / 255)`.
        steps: Of the search.
        loss: What is climbed and returned: cross-entropy, margin or DLR.
        generator: Of the start; None: the same start for a batch of the same shape every time.

    Returns:
        The mean over the batch, a scalar.

    Raises:
        ValueError: `steps` is below 1, there is no such loss or no threat, or the inputs do not
            fit the threat, or the labels the inputs.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> loss = brolly.losses.adversarial_loss(model, x, y, brolly.Linf(8 / 255))
        >>> loss.backward()
        >>> bool(loss > torch.nn.functional.cross_entropy(model(x), y))
        True
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; expected 1 or more")
    if loss not in _LOSSES:
        raise ValueError(f"loss is {loss!r}; expected one of {', '.join(map(repr, _LOSSES))}")
    if not isinstance(threat, Threat):
        raise ValueError(
            f"threat is {threat!r:.60}, of type {type(threat).__name__}; expected a threat such as "
            "Linf(8 / 255)"
        )
    threat.check_inputs(x)
    if y.shape != x.shape[:1] or y.is_floating_point():
        raise ValueError(
            f"labels are {y.dtype} of shape {tuple(y.shape)} for inputs of shape {tuple(x.shape)}; "
            f"expected one integer per example, ({len(x)},)"
        )
    of_logits = _LOSSES[loss]
    draws = Draws.from_generator(generator, torch.arange(len(x), device=x.device))
    with untouched(model), private_randomness(draws, x.device):
        x_adv = climb(
            threat,
            lambda x: of_logits(forward(model, x), y),
            x,
            threat.sample(x, draws),
            steps=steps,
            step=min(2.5 / steps, 1) * threat.eps,
        )
    return of_logits(forward(model, x_adv), y).mean()
