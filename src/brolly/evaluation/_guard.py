"""A model whose failures are answers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..models import QueryBudgetExhausted, check_logits


class Guarded(nn.Module):
    """The model, but where it raises on an input its logits are NaN, which count as wrong.

    Only once it has answered some input: a model that raises on all of them is no model to
    evaluate, and its error is the caller's.

    Args:
        model: The model.

    Attributes:
        messages: What it raised, each once, in order.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.messages: list[str] = []
        self.classes: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        try:
            logits = self.model(x)
        except (torch.OutOfMemoryError, QueryBudgetExhausted):
            raise
        except Exception as error:  # whatever the user's module may raise
            return self._one_by_one(x, error)
        check_logits(logits, len(x))
        self.classes = logits.shape[1]
        return logits

    def _one_by_one(self, x: Tensor, error: Exception) -> Tensor:
        answers: list[Tensor | None] = [None] * len(x)
        if len(x) > 1:
            for row in range(len(x)):
                try:
                    answers[row] = self.model(x[row : row + 1])
                except Exception as at_row:
                    error = at_row
        given = [logits for logits in answers if logits is not None]
        for logits in given:
            check_logits(logits, 1)
            self.classes = logits.shape[1]
        if self.classes is None:
            raise error
        if len(given) < len(x):
            message = f"{type(error).__name__}: {error}"
            if message not in self.messages:
                self.messages.append(message)
        return torch.cat(
            [
                # Of its own row alone: 0 * NaN would make the gradients of all rows NaN.
                (x[row : row + 1].flatten(1).sum(1, keepdim=True) * torch.nan).expand(
                    -1, self.classes
                )
                if logits is None
                else logits
                for row, logits in enumerate(answers)
            ]
        )
