"""CutMix."""

from __future__ import annotations

import dataclasses
import random

import torch
from torch import nn

from .._draws import Draws
from .._ranges import check_range
from ..data import Batch
from ..data._boxes import boxes
from ..threats import Threat
from ._mixup import mixed_loss, partners
from ._objective import LossOf, Objective


@dataclasses.dataclass(frozen=True, kw_only=True)
class CutMix(Objective):
    r"""Cross-entropy of an image with a box from another one pasted in (Yun et al. 2019).

    .. math:: \mathrm{mean}_i \; \lambda_i \, CE(f(z_i), y_i) + (1 - \lambda_i) \, CE(f(z_i), y_j)

    where z_i is x_i with the box from x_j, and lambda_i the part of the image outside the box. The
    box has the sides of the image times `sqrt(1 - lambda)`, rounded down, with lambda from
    Beta(alpha, alpha), one for a batch. Its centre is uniform over the pixels, one for each image
    (the authors: one for a batch), and what sticks out is cut off. As with `MixUp`, no image is
    its own partner.

    Cost of a step: one forward and one backward pass.

    Args:
        alpha: Of the Beta distribution; 1 in the paper.
        probability: How likely a batch is mixed; otherwise it is plain training. 0.5 in the paper
            for CIFAR, 1 for ImageNet.

    Raises:
        ValueError: alpha is not above 0, probability is not in [0, 1], or inputs are no images.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> history = brolly.fit(model, data, objective=brolly.CutMix(), epochs=2)
        >>> len(history.epochs)
        2
    """

    alpha: float = 1.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_range("(0, inf)", alpha=self.alpha)
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability is {self.probability}; expected a number in [0, 1]")

    @property
    def threat(self) -> Threat | None:
        return None

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        x = batch.x
        if x.ndim != 4:
            raise ValueError(
                f"the inputs have shape {tuple(x.shape)}; expected images "
                "(batch, channels, height, width). Use MixUp for other inputs"
            )
        draws = Draws.from_generator(generator, batch.index)
        once = random.Random(draws.seed)
        side = (1 - once.betavariate(self.alpha, self.alpha)) ** 0.5
        if once.random() >= self.probability:
            side = 0.0
        sizes = torch.tensor(x.shape[2:], dtype=torch.float64, device=x.device)
        centres = (draws.uniform(sizes.expand(len(x), 2)) * sizes).long().T
        height, width = (int(side * size) for size in x.shape[2:])
        box, other = boxes(centres, height, width, x), partners(draws, x)
        mixed = torch.where(box, x[other], x)
        shares = 1 - box.flatten(1).to(x.dtype).mean(1)
        return lambda model: mixed_loss(model, mixed, batch.y, batch.y[other], shares)
