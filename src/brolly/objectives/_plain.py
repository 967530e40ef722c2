"""Plain training."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from .._ranges import check_range
from ..data import Batch
from ..threats import Threat
from ._objective import Loss, LossOf, Objective, forward


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plain(Objective):
    r"""Mean cross-entropy on clean inputs, with soft labels or a confidence penalty if wanted.

    .. math:: \mathrm{mean}_i \; CE(f(x_i), (1 - s) \, e_{y_i} + s / K) - c \, H(p(x_i))

    with p the softmax of f, H its entropy in nats and K the number of classes. Label smoothing s
    (Szegedy et al. 2016) and the confidence penalty c (Pereyra et al. 2017) both keep the network
    from being certain; by itself neither makes it robust, and small gradients that come of it can
    fool attacks on the cross-entropy.

    Cost of a step: one forward and one backward pass.

    Args:
        label_smoothing: Mass s taken from the label and spread over all classes; 0.1 in Szegedy
            et al.
        confidence: Weight c of the negative entropy, which Pereyra et al. tune for each data set.

    Raises:
        ValueError: label_smoothing is not in [0, 1], or confidence is below 0.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> objective = brolly.Plain(label_smoothing=0.1, confidence=0.1)
        >>> history = brolly.fit(model, data, objective=objective, epochs=1)
        >>> list(history.epochs[0].logs)
        ['entropy']
    """

    label_smoothing: float = 0.0
    confidence: float = 0.0

    def __post_init__(self) -> None:
        check_range("[0, 1]", label_smoothing=self.label_smoothing)
        check_range("[0, inf)", confidence=self.confidence)

    @property
    def threat(self) -> Threat | None:
        return None

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        def loss(model: nn.Module) -> Loss:
            logits = forward(model, batch.x)
            value = nn.functional.cross_entropy(
                logits, batch.y, label_smoothing=self.label_smoothing
            )
            if not self.confidence:
                return Loss(value, {})
            entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()
            return Loss(value - self.confidence * entropy, {"entropy": entropy.detach()})

        return loss
