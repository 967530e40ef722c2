"""MNIST-C (Mu & Gilmer 2019).

Parameters from corruptions.py of github.com/google-research/mnist-c. The published set has each
type at one severity, the default of that code; the types without parameters have no other.
"""

from __future__ import annotations

from ._blur import motion_blur, swapped_glass_blur
from ._canny import canny_edges
from ._drawing import dotted_line, spatter, stripe, zigzag
from ._noise import impulse_noise, shot_noise
from ._shape import rotate, scale, shear, translate
from ._suite import Corruption, Suite
from ._weather import brightness, distant_fog

# fmt: off
_ANGLES = ((0.2,), (0.4,), (0.6,), (0.8,), (1.0,))
#: Types of MNIST-C by name, in the published order.
MNIST_C: dict[str, Corruption] = {
    "shot-noise": Corruption("noise", shot_noise, ((60,), (25,), (12,), (5,), (3,)), (5,)),
    "impulse-noise": Corruption(
        "noise", impulse_noise, ((0.03,), (0.06,), (0.09,), (0.17,), (0.27,)), (4,)),
    "glass-blur": Corruption("blur", swapped_glass_blur, (
        (0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)), (1,)),
    "motion-blur": Corruption(
        "blur", motion_blur, ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)), (1,)),
    "shear": Corruption("shape", shear, _ANGLES, (2,)),
    "scale": Corruption("shape", scale, ((0.9,), (0.8,), (0.7,), (0.6,), (0.5,)), (3,)),
    "rotate": Corruption("shape", rotate, _ANGLES, (2,)),
    "brightness": Corruption("weather", brightness, ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)), (5,)),
    "translate": Corruption("shape", translate, ((1,), (2,), (3,), (4,), (5,)), (3,)),
    "stripe": Corruption("drawing", stripe, ((),), (1,)),
    "fog": Corruption("weather", distant_fog, (
        (1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)), (5,)),
    "spatter": Corruption("drawing", spatter, (
        (0.65, 0.3, 4, 0.69, 0.6), (0.65, 0.3, 3, 0.68, 0.6), (0.65, 0.3, 2, 0.68, 0.5),
        (0.65, 0.3, 1, 0.65, 1.5), (0.67, 0.4, 1, 0.65, 1.5)), (4,)),
    "dotted-line": Corruption("drawing", dotted_line, ((),), (1,)),
    "zigzag": Corruption("drawing", zigzag, ((),), (1,)),
    "canny-edges": Corruption("drawing", canny_edges, ((),), (1,)),
}
# fmt: on
MNIST_C_SUITE = Suite("mnist-c", 28, MNIST_C)
