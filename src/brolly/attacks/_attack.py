"""The contract of every attack."""

from __future__ import annotations

import abc
import dataclasses

import torch
from torch import Tensor, nn

from .._draws import Draws
from ..threats import Threat
from ._engine import (
    AttackResult,
    Cost,
    Search,
    Stopwatch,
    check_batch,
    check_integers,
    private_randomness,
    untouched,
)


@dataclasses.dataclass(frozen=True)
class Attack(abc.ABC):
    """A search for the worst case inside a threat.

    Subclasses are frozen dataclasses that say how to search; calling one does the rest: it checks
    the input, searches in eval mode, and leaves the model (modes, buffers, gradients) and the
    global random state as it found them.

    Args:
        threat: The perturbations that are allowed.
    """

    threat: Threat

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """What tables call it."""

    @torch.inference_mode(False)
    def __call__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        *,
        target: Tensor | None = None,
        generator: torch.Generator | None = None,
        index: Tensor | None = None,
    ) -> AttackResult:
        """Attacks a batch.

        Args:
            model: Maps inputs to logits `(batch, classes)`.
            x: Clean inputs inside the bounds of the threat, float32 or float64, `(batch, ...)`.
            y: Labels, `(batch,)`.
            target: Class each example is to be taken for, `(batch,)`; None: any wrong class.
            generator: Source of randomness; None: seed 0.
            index: Index of each example in its data set, `(batch,)`; None: 0, 1, ... Its
                randomness depends on the generator and on this alone, so a data set may be cut
                into batches anyhow.

        Raises:
            ValueError: Inputs, labels or logits do not fit the threat or each other.
        """
        x = x.detach().clone() if x.is_inference() else x.detach()
        if index is None:
            index = torch.arange(len(x), device=x.device)
        check_batch(model, self.threat, x)
        check_integers(y, x, "labels")
        check_integers(index, x, "indices")
        if target is not None:
            check_integers(target, x, "targets")
            target = target.long()
        draws = Draws.from_generator(generator, index.to(x.device))
        if len(x) == 0:
            none = torch.zeros(0, device=x.device)
            return AttackResult(x, none.bool(), none, Cost())
        watch = Stopwatch(x.device)
        with untouched(model), private_randomness(draws, x.device):
            search = Search(model, self.threat, x, y.long(), target, draws)
            if not search.fooled.all():
                self.search(search)
        return AttackResult(
            x=search.worst,
            success=search.fooled,
            distance=self.threat.distance(search.worst, x),
            cost=Cost(search.forwards, search.backwards, watch.seconds()),
        )

    @abc.abstractmethod
    def search(self, search: Search) -> None:
        """Tries inputs on `search`, which keeps the worst."""
