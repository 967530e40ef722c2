"""RandAugment."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ._base import Augmented, ImageAugmentation
from ._operations import Amount, factor, none, operate, rotate, shear, solarize


def _translate(strength: Tensor, sign: Tensor) -> Tensor:
    return 150 / 331 * strength * sign  # AutoAugment: 150 of the 331 pixels of its images


def _posterize(strength: Tensor, sign: Tensor) -> Tensor:
    return 8 - (4 * strength).round()


_TABLE: dict[str, Amount] = {
    "identity": none,
    "autocontrast": none,
    "equalize": none,
    "rotate": rotate,
    "solarize": solarize,
    "colour": factor,
    "posterize": _posterize,
    "contrast": factor,
    "brightness": factor,
    "sharpness": factor,
    "shear-x": shear,
    "shear-y": shear,
    "translate-x": _translate,
    "translate-y": _translate,
}


@dataclasses.dataclass(frozen=True)
class RandAugment(ImageAugmentation):
    """Applies `n` of 14 operations, one after the other, all at one magnitude (Cubuk et al. 2020).

    The operations are chosen anew for each image, each with the same probability; one may come
    twice: identity, autocontrast, equalize, rotate, solarize, colour, posterize, contrast,
    brightness, sharpness, shear and translate along x and y.

    Args:
        n: Operations for each image; the paper's best are 2 for ImageNet (ResNet-50) and 3 for
            CIFAR-10.
        magnitude: 10 is the most that AutoAugment knows: 30 degrees, shear 0.3, translation by
            150/331 of the side, factors of 0.1 or 1.9, 4 bits, all values inverted. 0 changes
            nothing but by autocontrast and equalize. The paper's best are 9 for ImageNet
            (ResNet-50) and 4 to 5 for CIFAR-10. Libraries that count to 30 write 27 for 9.
        fill: Value of what comes in from outside; the authors' grey.

    Images are in [0, 1] and stay there. As in most libraries, more magnitude is more change for
    each operation, in either direction where there are two; in the authors' code it is less for
    posterize and solarize. Colour does nothing to grey images, and equalize nothing to images of
    fewer than 256 pixels.

    Raises:
        ValueError: n is below 1, or magnitude is not in [0, 10].

    Example:
        >>> import torch, brolly
        >>> x = torch.rand(2, 3, 32, 32)
        >>> brolly.RandAugment(n=2, magnitude=9.0)(x, torch.Generator()).shape
        torch.Size([2, 3, 32, 32])
    """

    n: int = 2
    magnitude: float = 9.0
    fill: float = 0.5

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n is {self.n}; expected 1 or more operations")
        if not 0 <= self.magnitude <= 10:
            raise ValueError(
                f"magnitude is {self.magnitude}; expected a number in [0, 10]. On a scale to 30, "
                "divide by 3"
            )

    def _along(self, given: Augmented, generator: torch.Generator, ignore: int) -> Augmented:
        x, masks, boxes = given
        strength = torch.full((len(x),), self.magnitude / 10, dtype=torch.float64)
        for _ in range(self.n):
            x, move = operate(x, _TABLE, strength, self.fill, generator)
            masks = None if masks is None else move.masks(masks, ignore)
            boxes = None if boxes is None else move.boxes(boxes, *x.shape[2:])
        return Augmented(x, masks, boxes)
