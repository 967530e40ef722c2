"""What a model may return."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def check_logits(logits: object, batch: int) -> None:
    """Raises ValueError where a model's output is not `(batch, classes)` logits."""
    if not isinstance(logits, Tensor):
        raise ValueError(
            f"the model returned a {type(logits).__name__}; expected one tensor of logits. "
            "Wrap the model in a module that returns only its logits"
        )
    if logits.ndim != 2 or logits.shape[0] != batch or logits.shape[1] < 2:
        raise ValueError(
            f"the model returned shape {tuple(logits.shape)} for a batch of {batch}; expected "
            f"logits of shape ({batch}, classes) with at least 2 classes"
        )


def are_probabilities(logits: Tensor) -> bool:
    """Whether every row looks like the output of a softmax: in [0, 1] with sum 1."""
    sums = logits.float().sum(1)
    return bool(
        len(logits) > 0
        and (logits >= 0).all()
        and torch.allclose(sums, torch.ones_like(sums), atol=1e-3)
    )


#: What to tell the owner of a model that returns probabilities.
PROBABILITIES = (
    "the model seems to return probabilities, not logits: cross-entropy applies a softmax of its "
    "own, so its gradients vanish and attacks look weaker than they are. Return the values before "
    "the softmax"
)


def forward(model: nn.Module, x: Tensor) -> Tensor:
    """Logits in float32 or wider, also under autocast."""
    logits = model(x)
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
