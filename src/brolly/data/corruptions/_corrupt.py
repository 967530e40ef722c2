"""The table of corruptions, and the one function that applies them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..._draws import Draws
from ..._names import suggest
from ._blur import defocus_blur, glass_blur, motion_blur, zoom_blur
from ._digital import contrast, elastic, jpeg, pixelate
from ._noise import gaussian_noise, impulse_noise, shot_noise
from ._weather import brightness, fog, frost, snow

SEVERITIES = (1, 2, 3, 4, 5)


@dataclasses.dataclass(frozen=True)
class Corruption:
    """One type: its group, how it is done, and the parameters of its five severities."""

    group: Literal["noise", "blur", "weather", "digital"]
    apply: Callable[..., Tensor] = dataclasses.field(repr=False)
    parameters: tuple[tuple[float, ...], ...]


# Parameters of CIFAR-10-C (Hendrycks & Dietterich 2019), for images of 32 x 32, as in
# ImageNet-C/create_c/make_cifar_c.py of github.com/hendrycks/robustness.
#: Types by name, in the published order.
CORRUPTIONS: dict[str, Corruption] = {
    "gaussian-noise": Corruption(
        "noise", gaussian_noise, ((0.04,), (0.06,), (0.08,), (0.09,), (0.10,))
    ),
    "shot-noise": Corruption("noise", shot_noise, ((500,), (250,), (100,), (75,), (50,))),
    "impulse-noise": Corruption(
        "noise", impulse_noise, ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,))
    ),
    "defocus-blur": Corruption(
        "blur", defocus_blur, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))
    ),
    "glass-blur": Corruption(
        "blur", glass_blur, ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))
    ),
    "motion-blur": Corruption("blur", motion_blur, ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))),
    "zoom-blur": Corruption("blur", zoom_blur, ((1.05,), (1.10,), (1.15,), (1.20,), (1.25,))),
    "snow": Corruption(
        "weather",
        snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    ),
    "frost": Corruption(
        "weather", frost, ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))
    ),
    "fog": Corruption("weather", fog, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))),
    "brightness": Corruption("weather", brightness, ((0.05,), (0.1,), (0.15,), (0.2,), (0.3,))),
    "contrast": Corruption("digital", contrast, ((0.75,), (0.5,), (0.4,), (0.3,), (0.15,))),
    "elastic": Corruption(
        "digital",
        elastic,
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    ),
    "pixelate": Corruption("digital", pixelate, ((0.95,), (0.9,), (0.85,), (0.75,), (0.65,))),
    "jpeg": Corruption("digital", jpeg, ((80,), (65,), (58,), (50,), (40,))),
}


def corrupt(
    images: Float[Tensor, "batch channels height width"],
    kind: str,
    severity: int,
    *,
    generator: torch.Generator | None = None,
    index: Int[Tensor, " batch"] | None = None,
) -> Float[Tensor, "batch channels height width"]:
    """Corrupts images as ImageNet-C and CIFAR-10-C do (Hendrycks & Dietterich 2019).

    The published parameters are for images of 32 x 32 in 8 bits; here lengths among them grow and
    shrink with the shorter side, and results are not rounded to 8 bits. Borders are mirrored. The
    pictures of frost that the paper overlays are not part of brolly: its ice crystals are
    synthesised, so that numbers under `frost` do not compare with published ones. Parameters of
    `elastic` are the published ones too, whose affine part falls with severity.

    Args:
        images: In [0, 1], with 1 or 3 channels and any size.
        kind: A name in `CORRUPTIONS`.
        severity: 1 to 5.
        generator: Source of randomness; None: seed 0.
        index: Index of each image in its data set, `(batch,)`; None: 0, 1, ... Its randomness
            depends on the generator, the kind and this alone: batches may be cut anyhow, and an
            image meets the same noise at every severity.

    Returns:
        Images in [0, 1], of the same shape and type.

    Raises:
        ValueError: The kind or severity is unknown, or the images do not fit.

    Example:
        >>> import torch
        >>> from brolly.data import corrupt
        >>> bright = corrupt(torch.full((1, 1, 8, 8), 0.5), "brightness", 5)
        >>> round(float(bright.mean()), 4)
        0.8
    """
    if kind not in CORRUPTIONS:
        raise ValueError(f"corruption {kind!r} is unknown. {suggest(kind, CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity is {severity}; expected 1, 2, 3, 4 or 5")
    _check_images(images)
    if index is None:
        index = torch.arange(len(images))
    if len(images) == 0:
        return images.clone()
    corruption = CORRUPTIONS[kind]
    draws = Draws.from_generator(generator, index.to(images.device))
    draws = draws.fold(list(CORRUPTIONS).index(kind))
    corrupted = corruption.apply(images.detach(), draws, *corruption.parameters[severity - 1])
    return corrupted.clamp(0, 1)


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape[2:]:
        raise ValueError(
            f"images have shape {tuple(images.shape)}; expected (batch, channels, height, width) "
            "with 1 or 3 channels"
        )
    if images.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"images are {images.dtype}; expected float32 or float64. Convert 8-bit images with "
            "x.float() / 255"
        )
    if images.numel() and not 0 <= float(images.min()) <= float(images.max()) <= 1:
        raise ValueError(
            f"images span [{float(images.min()):.4g}, {float(images.max()):.4g}]; expected values "
            "in [0, 1]"
        )
