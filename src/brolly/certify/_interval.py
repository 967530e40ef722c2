"""Interval bounds: what every value of the network can be while the input moves."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..attacks._engine import check_batch, check_labels, untouched
from ..threats import Threat
from . import _rules as _rules  # fills the table of rules
from ._arithmetic import TINY, Arithmetic
from ._certificate import Certificate
from ._enclose import enclose
from ._tensor import Interval, propagate

#: How far below 0, in parts of the logits, a bound without the account of rounding may be for a
#: proof to be tried.
_ROUGH = 1e-2
#: Numbers held at a time when directions are searched one by one.
_AT_ONCE = 2**22


@dataclasses.dataclass(frozen=True)
class IntervalBounds(Certificate):
    """Interval bound propagation (Gowal et al. 2018).

    Every value of the network is enclosed by a lower and an upper bound, layer by layer, from the
    box that holds the threat to the differences of the logits. One pass costs two to three forward
    passes, and where it may become a proof, as many again in float64. It proves much of networks
    that were trained for it (`bounds`), and little of others at large eps: bounds widen with every
    layer.

    The box of `Linf` is exact. `L2`, `L1` and `L0` are met by a first linear layer or convolution
    in their own norm, and by the box around them where something else comes first. The last linear
    layer is bounded for the differences of logits, not for each. So for a model that is affine,
    `SoftmaxRegression` for one, the proof is exact in each of these norms.

    It is sound for the model as it runs, not only for real numbers: bounds are computed in float64
    and enclose whatever rounding the model's own float32 may add, in any order of summation, TF32
    included where it is switched on. Convolutions by transforms (Winograd, FFT) are not covered.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Linear(2, 2)
        >>> with torch.no_grad():
        ...     _ = model.weight.copy_(torch.eye(2)), model.bias.zero_()
        >>> x, y = torch.tensor([[0.6, 0.3], [0.6, 0.5]]), torch.tensor([0, 0])
        >>> brolly.IntervalBounds().proves(model, x, y, brolly.Linf(0.1))
        tensor([ True, False])
    """

    @property
    def name(self) -> str:
        return "interval-bounds"

    def decide(
        self, model: nn.Module, x: Tensor, y: Tensor, threat: Threat
    ) -> Bool[Tensor, " batch"]:
        exact = Arithmetic.enclosing(model, x)
        # Most proofs of most networks are far from succeeding, which a pass without the account of
        # rounding, in the dtype of x, sees as well.
        rough = propagate(model, enclose(threat, x, Arithmetic(x.dtype)))
        check_labels(y, rough.lower.shape[1], "label")
        size = torch.maximum(rough.lower.abs(), rough.upper.abs()).amax(1, keepdim=True)
        proved = (_lead(rough, y) > -_ROUGH * size).all(1)
        rows = proved.nonzero()[:, 0]
        if len(rows):
            near, y = x[rows], y[rows]
            logits = propagate(model, enclose(threat, near, exact))
            proved[rows] = (_lead(logits, y) > 0).all(1)
        return proved


def bounds(
    model: nn.Module, x: Float[Tensor, "batch *shape"], threat: Threat
) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch classes"]]:
    """Lower and upper bounds of the logits for all inputs inside the threat.

    Differentiable in the parameters, and so the heart of certified training: the worst logits take
    the lower bound of the label and the upper bounds of the other classes, and their cross-entropy
    is mixed with the clean one. eps grows from 0 over the first epochs, and the part of the clean
    loss falls from 1 to a half; without that nothing is learned (Gowal et al. 2018). Few layers,
    no dropout and no BatchNorm do best. The model is in eval mode meanwhile.

    They are computed in the dtype of `x` and ignore rounding, so they are no proof;
    `IntervalBounds` gives those.

    Args:
        model: Maps inputs to logits `(batch, classes)`; left as it is.
        x: Clean inputs inside the bounds of the threat, float32 or float64, `(batch, ...)`.
        threat: What the adversary may do.

    Returns:
        Lower and upper bounds, `(batch, classes)` each.

    Raises:
        Unsupported: The model or the threat is beyond interval bounds.
        ValueError: Inputs do not fit the threat.

    Example:
        >>> import torch, brolly
        >>> from brolly.certify import bounds
        >>> model, threat = brolly.models.MLP(4, 3), brolly.Linf(0.1)
        >>> x, y = torch.rand(8, 4), torch.randint(3, (8,))
        >>> lower, upper = bounds(model, x, threat)
        >>> label = torch.nn.functional.one_hot(y, 3).bool()
        >>> loss = torch.nn.functional.cross_entropy
        >>> total = 0.5 * loss(model(x), y) + 0.5 * loss(torch.where(label, lower, upper), y)
        >>> total.backward()
    """
    check_batch(model, threat, x)
    with untouched(model):
        logits = propagate(model, enclose(threat, x, Arithmetic(x.dtype)))
    return logits.lower, logits.upper


def _lead(logits: Interval, y: Tensor) -> Float[Tensor, "batch classes"]:
    """Lower bounds of how far the label is ahead of each class; infinite for itself."""
    lead = logits.lower.gather(1, y[:, None]) - logits.upper
    for label in y.unique().tolist() if logits.origin else []:
        rows = (y == label).nonzero()[:, 0]
        lead[rows] = torch.maximum(lead[rows], _lead_before(logits, label, rows))
    return lead.scatter(1, y[:, None], torch.inf)


def _lead_before(logits: Interval, label: int, rows: Tensor) -> Tensor:
    """As `_lead`, from the input of the last linear layer, which all logits share."""
    layer, arithmetic = logits.origin, logits.arithmetic
    assert layer is not None
    ahead = layer.weight[label] - layer.weight
    offset = 0 if layer.bias is None else layer.bias[label] - layer.bias
    lower, upper = layer.lower[rows], layer.upper[rows]
    rounding = arithmetic.product(layer.weight.shape[1]) * torch.maximum(lower.abs(), upper.abs())
    error = rounding @ layer.weight.abs().T + TINY
    if layer.bias is not None:
        error = error + arithmetic.product(layer.weight.shape[1]) * layer.bias.abs()
    error = error + error[:, label : label + 1]
    box = (lower + upper) / 2 @ ahead.T - (upper - lower) / 2 @ ahead.abs().T
    lead = box + offset - error
    if layer.ball is None:
        return lead
    ball = layer.ball.rows(rows)
    start = ball.center @ ahead.T + offset - error
    most = [part.support(-ahead) for part in ball.split(_AT_ONCE // ahead.numel() + 1)]
    return torch.maximum(lead, start - torch.cat(most))
