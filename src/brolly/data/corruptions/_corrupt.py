"""The suites of corruptions, and the one function that applies them."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..._draws import Draws
from ..._names import suggest
from ._common import CIFAR_10_C, IMAGENET_C
from ._mnist_c import MNIST_C_SUITE
from ._suite import Suite

#: Suites by name.
SUITES: dict[str, Suite] = {suite.name: suite for suite in (CIFAR_10_C, IMAGENET_C, MNIST_C_SUITE)}

_LARGE = 85  # nearer to 224 than to 32: the square root of 224 * 32 is 84.7


def find_suite(name: str | None, shape: tuple[int, ...]) -> Suite:
    """A suite by its name; None: the one of common corruptions whose images are of like size.

    Args:
        name: A name in `SUITES`; None: `cifar-10-c` for images whose shorter side is up to 84
            pixels, `imagenet-c` for larger ones.
        shape: Of the images; height and width come last.

    Raises:
        ValueError: The name is unknown.

    Example:
        >>> from brolly.data import find_suite
        >>> find_suite(None, (1, 28, 28)).name
        'cifar-10-c'
    """
    if name is None:
        return IMAGENET_C if min(shape[-2:], default=0) >= _LARGE else CIFAR_10_C
    if name not in SUITES:
        raise ValueError(f"suite of corruptions {name!r} is unknown. {suggest(name, SUITES)}")
    return SUITES[name]


def corrupt(
    images: Float[Tensor, "batch channels height width"],
    kind: str,
    severity: int,
    *,
    suite: str | None = None,
    generator: torch.Generator | None = None,
    index: Int[Tensor, " batch"] | None = None,
) -> Float[Tensor, "batch channels height width"]:
    """Corrupts images as CIFAR-10-C, ImageNet-C or MNIST-C does.

    Hendrycks & Dietterich 2019, Mu & Gilmer 2019. Published parameters are for images of one size;
    lengths among them grow and shrink with the shorter side. Borders are mirrored, and results are
    not rounded to 8 bits. The pictures of frost that the paper overlays are not part of brolly:
    its ice crystals are synthesised, so that numbers under `frost` do not compare with published
    ones. docs/data.md lists what else differs.

    Args:
        images: In [0, 1], with 1 or 3 channels and any size.
        kind: A name in `SUITES[suite].kinds`.
        severity: 1 to 5; of some types of MNIST-C, 1 alone.
        suite: `cifar-10-c`, `imagenet-c` or `mnist-c`; None: `cifar-10-c` for images whose shorter
            side is up to 84 pixels, `imagenet-c` for larger ones.
        generator: Source of randomness; None: seed 0.
        index: Index of each image in its data set, `(batch,)`; None: 0, 1, ... Its randomness
            depends on the generator, the kind and this alone: batches may be cut anyhow, and an
            image meets the same noise at every severity.

    Returns:
        Images in [0, 1], of the same shape and type.

    Raises:
        ValueError: The suite, kind or severity is unknown, or the images do not fit.

    Example:
        >>> import torch
        >>> from brolly.data import corrupt
        >>> bright = corrupt(torch.full((1, 1, 8, 8), 0.5), "brightness", 5)
        >>> round(float(bright.mean()), 4)
        0.8
    """
    _check_images(images)
    chosen = find_suite(suite, images.shape)
    if kind not in chosen.kinds:
        raise ValueError(
            f"corruption {kind!r} is unknown in {chosen.name}. {suggest(kind, chosen.kinds)}"
        )
    corruption = chosen.kinds[kind]
    if not 1 <= severity <= len(corruption.parameters):
        expected = (
            "1, 2, 3, 4 or 5" if len(corruption.parameters) > 1 else "1, as there is no other"
        )
        raise ValueError(f"severity of {kind} is {severity}; expected {expected}")
    if index is None:
        index = torch.arange(len(images))
    if len(images) == 0:
        return images.clone()
    draws = Draws.from_generator(generator, index.to(images.device))
    draws = draws.fold(list(chosen.kinds).index(kind))
    parameters = corruption.parameters[severity - 1]
    pixel = min(images.shape[-2:]) / chosen.side
    return corruption.apply(images.detach(), draws, pixel, *parameters).clamp(0, 1)


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
