"""Single-step adversarial training that remembers each example's perturbation."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .._ranges import check_range
from ..data import Batch, Split
from ..threats import Threat
from ..threats._threat import per_example
from ._objective import Crafting, LossOf, Objective, crafting
from ._single_step import smoothed_loss, start_gradient


@dataclasses.dataclass(frozen=True)
class ATTA(Objective):
    r"""Adversarial training with transferable examples (Zheng et al. 2020), one step an epoch.

    .. math:: x' = P(x + \delta_i + \alpha \, \mathrm{ascend}(\nabla L(x + \delta_i))),
              \quad \delta_i \leftarrow x' - x

    minimising `mean CE(f(x'), y)`. Each example's search goes on where it stopped an epoch ago, so
    single steps add up to the attack of many steps for the price of one. In the first epoch, and
    where no memory was begun (`fit` begins one), the search starts at a random point.

    Cost of a step: two forward passes, a backward pass to the input and one to the weights, and
    two bytes of memory for each value of the training inputs. Inputs may not be augmented: the
    memory belongs to pixels.

    Args:
        adversary: The threat to train against.
        step: Length alpha of the step as a multiple of eps; 0.5 in the paper for CIFAR-10.
        label_smoothing: Mass taken from the label and spread over all classes; 0 in the paper.
        mode: State of BatchNorm and dropout while crafting.

    Raises:
        ValueError: step is not above 0, or label_smoothing not in [0, 1].

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> history = brolly.fit(model, data, objective=brolly.ATTA(brolly.Linf(0.1)), epochs=2)
        >>> len(history.epochs)
        2
    """

    adversary: Threat
    _: dataclasses.KW_ONLY
    step: float = 0.75
    label_smoothing: float = 0.0
    mode: Crafting = "eval"
    _memory: _Memory | None = dataclasses.field(default=None, init=False, repr=False, compare=False)

    remembers = True

    def __post_init__(self) -> None:
        check_range("(0, inf)", step=self.step)
        check_range("[0, 1]", label_smoothing=self.label_smoothing)

    @property
    def threat(self) -> Threat:
        return self.adversary

    @property
    def needs_index(self) -> bool:
        return True

    def begin(self, split: Split, device: torch.device | str) -> ATTA:
        begun = copy.copy(self)
        object.__setattr__(begun, "_memory", _Memory(split, device))
        return begun

    def state(self) -> dict[str, Tensor]:
        return {} if self._memory is None else self._memory.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        if self._memory is not None and state:
            self._memory.load_state(state)

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        threat, memory = self.adversary, self._memory
        with crafting(model, batch, generator, self.mode) as draws:
            start = threat.sample(batch.x, draws)
            if memory is not None:
                start = threat.project(memory.recall(batch, start), batch.x)
            direction = threat.ascend(start_gradient(model, start, batch.y))
        x_adv = threat.project(start + self.step * threat.eps * direction, batch.x)
        if memory is not None:
            memory.keep(batch, x_adv)
        return lambda model: smoothed_loss(model, x_adv, batch.y, self.label_smoothing)


class _Memory:
    """The last perturbation of each example of a split, in half precision."""

    def __init__(self, split: Split, device: torch.device | str) -> None:
        shape = (len(split), *split.shape)
        self._delta = torch.zeros(shape, dtype=torch.float16, device=device)
        self._seen = torch.zeros(len(split), dtype=torch.bool, device=device)

    def recall(self, batch: Batch, first: Tensor) -> Tensor:
        """Where the search for each example stopped, or `first` for those met first."""
        again = batch.x + self._delta[batch.index].to(batch.x.dtype)
        return torch.where(per_example(self._seen[batch.index], first), again, first)

    def keep(self, batch: Batch, x_adv: Tensor) -> None:
        self._delta[batch.index] = (x_adv - batch.x).to(self._delta.dtype)
        self._seen[batch.index] = True

    def state(self) -> dict[str, Tensor]:
        return {"delta": self._delta, "seen": self._seen}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._delta.copy_(state["delta"])
        self._seen.copy_(state["seen"])
