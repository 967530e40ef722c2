"""Adversarial weight perturbation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from torch import Tensor

from .._ranges import check_range
from ._search import WeightSearch


@dataclasses.dataclass(frozen=True, kw_only=True)
class AWP(WeightSearch):
    r"""Adversarial weight perturbation (Wu, Xia & Wang 2020).

    .. math:: \min_w L(w + v), \quad v_l = \gamma \|w_l\| \, g_l / \|g_l\|,
              \quad g = \nabla_w L(w)

    for the weights of each linear and convolutional layer l (two axes or more), with L at inputs
    crafted against w. It flattens the loss around the weights, which narrows the gap between the
    robust accuracy on training and on test data.

    The authors' optimiser also decays `w + v`; here decay acts on w, which differs by
    `lr * weight_decay * v` a step.

    Cost: the loss of a step once more, forward and backward to the weights, but not what is done
    before it to craft inputs: one pass of either kind for PGD training, two for TRADES.

    Args:
        gamma: Length of v_l as a part of that of w_l; 0.01 in the paper for PGD training, 0.005
            for TRADES.
        warmup: Training before it begins; none in the paper for PGD training, 10 epochs for TRADES.

    Raises:
        ValueError: gamma is not above 0.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> objective = brolly.NFGSM(brolly.Linf(0.1))
        >>> history = brolly.fit(model, data, objective=objective, weights=brolly.AWP(), epochs=2)
        >>> len(history.epochs)
        2
    """

    gamma: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("(0, inf)", gamma=self.gamma)

    def shifts(self, weights: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        return {
            name: self.gamma * value.norm() / gradient.norm().clamp_min(1e-20) * gradient
            for name, (value, gradient) in weights.items()
            if value.ndim > 1
        }
