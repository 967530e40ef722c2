"""What an attack climbs and what training descends: one number per example, larger is worse."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

Logits = Float[Tensor, "batch classes"]
Labels = Int[Tensor, " batch"]
PerExample = Float[Tensor, " batch"]


def cross_entropy(logits: Logits, y: Labels) -> PerExample:
    """Negative log likelihood of the label, `log sum exp z - z_y`.

    Example:
        >>> import torch
        >>> from brolly.losses import cross_entropy
        >>> cross_entropy(torch.zeros(1, 4), torch.tensor([2]))
        tensor([1.3863])
    """
    return F.cross_entropy(logits, y, reduction="none")


def margin(logits: Logits, y: Labels) -> PerExample:
    """How far the best other class is above the label, `max_{i != y} z_i - z_y`.

    Positive exactly where the prediction is wrong (Carlini & Wagner 2017, f_6).

    Example:
        >>> import torch
        >>> from brolly.losses import margin
        >>> margin(torch.tensor([[1.0, 4.0, 2.0]]), torch.tensor([1]))
        tensor([-2.])
    """
    own = logits.gather(1, y[:, None])
    return logits.scatter(1, y[:, None], -torch.inf).amax(1) - own[:, 0]


def dlr(logits: Logits, y: Labels) -> PerExample:
    """Difference of logits ratio (Croce & Hein 2020, eq. 6): the margin, free of scale and shift.

    `(max_{i != y} z_i - z_y) / (z_(1) - z_(3))` with the logits sorted downwards. Two classes have
    no third logit, and the ratio to the second would be constant, so there it is the margin.

    Example:
        >>> import torch
        >>> from brolly.losses import dlr
        >>> dlr(torch.tensor([[1.0, 4.0, 2.0]]), torch.tensor([1]))
        tensor([-0.6667])
    """
    return margin(logits, y) / _spread(logits, ranks=(3,))


def targeted_dlr(logits: Logits, y: Labels, target: Labels) -> PerExample:
    """DLR towards a class (Croce & Hein 2020, eq. 7).

    `(z_t - z_y) / (z_(1) - (z_(3) + z_(4)) / 2)`. With fewer than four classes the difference is
    not scaled: over the third logit alone, the ratio of the least likely class would be constant.
    """
    difference = logits.gather(1, target[:, None]) - logits.gather(1, y[:, None])
    return difference[:, 0] / _spread(logits, ranks=(3, 4))


def kl(logits: Logits, reference: Logits) -> PerExample:
    """Kullback-Leibler divergence KL(softmax(reference) || softmax(logits)).

    Both arguments are logits; TRADES takes the clean ones as the reference.
    """
    log_p, log_q = reference.log_softmax(1), logits.log_softmax(1)
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


def _spread(logits: Tensor, ranks: tuple[int, ...]) -> Tensor:
    """Highest logit minus the mean of those at `ranks` (from 1, downwards); 1 without them."""
    if logits.shape[1] < max(ranks):
        return torch.ones_like(logits[:, 0])
    top = logits.topk(max(ranks), dim=1).values
    lower = top[:, [rank - 1 for rank in ranks]].mean(1)
    return (top[:, 0] - lower).clamp_min(1e-12)
