"""The operations that RandAugment and AugMix choose from."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ._warp import Warped, affine

#: How much an operation does, by a strength in [0, 1] and a sign for each image.
Amount = Callable[[Tensor, Tensor], Tensor]


def none(strength: Tensor, sign: Tensor) -> Tensor:
    """Of operations that are always the same."""
    return torch.zeros_like(strength)


def rotate(strength: Tensor, sign: Tensor) -> Tensor:
    """Degrees."""
    return 30 * strength * sign


def shear(strength: Tensor, sign: Tensor) -> Tensor:
    """Shift for each pixel of distance from the middle."""
    return 0.3 * strength * sign


def factor(strength: Tensor, sign: Tensor) -> Tensor:
    """What brightness and the like are multiplied by."""
    return 1 + 0.9 * strength * sign


def solarize(strength: Tensor, sign: Tensor) -> Tensor:
    """Value from which on pixels are inverted; at strength 0 none is."""
    return (1 - strength) * 256 / 255


def operate(
    x: Tensor,
    table: Mapping[str, Amount],
    strength: Tensor,
    fill: float,
    generator: torch.Generator,
    active: Tensor | None = None,
) -> tuple[Tensor, Warped]:
    """Applies one operation of the table, chosen for each image, to it.

    Args:
        x: Images in [0, 1], `(batch, channels, height, width)`.
        table: What to choose from.
        strength: In [0, 1], `(batch,)`.
        fill: Value of what comes in from outside.
        generator: What is random comes from it.
        active: Which images are changed, `(batch,)`; None: all.

    Returns:
        The images, and how they moved.
    """
    count, _, height, width = x.shape
    chosen = torch.randint(len(table), (count,), generator=generator)
    sign = 2 * torch.randint(2, (count,), generator=generator) - 1
    amounts = torch.stack([amount(strength, sign) for amount in table.values()])
    amounts = amounts[chosen, torch.arange(count)]
    is_on = torch.ones(count, dtype=torch.bool) if active is None else active
    rows = {name: (chosen == at) & is_on for at, name in enumerate(table)}

    def by(name: str) -> Tensor:
        return amounts * rows[name]

    move = Warped(
        affine(
            count,
            degrees=by("rotate"),
            shear=(by("shear-x"), by("shear-y")),
            shift=(width * by("translate-x"), height * by("translate-y")),
        ),
        fill,
    )
    x = move.images(x)
    for name, change in _photometric().items():
        if name in table and rows[name].any():
            at = rows[name].nonzero()[:, 0]
            there = at.to(x.device)
            x = x.index_copy(0, there, change(x[there], amounts[at].to(x)).clamp(0, 1))
    return x, move


def _photometric() -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    from kornia import enhance

    return {
        "autocontrast": _autocontrast,
        "equalize": lambda x, _: enhance.equalize(x),
        "posterize": lambda x, bits: enhance.posterize(x, bits.int()),
        "solarize": enhance.solarize,
        "colour": enhance.adjust_saturation_with_gray_subtraction,
        "contrast": enhance.adjust_contrast_with_mean_subtraction,
        "brightness": enhance.adjust_brightness_accumulative,
        "sharpness": _sharpness,
    }


def _autocontrast(x: Tensor, _: Tensor) -> Tensor:
    """Stretches each channel to [0, 1], unless it is constant."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return torch.where(high > low, (x - low) / (high - low).where(high > low, 1), x)


def _sharpness(x: Tensor, factors: Tensor) -> Tensor:
    """Blends with a smoothed image; one without an inside is left as it is."""
    from kornia import enhance

    return x if min(x.shape[2:]) < 3 else enhance.sharpness(x, factors)
