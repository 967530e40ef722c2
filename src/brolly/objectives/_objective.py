"""The contract of every objective, and how training examples are crafted."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from .._draws import Draws
from .._untouched import Mode, private_randomness, untouched
from ..data import Batch, Split
from ..models._outputs import forward as forward
from ..threats import Threat

#: State of BatchNorm and dropout while adversarial examples are made. `eval`: running
#: statistics, no dropout. `train`: as in the training step itself.
Crafting = Literal["eval", "train"]


class Loss(NamedTuple):
    """A scalar to descend, and its parts to watch (scalars)."""

    value: Tensor
    logs: Mapping[str, Tensor]


#: The loss of one batch, as a function of the model: its inputs and everything random are fixed.
LossOf = Callable[[nn.Module], Loss]


@dataclasses.dataclass(frozen=True)
class Objective(abc.ABC):
    """What training minimises.

    Called with the model in training mode, a batch and a generator, it returns the loss, whose
    graph reaches the parameters. The model is left in the modes it came in.

    The search for adversarial inputs (`craft`) comes before the loss at them, so that the same
    loss can be looked at with other weights (`brolly.weights`).

    An objective that remembers something of each example from epoch to epoch says so in
    `remembers`, and keeps it in the copy that `begin` returns.
    """

    remembers: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def threat(self) -> Threat | None:
        """The threat that is trained against, if any."""

    @property
    def needs_index(self) -> bool:
        """Whether it tells the examples of the training split apart, by `batch.index`."""
        return False

    @property
    def replays(self) -> int:
        """Steps taken on each batch before the next one comes."""
        return 1

    @abc.abstractmethod
    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        """Makes the inputs that the loss of a batch is computed at; returns that loss."""

    def __call__(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> Loss:
        """Loss of a batch."""
        return self.craft(model, batch, generator)(model)

    def reasons_against(self, model: nn.Module) -> list[str]:
        """Why it cannot train `model`, one sentence each; empty where it can."""
        return []

    def begin(self, split: Split, device: torch.device | str) -> Objective:
        """The objective of one training run on `split`, with a memory of its own."""
        return self

    def at(self, epoch: int, epochs: int) -> Objective:
        """The objective in an epoch, from 1, of a training of so many; some change on the way."""
        return self

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs of the memory."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Takes up what `state` returned."""


@contextlib.contextmanager
def crafting(
    model: nn.Module, batch: Batch, generator: torch.Generator, mode: Crafting
) -> Iterator[Draws]:
    """Room to make adversarial examples in: yields the randomness of the batch's examples.

    Modes and running statistics of the model are the same afterwards, in both modes, so that
    only the training step itself updates BatchNorm.
    """
    draws = Draws.from_generator(generator, batch.index)
    kept: Mode = "eval" if mode == "eval" else "keep"
    with untouched(model, kept), private_randomness(draws, batch.x.device):
        yield draws
