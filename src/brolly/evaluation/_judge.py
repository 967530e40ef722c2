"""The evaluator's own look at a model, which believes no attack."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._files import sha256
from ..attacks._engine import untouched
from ..models import check_logits
from ..threats import Threat

#: Prediction of a model whose logits are NaN: no class, so always wrong.
NO_PREDICTION = -1


class Judge:
    """Runs a model in eval mode and full precision, and decides what counts as broken."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def logits(self, x: Tensor) -> Tensor:
        """Logits `(batch, classes)`, without autocast."""
        with untouched(self._model), torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            logits = self._model(x)
        check_logits(logits, len(x))
        return logits

    def predict(self, x: Tensor) -> Tensor:
        """Predicted classes, `NO_PREDICTION` where a logit is NaN."""
        logits = self.logits(x)
        return logits.argmax(1).masked_fill(logits.isnan().any(1), NO_PREDICTION)

    def breaks(self, threat: Threat, x: Tensor, y: Tensor, x_adv: Tensor) -> tuple[Tensor, Tensor]:
        """Whether each of `x_adv`, put back into the threat, is taken for another class.

        Returns:
            Whether it is, `(batch,)`, and the predictions, `(batch,)`.
        """
        projected = threat.project(x_adv, x)
        prediction = self.predict(projected)
        return (prediction != y) & threat.contains(projected, x), prediction


def model_sha256(model: nn.Module) -> str:
    """Hash of names and values of all parameters and buffers."""
    parts: list[bytes] = []
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        parts += [name.encode(), str(tensor.dtype).encode(), values.numpy().tobytes()]
    return sha256(*parts)
