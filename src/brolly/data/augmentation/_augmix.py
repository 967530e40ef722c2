"""AugMix."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from ._base import Augmented, ImageAugmentation
from ._operations import Amount, none, operate, rotate, shear, solarize


def _translate(strength: Tensor, sign: Tensor) -> Tensor:
    return strength * sign / 3


def _posterize(strength: Tensor, sign: Tensor) -> Tensor:
    return 4 - (4 * strength).floor()


_TABLE: dict[str, Amount] = {
    "autocontrast": none,
    "equalize": none,
    "posterize": _posterize,
    "rotate": rotate,
    "solarize": solarize,
    "shear-x": shear,
    "shear-y": shear,
    "translate-x": _translate,
    "translate-y": _translate,
}


@dataclasses.dataclass(frozen=True)
class AugMix(ImageAugmentation):
    r"""Mixes an image with chains of operations on it (Hendrycks et al. 2020).

    .. math:: (1 - m) \, x + m \sum_{i=1}^{\mathrm{width}} w_i \, \mathrm{chain}_i(x), \quad
        w \sim \mathrm{Dirichlet}(\alpha, \ldots, \alpha), \; m \sim \mathrm{Beta}(\alpha, \alpha)

    Operations: autocontrast, equalize, posterize, rotate, solarize, shear and translate along x and
    y; none of them is among the corruptions of ImageNet-C. Each has a strength of its own, uniform
    from 0.1 to `severity`, of 10. Everything is drawn for each image.

    Args:
        severity: Largest strength, of 10; 3 in the paper.
        width: Chains; 3 in the paper.
        depth: Operations of a chain; None: uniform from 1 to 3 for each, as in the paper.
        alpha: Of the Dirichlet and the Beta distribution; 1 in the paper.
        fill: Value of what comes in from outside; black, as in the authors' code.

    Images are in [0, 1] and stay there. Where the authors round angles to degrees and shifts to
    pixels, and shear about a corner, angles and shifts are left as drawn here, and the middle
    stays. The paper also trains for consistency between two such images (a Jensen-Shannon loss);
    this is the augmentation alone. Equalize does nothing to images of fewer than 256 pixels.

    Masks and boxes cannot come along, as an object is in several places afterwards.

    Raises:
        ValueError: An argument is out of range, or masks or boxes are given.

    Example:
        >>> import torch, brolly
        >>> brolly.AugMix()(torch.rand(2, 3, 32, 32), torch.Generator()).shape
        torch.Size([2, 3, 32, 32])
    """

    severity: float = 3.0
    width: int = 3
    depth: int | None = None
    alpha: float = 1.0
    fill: float = 0.0

    def __post_init__(self) -> None:
        if not 0.1 <= self.severity <= 10:
            raise ValueError(f"severity is {self.severity}; expected a number in [0.1, 10]")
        if self.width < 1:
            raise ValueError(f"width is {self.width}; expected 1 or more chains")
        if self.depth is not None and self.depth < 1:
            raise ValueError(f"depth is {self.depth}; expected 1 or more operations, or None")
        if not self.alpha > 0:
            raise ValueError(f"alpha is {self.alpha}; expected a number above 0")

    def _along(self, given: Augmented, generator: torch.Generator, ignore: int) -> Augmented:
        if given.masks is not None or given.boxes is not None:
            raise ValueError(
                "AugMix lays several moved copies of an image over each other, so masks and boxes "
                "have no one place to go; use RandAugment or single augmentations with them"
            )
        x = given.x
        chains = x.repeat(self.width, 1, 1, 1)  # (width * batch, channels, height, width)
        depths = torch.randint(1, 4, (len(chains),), generator=generator)
        if self.depth is not None:
            depths.fill_(self.depth)
        for step in range(3 if self.depth is None else self.depth):
            drawn = torch.rand(len(chains), generator=generator, dtype=torch.float64)
            strength = (0.1 + (self.severity - 0.1) * drawn) / 10
            chains, _ = operate(chains, _TABLE, strength, self.fill, generator, depths > step)
        seed = int(torch.randint(2**62, (), generator=generator))
        numbers = np.random.default_rng(seed)  # torch has no gamma distribution from a generator
        weights = numbers.dirichlet([self.alpha] * self.width, len(x)).T
        share = torch.from_numpy(numbers.beta(self.alpha, self.alpha, len(x))).to(x)
        weights = torch.from_numpy(weights).to(x)[..., None, None, None]  # (width, batch, 1, 1, 1)
        mixed = (weights * chains.unflatten(0, (self.width, len(x)))).sum(0)
        return Augmented(x.lerp(mixed, share[:, None, None, None]).clamp(0, 1))
