"""Colour jitter."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from ._base import Photometric

_STEPS = ("brightness", "contrast", "saturation", "hue")


@dataclasses.dataclass(frozen=True)
class ColourJitter(Photometric):
    """Changes brightness, contrast, saturation and hue of each image.

    Factors are uniform in [1 - strength, 1 + strength], and 0 at least: of the values
    (brightness), of their distance from the mean grey (contrast), of the distance of each pixel
    from its grey (saturation). The order is drawn once for a batch, the factors for each image.
    Images are in [0, 1] and stay there. Saturation and hue do nothing to grey images.

    Args:
        brightness, contrast, saturation: Strengths, 0 or more; 0 changes nothing.
        hue: Largest turn of the colour wheel in both directions, as a part of a whole turn.

    Raises:
        ValueError: An argument is out of range.

    Example:
        >>> import torch, brolly
        >>> augment = brolly.ColourJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
        >>> augment(torch.rand(2, 3, 8, 8), torch.Generator()).shape
        torch.Size([2, 3, 8, 8])
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name in _STEPS[:3]:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 or more")
        if not 0 <= self.hue <= 0.5:
            raise ValueError(f"hue is {self.hue}; expected a part of a turn in [0, 0.5]")

    def change(self, x: Tensor, generator: torch.Generator) -> Tensor:
        from kornia import enhance

        changes = {
            "brightness": enhance.adjust_brightness_accumulative,
            "contrast": enhance.adjust_contrast_with_mean_subtraction,
            "saturation": enhance.adjust_saturation_with_gray_subtraction,
            "hue": enhance.adjust_hue,
        }
        drawn = torch.rand(len(_STEPS), len(x), generator=generator)
        for step in torch.randperm(len(_STEPS), generator=generator).tolist():
            name, strength = _STEPS[step], getattr(self, _STEPS[step])
            if strength == 0 or (x.shape[1] != 3 and name in ("saturation", "hue")):
                continue
            if name == "hue":
                amount = 2 * math.pi * strength * (2 * drawn[step] - 1)
            else:
                low = max(0.0, 1 - strength)
                amount = low + (1 + strength - low) * drawn[step]
            x = changes[name](x, amount.to(x)).clamp(0, 1)
        return x
