"""The contract of every attack."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from .._draws import Draws
from ..models import QueryBudgetExhausted
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

    Raises:
        ValueError: The attack does not search this kind of threat, or needs a finite eps.
    """

    threat: Threat

    #: Kinds of threats it searches.
    kinds: ClassVar[tuple[str, ...]] = ("linf", "l2")
    #: Whether it can look for the nearest adversarial input, however far that is.
    unlimited: ClassVar[bool] = False

    def __post_init__(self) -> None:
        name, threat = type(self).__name__, self.threat
        if threat.kind not in self.kinds:
            raise ValueError(
                f"{name} does not search {threat}, but {' and '.join(self.kinds)}. "
                f"For {threat.kind} use {', '.join(_attacks_of(threat.kind))}"
            )
        if math.isinf(threat.eps) and not self.unlimited:
            raise ValueError(
                f"{name} needs a finite eps, and {threat} has none. Attacks that look for the "
                f"nearest adversarial input: {', '.join(_attacks_of(threat.kind, unlimited=True))}"
            )

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """What tables call it."""

    @property
    def passes(self) -> int:
        """Forward passes it takes the mean of, for models that draw random numbers."""
        return 1

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
            try:
                search = self.begin(model, x, y.long(), target, draws)
            except QueryBudgetExhausted as error:
                raise ValueError(
                    f"the budget does not suffice for the clean inputs: {error}. Raise it, or "
                    "attack fewer examples"
                ) from error
            with contextlib.suppress(QueryBudgetExhausted):
                if not search.fooled.all():
                    self.search(search)
        return AttackResult(
            x=search.worst,
            success=search.success,
            distance=self.threat.distance(search.worst, x),
            cost=Cost(search.forwards, search.backwards, watch.seconds()),
            queries=search.queries,
        )

    def begin(
        self, model: nn.Module, x: Tensor, y: Tensor, target: Tensor | None, draws: Draws
    ) -> Search:
        """The state that `search` works on."""
        return Search(model, self.threat, x, y, target, draws)

    @abc.abstractmethod
    def search(self, search: Search) -> None:
        """Tries inputs on `search`, which keeps the worst."""


@dataclasses.dataclass(frozen=True)
class MinimalAttack(Attack):
    """A search for the nearest adversarial input.

    The threat says what near means and how far to look: with `eps` infinite, such as
    `L2(float("inf"))`, as far as the bounds reach. `result.distance` is then the distance of each
    example, and `result.curve([...])` the robust accuracy at any radius.

    Args:
        threat: Norm, farthest distance that counts, and bounds.
        nearest: Whether to go on from the first adversarial input inside the threat to the nearest.
            Without, an example is done with the first, as in attacks along the gradient.
    """

    _: dataclasses.KW_ONLY
    nearest: bool = True

    unlimited = True

    def begin(
        self, model: nn.Module, x: Tensor, y: Tensor, target: Tensor | None, draws: Draws
    ) -> Search:
        return Search(model, self.threat, x, y, target, draws, roams=True, nearest=self.nearest)


def check_counts(**counts: int) -> None:
    """Raises ValueError where one is below 1."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} is {count}; expected 1 or more")


def _attacks_of(kind: str, unlimited: bool = False) -> list[str]:
    from ._catalogue import CATALOGUE

    classes = dict.fromkeys(entry.attack for entry in CATALOGUE.values())
    return [
        attack.__name__
        for attack in classes
        if kind in attack.kinds and (attack.unlimited or not unlimited)
    ]
