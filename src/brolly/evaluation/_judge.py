"""The evaluator's own look at a model, which believes no attack."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._draws import Draws
from .._files import sha256
from ..attacks._engine import private_randomness, untouched
from ..models import check_logits
from ..threats import Threat

#: Prediction of a model whose logits are NaN: no class, so always wrong.
NO_PREDICTION = -1


class Judge:
    """Runs a model in eval mode and full precision, and decides what counts as broken.

    Args:
        model: The model; left as it is.
        samples: Forward passes whose mean is its answer; more than 1 for models that draw random
            numbers.
        seed: Of those numbers, which are the same at every look.
    """

    def __init__(self, model: nn.Module, samples: int = 1, seed: int = 0) -> None:
        self._model, self._samples, self._seed = model, samples, seed

    def logits(self, x: Tensor) -> Tensor:
        """Logits `(batch, classes)`, without autocast."""
        draws = Draws(self._seed, torch.arange(1, device=x.device))
        with (
            untouched(self._model),
            private_randomness(draws, x.device),
            torch.no_grad(),
            torch.autocast(x.device.type, enabled=False),
        ):
            passes = [self._model(x) for _ in range(self._samples)]
        for logits in passes:
            check_logits(logits, len(x))
        return passes[0] if self._samples == 1 else torch.stack(passes).mean(0)

    def predict(self, x: Tensor) -> Tensor:
        """Predicted classes, `NO_PREDICTION` where a logit is NaN."""
        return predictions(self.logits(x))

    def breaks(self, threat: Threat, x: Tensor, y: Tensor, x_adv: Tensor) -> tuple[Tensor, Tensor]:
        """Whether each of `x_adv`, put back into the threat, is taken for another class.

        Returns:
            Whether it is, `(batch,)`, and the logits, `(batch, classes)`.
        """
        projected = threat.project(x_adv, x)
        logits = self.logits(projected)
        return (predictions(logits) != y) & threat.contains(projected, x), logits

    def is_random(self, x: Tensor) -> bool:
        """Whether two looks at the same inputs give different logits."""
        with (
            untouched(self._model),
            private_randomness(Draws(self._seed, torch.arange(1)), x.device),
            torch.no_grad(),
        ):
            first, second = self._model(x), self._model(x)
        return not torch.equal(first.nan_to_num(), second.nan_to_num())


def predictions(logits: Tensor) -> Tensor:
    """Classes of the highest logits, `NO_PREDICTION` where one is NaN."""
    return logits.argmax(1).masked_fill(logits.isnan().any(1), NO_PREDICTION)


def model_sha256(model: nn.Module) -> str:
    """Hash of names and values of all parameters and buffers."""
    parts: list[bytes] = []
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        parts += [name.encode(), str(tensor.dtype).encode(), values.numpy().tobytes()]
    return sha256(*parts)
