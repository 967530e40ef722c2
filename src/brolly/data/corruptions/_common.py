"""CIFAR-10-C and ImageNet-C: the same types, with parameters for small and for large images.

Parameters from ImageNet-C/create_c/make_cifar_c.py and ImageNet-C/imagenet_c/imagenet_c/
corruptions.py of github.com/hendrycks/robustness (Hendrycks & Dietterich 2019).
"""

from __future__ import annotations

import dataclasses

from ._blur import defocus_blur, gaussian_blur, glass_blur, motion_blur, zoom_blur
from ._digital import contrast, elastic, jpeg, pixelate, saturate
from ._noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from ._suite import Corruption, Parameters, Suite
from ._weather import brightness, fog, frost, snow


def _each(*values: float) -> Parameters:
    return tuple((value,) for value in values)


def _lengths(side: float, *parts: tuple[float, float, float]) -> Parameters:
    return tuple(tuple(side * part for part in severity) for severity in parts)


# fmt: off
_KINDS = {
    "gaussian-noise": Corruption("noise", gaussian_noise, _each(0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot-noise": Corruption("noise", shot_noise, _each(500, 250, 100, 75, 50)),
    "impulse-noise": Corruption("noise", impulse_noise, _each(0.01, 0.02, 0.03, 0.05, 0.07)),
    "defocus-blur": Corruption("blur", defocus_blur, (
        (0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))),
    "glass-blur": Corruption("blur", glass_blur, (
        (0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))),
    "motion-blur": Corruption("blur", motion_blur, ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))),
    "zoom-blur": Corruption("blur", zoom_blur, (
        (1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01))),
    "snow": Corruption("weather", snow, (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8))),
    "frost": Corruption("weather", frost, (
        (1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))),
    "fog": Corruption("weather", fog, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))),
    "brightness": Corruption("weather", brightness, _each(0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": Corruption("digital", contrast, _each(0.75, 0.5, 0.4, 0.3, 0.15)),
    "elastic": Corruption("digital", elastic, _lengths(32,
        (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03))),
    "pixelate": Corruption("digital", pixelate, _each(0.95, 0.9, 0.85, 0.75, 0.65)),
    "jpeg": Corruption("digital", jpeg, _each(80, 65, 58, 50, 40)),
    "speckle-noise": Corruption("noise", speckle_noise, _each(0.06, 0.1, 0.12, 0.16, 0.2), ()),
    "gaussian-blur": Corruption("blur", gaussian_blur, _each(0.4, 0.6, 0.7, 0.8, 1), ()),
    "saturate": Corruption("digital", saturate, (
        (0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)), ()),
}

_LARGE: dict[str, Parameters] = {
    "gaussian-noise": _each(0.08, 0.12, 0.18, 0.26, 0.38),
    "shot-noise": _each(60, 25, 12, 5, 3),
    "impulse-noise": _each(0.03, 0.06, 0.09, 0.17, 0.27),
    "defocus-blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    "glass-blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    "motion-blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    "zoom-blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    "snow": (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55)),
    "frost": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    "brightness": _each(0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": _each(0.4, 0.3, 0.2, 0.1, 0.05),
    "elastic": _lengths(244,  # the published code takes 244 for the side of 224 pixels
        (2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02),
        (0.12, 0.01, 0.02)),
    "pixelate": _each(0.6, 0.5, 0.4, 0.3, 0.25),
    "jpeg": _each(25, 18, 15, 10, 7),
    "speckle-noise": _each(0.15, 0.2, 0.35, 0.45, 0.6),
    "gaussian-blur": _each(1, 2, 3, 4, 6),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
}
# fmt: on

CIFAR_10_C = Suite("cifar-10-c", 32, _KINDS)
IMAGENET_C = Suite(
    "imagenet-c",
    224,
    {
        kind: dataclasses.replace(corruption, parameters=_LARGE[kind])
        for kind, corruption in _KINDS.items()
    },
)
#: The fifteen types of the published benchmark, with the parameters for small images.
CORRUPTIONS = {kind: corruption for kind, corruption in _KINDS.items() if corruption.measured}
