"""Free adversarial training: the step's own backward pass makes the next perturbation."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..data import Batch, Split
from ..losses import cross_entropy
from ..threats import Threat
from ._objective import Loss, LossOf, Objective, forward


@dataclasses.dataclass(frozen=True)
class FreeTraining(Objective):
    r"""Free adversarial training, Free-AT(m) (Shafahi et al. 2019).

    .. math:: x' = P(x + \delta), \qquad
              \delta \leftarrow P(x' + \alpha \, \mathrm{ascend}(\nabla_{x'} L)) - x

    minimising `mean CE(f(x'), y)`. The backward pass of the training step reaches the inputs as
    well as the weights, so the perturbation moves with every step at no cost; `fit` takes m steps
    on each batch before the next one comes, and delta, zero in the beginning, goes on from batch
    to batch. A network that has seen an example m times in a row needs fewer passes over the data:
    train for `epochs / m` epochs, as the paper does.

    The authors cut delta to the ball alone, and what the network sees to the bounds; here both are
    projected on the threat around the batch at hand, which works for any threat.

    Cost of a step: one forward and one backward pass.

    Args:
        adversary: The threat to train against.
        replays: Steps m on each batch; 8 in the paper for CIFAR-10, 4 for ImageNet.
        step: Length alpha of the step as a multiple of eps; 1 in the paper.

    Raises:
        ValueError: `replays` is below 1, the step is not above 0, or the objective is used without
            a memory (`fit` begins one).

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> objective = brolly.FreeTraining(brolly.Linf(0.1), replays=4)
        >>> len(brolly.fit(model, data, objective=objective, epochs=2).epochs)
        2
    """

    adversary: Threat
    _: dataclasses.KW_ONLY
    replays: int = 8  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    step: float = 1.0
    _carried: _Carried | None = dataclasses.field(
        default=None, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.replays < 1 or not self.step > 0:
            raise ValueError(
                f"replays is {self.replays}, step is {self.step}; expected 1 or more steps on each "
                "batch, each of more than 0 times eps"
            )

    @property
    def threat(self) -> Threat:
        return self.adversary

    def begin(self, split: Split, device: torch.device | str) -> FreeTraining:
        begun = copy.copy(self)
        carried = _Carried(self.adversary, self.step * self.adversary.eps)
        object.__setattr__(begun, "_carried", carried)
        return begun

    def state(self) -> dict[str, Tensor]:
        return {} if self._carried is None else self._carried.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        if self._carried is not None and state:
            self._carried.load_state(state)

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        if self._carried is None:
            raise ValueError(
                "FreeTraining carries a perturbation from step to step and has none yet; train "
                "with fit, or call objective = objective.begin(split, device) before the first step"
            )
        x_adv = self._carried.perturb(batch.x)
        return lambda model: Loss(cross_entropy(forward(model, x_adv), batch.y).mean(), {})


class _Carried:
    """The perturbation that goes from step to step, and the inputs of the last step."""

    def __init__(self, threat: Threat, step: float) -> None:
        self._threat, self._step = threat, step
        self._delta: Tensor | None = None
        self._last: tuple[Tensor, Tensor] | None = None

    def perturb(self, x: Tensor) -> Tensor:
        """Inputs near `x`, at which the step's backward pass will leave a gradient."""
        self._ascend()
        delta = torch.zeros_like(x)
        if self._delta is not None:
            rows = min(len(x), len(self._delta))
            delta[:rows] = self._delta[:rows]
        x_adv = self._threat.project(x + delta, x).requires_grad_()
        self._last = x_adv, x
        return x_adv

    def _ascend(self) -> None:
        """Moves the perturbation along the gradient of the last step, once."""
        if self._last is None:
            return
        x_adv, x = self._last
        if (gradient := x_adv.grad) is None:
            return
        direction = self._threat.ascend(gradient.nan_to_num(nan=0.0))
        self._delta = self._threat.project(x_adv.detach() + self._step * direction, x) - x
        self._last = None

    def state(self) -> dict[str, Tensor]:
        self._ascend()
        return {} if self._delta is None else {"delta": self._delta}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._delta, self._last = state["delta"], None
