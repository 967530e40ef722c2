"""Virtual adversarial training."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from .._untouched import input_gradient
from ..data import Batch, Split
from ..losses import cross_entropy, kl
from ..threats import Threat
from ..threats._threat import norm, per_example
from ._few_labels import check_labelled, is_labelled
from ._inner import check_ranges
from ._objective import Crafting, Loss, LossOf, Objective, crafting, forward


@dataclasses.dataclass(frozen=True)
class VAT(Objective):
    r"""Virtual adversarial training (Miyato et al. 2018), with all labels or few.

    .. math:: \mathrm{mean}_{i \, \text{labelled}} \; CE(f(x_i), y_i)
              + \alpha \, \mathrm{mean}_i \; KL(f(x_i) \,\|\, f(x_i')), \quad
              x' = P(x + \varepsilon \, \mathrm{ascend}(g))

    The divergence needs no label, so every example counts in it; f(x) is held fixed there. Next to
    x it is a quadratic form, whose steepest direction power iteration finds: beginning with a
    random unit vector u, the gradient g of the divergence at `x + xi u`, normalised, is the
    next u. The ball is the Euclidean one in the paper; here it is any threat's, and x' stays in
    the bounds. BatchNorm sees clean and moved inputs; in the authors' code, labelled clean ones.

    Cost of a step, with k iterations: k + 3 forward passes, k backward passes to the input, two to
    the weights.

    Args:
        adversary: The threat to be smooth in; `L2(eps)` in the paper.
        weight: Alpha; 1 in the paper, where eps is what is tuned.
        iterations: Of the power method; 1 in the paper.
        xi: Length of the probing vector in input units. The authors' code has 1e-6, where float32
            rounds most of the direction away: for a small network on digits its cosine with the
            one in float64 is 0.33; with 0.1 it is 0.99.
        labelled: How many examples have a label that counts, the first of the training split;
            None: all. Labels of the others are never read.
        mode: State of BatchNorm and dropout while crafting; the authors' code uses `train`.

    Raises:
        ValueError: A number is out of range.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> objective = brolly.VAT(brolly.L2(0.5), labelled=100)
        >>> history = brolly.fit(model, data, objective=objective, epochs=1)
        >>> sorted(history.epochs[0].logs)
        ['divergence', 'natural']
    """

    adversary: Threat
    _: dataclasses.KW_ONLY
    weight: float = 1.0
    iterations: int = 1
    xi: float = 0.1
    labelled: int | None = None
    mode: Crafting = "eval"

    def __post_init__(self) -> None:
        check_ranges(weight=self.weight)
        if self.iterations < 1 or not self.xi > 0:
            raise ValueError(
                f"iterations is {self.iterations}, xi is {self.xi}; expected 1 or more iterations "
                "and a length above 0"
            )

    @classmethod
    def as_published(cls, adversary: Threat, *, labelled: int | None = None) -> VAT:
        """The choices of the code of Miyato et al. (2018), with a `xi` that float32 is coarse for.

        That code adds the entropy of the outputs in some runs, and clips nothing to bounds.
        """
        return cls(adversary, xi=1e-6, labelled=labelled, mode="train")

    @property
    def threat(self) -> Threat:
        return self.adversary

    @property
    def needs_index(self) -> bool:
        return self.labelled is not None

    def begin(self, split: Split, device: torch.device | str) -> VAT:
        check_labelled(self.labelled, split)
        return self

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        threat, x = self.adversary, batch.x
        with crafting(model, batch, generator, self.mode) as draws:
            with torch.no_grad():
                reference = forward(model, x)
            direction = draws.normal(x)
            for _ in range(self.iterations):
                leaf = (x + self.xi * _unit(threat, direction)).requires_grad_()
                direction = input_gradient(kl(forward(model, leaf), reference), leaf)
        x_adv = threat.project(x + threat.eps * threat.ascend(direction), x)
        rows = is_labelled(batch, self.labelled)

        def loss(model: nn.Module) -> Loss:
            logits = forward(model, x)
            natural = cross_entropy(logits[rows], batch.y[rows]).sum() / rows.sum().clamp_min(1)
            divergence = kl(forward(model, x_adv), logits.detach()).mean()
            return Loss(
                natural + self.weight * divergence,
                {"natural": natural.detach(), "divergence": divergence.detach()},
            )

        return loss


def _unit(threat: Threat, direction: Tensor) -> Tensor:
    """Direction of Euclidean length 1 in the values that the threat may change, or 0."""
    if threat.mask is not None:
        direction = direction * threat.mask.to(direction.device)
    tiny = torch.finfo(direction.dtype).tiny
    direction = direction / per_example(norm(direction, float("inf")).clamp_min(tiny), direction)
    return direction / per_example(norm(direction, 2).clamp_min(tiny), direction)
