"""Corruptions against the published definitions, written down slowly.

Hendrycks & Dietterich 2019 (github.com/hendrycks/robustness, make_cifar_c.py and corruptions.py)
and Mu & Gilmer 2019 (github.com/google-research/mnist-c, corruptions.py). Random numbers are read
off the same streams, so that whole images can be compared.
"""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from brolly._draws import Draws
from brolly.data import CORRUPTIONS, MNIST_C, SUITES, corrupt, find_suite
from brolly.data.corruptions._blur import (
    _jumbled,
    _shares,
    defocus_blur,
    motion_blur,
    swapped_glass_blur,
)
from brolly.data.corruptions._canny import canny_edges
from brolly.data.corruptions._drawing import dotted_line, spatter, zigzag
from brolly.data.corruptions._grid import smooth_noise
from brolly.data.corruptions._shape import rotate, scale, shear
from brolly.data.corruptions._weather import distant_fog

Picture = np.ndarray

#: Parameters by type, as the published code has them.
CIFAR = {
    "gaussian-noise": [0.04, 0.06, 0.08, 0.09, 0.10],
    "shot-noise": [500, 250, 100, 75, 50],
    "impulse-noise": [0.01, 0.02, 0.03, 0.05, 0.07],
    "defocus-blur": [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
    "glass-blur": [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],
    "motion-blur": [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
    "snow": [
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ],
    "frost": [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)],
    "fog": [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
    "brightness": [0.05, 0.1, 0.15, 0.2, 0.3],
    "contrast": [0.75, 0.5, 0.4, 0.3, 0.15],
    "pixelate": [0.95, 0.9, 0.85, 0.75, 0.65],
    "jpeg": [80, 65, 58, 50, 40],
    "speckle-noise": [0.06, 0.1, 0.12, 0.16, 0.2],
    "gaussian-blur": [0.4, 0.6, 0.7, 0.8, 1],
    "saturate": [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)],
}
IMAGENET = {
    "gaussian-noise": [0.08, 0.12, 0.18, 0.26, 0.38],
    "shot-noise": [60, 25, 12, 5, 3],
    "impulse-noise": [0.03, 0.06, 0.09, 0.17, 0.27],
    "defocus-blur": [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)],
    "glass-blur": [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],
    "motion-blur": [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)],
    "snow": [
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ],
    "frost": [(1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)],
    "fog": [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)],
    "brightness": [0.1, 0.2, 0.3, 0.4, 0.5],
    "contrast": [0.4, 0.3, 0.2, 0.1, 0.05],
    "pixelate": [0.6, 0.5, 0.4, 0.3, 0.25],
    "jpeg": [25, 18, 15, 10, 7],
    "speckle-noise": [0.15, 0.2, 0.35, 0.45, 0.6],
    "gaussian-blur": [1, 2, 3, 4, 6],
    "saturate": [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)],
}
#: Ends and steps of numpy's `arange` from 1: factors of zoom-blur.
ARANGES = {
    "cifar-10-c": [(1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)],
    "imagenet-c": [(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)],
}
#: Parameters and the default severity, which made the published images.
MNIST = {
    "shot-noise": ([60, 25, 12, 5, 3], 5),
    "impulse-noise": ([0.03, 0.06, 0.09, 0.17, 0.27], 4),
    "glass-blur": (IMAGENET["glass-blur"], 1),
    "motion-blur": (IMAGENET["motion-blur"], 1),
    "shear": ([0.2, 0.4, 0.6, 0.8, 1.0], 2),
    "scale": ([0.9, 0.8, 0.7, 0.6, 0.5], 3),  # the code divides 1 by them
    "rotate": ([0.2, 0.4, 0.6, 0.8, 1.0], 2),
    "brightness": ([0.1, 0.2, 0.3, 0.4, 0.5], 5),
    "translate": ([1, 2, 3, 4, 5], 3),
    "stripe": ([()], 1),
    "fog": (IMAGENET["fog"], 5),
    "spatter": (
        [
            (0.65, 0.3, 4, 0.69, 0.6),
            (0.65, 0.3, 3, 0.68, 0.6),
            (0.65, 0.3, 2, 0.68, 0.5),
            (0.65, 0.3, 1, 0.65, 1.5),
            (0.67, 0.4, 1, 0.65, 1.5),
        ],
        4,
    ),
    "dotted-line": ([()], 1),
    "zigzag": ([()], 1),
    "canny-edges": ([()], 1),
}


def tuples(values: list) -> tuple:
    return tuple(value if isinstance(value, tuple) else (value,) for value in values)


def digits(count: int = 6, side: int = 28) -> Tensor:
    """Thick strokes on black, in double precision."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.rand(count, 1, side, side, generator=generator, dtype=torch.float64).numpy()
    smooth = ndimage.gaussian_filter(noise, (0, 0, 2.5, 2.5))
    smooth = (smooth - smooth.mean()) / smooth.std()
    return torch.from_numpy(np.clip(1.5 - 2 * np.abs(smooth), 0, 1))


def streams(count: int) -> Draws:
    return Draws(5, torch.arange(count))


@pytest.mark.parametrize(("suite", "published"), [("cifar-10-c", CIFAR), ("imagenet-c", IMAGENET)])
def test_parameters_are_the_published_ones(suite: str, published: dict) -> None:
    kinds = SUITES[suite].kinds
    assert {kind: kinds[kind].parameters for kind in published} == {
        kind: tuples(values) for kind, values in published.items()
    }
    assert set(kinds) == {*published, "zoom-blur", "elastic"}
    assert kinds["zoom-blur"].parameters == tuple(ARANGES[suite])


def test_lengths_of_elastic_are_parts_of_the_side() -> None:
    small = [(0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05),
             (0.1, 0.03, 0.03)]  # fmt: skip
    large = [(2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02),
             (0.12, 0.01, 0.02)]  # fmt: skip
    for suite, side, parts in (("cifar-10-c", 32, small), ("imagenet-c", 244, large)):
        found = SUITES[suite].kinds["elastic"].parameters
        np.testing.assert_allclose(found, side * np.array(parts), rtol=1e-12)


def test_mnist_c_has_the_published_types_and_severities() -> None:
    assert list(MNIST_C) == list(MNIST)
    for kind, (values, severity) in MNIST.items():
        assert MNIST_C[kind].parameters == tuples(values)
        assert MNIST_C[kind].measured == (severity,)
    assert len(SUITES["mnist-c"].measured) == 15
    assert len(SUITES["imagenet-c"].measured) == len(SUITES["cifar-10-c"].measured) == 75
    assert dict(SUITES["cifar-10-c"].measured).keys() == CORRUPTIONS.keys()


@pytest.mark.parametrize(
    ("shape", "name"), [((3, 84, 200), "cifar-10-c"), ((3, 85, 85), "imagenet-c")]
)
def test_size_chooses_the_parameters(shape: tuple[int, ...], name: str) -> None:
    assert find_suite(None, shape).name == name
    x = torch.full((1, *shape), 0.5)
    assert torch.equal(corrupt(x, "contrast", 1), corrupt(x, "contrast", 1, suite=name))


# Blur


def published_disk(radius: float, smoothing: float) -> Picture:
    half, reach = (8, 1) if radius <= 8 else (int(radius), 2)
    line = np.arange(-half, half + 1)
    disk = np.array(line**2 + line[:, None] ** 2 <= radius**2, dtype=float)
    disk /= disk.sum()
    taps = np.exp(-(np.arange(-reach, reach + 1.0) ** 2) / (2 * smoothing**2))
    taps /= taps.sum()
    rows = ndimage.correlate1d(disk, taps, 0, mode="mirror")
    return ndimage.correlate1d(rows, taps, 1, mode="mirror")


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_defocus_blur_at_the_published_size(severity: int) -> None:
    radius, smoothing = CIFAR["defocus-blur"][severity - 1]
    x = digits(2, 32)
    kernel = published_disk(radius, smoothing)
    wanted = ndimage.correlate(x[0, 0].numpy(), kernel, mode="mirror")
    found = corrupt(x, "defocus-blur", severity)[0, 0].numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-7)


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_defocus_kernels_of_large_images(severity: int) -> None:
    radius, smoothing = IMAGENET["defocus-blur"][severity - 1]
    point = torch.zeros(1, 1, 51, 51, dtype=torch.float64)
    point[..., 25, 25] = 1
    found = defocus_blur(point, streams(1), 1.0, radius, smoothing)[0, 0].numpy()
    kernel = published_disk(radius, smoothing)
    # About a disk that fills the kernel, OpenCV mirrors what would leave it; it goes on here.
    cut = 2 if radius >= 8 else 0
    half = len(kernel) // 2 - cut
    wanted = kernel[cut : len(kernel) - cut, cut : len(kernel) - cut]
    inner = found[25 - half : 26 + half, 25 - half : 26 + half]
    np.testing.assert_allclose(inner, wanted, atol=1e-12)
    assert found.sum() == pytest.approx(1)


@pytest.mark.parametrize("pixel", [0.25, 0.875, 1.0, 2.0, 7.0])
def test_kernels_in_other_pixels_keep_their_width(pixel: float) -> None:
    shares = _shares(5, pixel)
    torch.testing.assert_close(shares.sum(0), torch.ones(5, dtype=torch.float64))
    kernel = torch.tensor([1.0, 2.0, 4.0, 2.0, 1.0], dtype=torch.float64) / 10
    line = shares @ kernel
    position = torch.arange(len(line)) - len(line) // 2
    # A published pixel has a width too: 1/12 of its square.
    variance = (1.2 + 1 / 12) * pixel**2
    assert float((line * position).sum()) == pytest.approx(0, abs=1e-12)
    assert float((line * position**2).sum()) == pytest.approx(variance, abs=1 / 12 + 0.09)
    if pixel == 1:
        assert torch.equal(line, kernel)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize(
    ("reach", "shape"), [(1, (12, 12)), (2, (13, 9)), (3, (8, 20)), (4, (6, 6))]
)
def test_glass_moves_one_pixel_after_the_other(
    swap: bool, reach: int, shape: tuple[int, int]
) -> None:
    height, width = shape
    x = torch.arange(2.0 * 3 * height * width).reshape(2, 3, height, width)
    found = _jumbled(x, streams(2), reach, swap=swap)
    draws = streams(2)
    move = (draws.uniform(x.new_zeros(2, 2, height, width)) * 2 * reach).long() - reach
    toss = draws.uniform(x.new_zeros(2, 1, height, width)) < 0.5 if swap else None
    for number in range(2):
        wanted = x[number].clone()
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                if toss is not None and not toss[number, 0, row, column]:
                    continue
                down, along = move[number, :, row, column].tolist()
                old = wanted[:, row, column].clone()
                wanted[:, row, column] = wanted[:, row + down, column + along]
                if swap:
                    wanted[:, row + down, column + along] = old
        assert torch.equal(found[number], wanted)
    if swap:
        assert torch.equal(found.flatten(2).sort(2)[0], x.flatten(2).sort(2)[0])


def test_glass_of_mnist_c_blurs_downwards_alone() -> None:
    x = digits()

    def blurred(x: Tensor) -> Tensor:
        return torch.from_numpy(ndimage.gaussian_filter1d(x.numpy(), 0.7, axis=2, mode="mirror"))

    draws = streams(len(x))
    wanted = blurred(x)
    for _ in range(2):
        wanted = _jumbled(wanted, draws, 1, swap=True)
    found = swapped_glass_blur(x, streams(len(x)), 1.0, 0.7, 1, 2)
    torch.testing.assert_close(found, blurred(wanted))


@pytest.mark.parametrize(("radius", "sigma"), [(6, 1), (9, 2.5), (10, 3)])
def test_motion_blur_is_that_of_imagemagick(radius: float, sigma: float) -> None:
    x = digits(3, 40)
    found = motion_blur(x, streams(3), 1.0, radius, sigma)
    angles = (streams(3).uniform(x[:, 0, 0, 0]) - 0.5) * (math.pi / 2)
    length = 2 * math.ceil(radius) + 1
    taps = np.exp(-(np.arange(length) ** 2) / (2 * sigma**2))
    taps /= taps.sum()
    for number, angle in enumerate(angles.tolist()):
        for row, column in [(18, 19), (20, 5), (17, 12)]:
            wanted = 0.0
            for distance, tap in enumerate(taps):
                along = math.ceil(distance * math.cos(angle) - 0.5)
                down = math.ceil(distance * math.sin(angle) - 0.5)
                wanted += tap * float(x[number, 0, row + down, column + along])
            assert float(found[number, 0, row, column]) == pytest.approx(wanted, abs=1e-12)


def published_zoom(image: Picture, factor: float) -> Picture:
    size = len(image)
    kept = int(np.ceil(size / factor))
    top = (size - kept) // 2
    cut = image[top : top + kept, top : top + kept]
    large = np.asarray(ndimage.zoom(cut, factor, order=1))
    trim = (len(large) - size) // 2
    return large[trim : trim + size, trim : trim + size]


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize(("suite", "side"), [("cifar-10-c", 32), ("imagenet-c", 57)])
def test_zoom_blur_is_the_published_one(severity: int, suite: str, side: int) -> None:
    x = digits(1, side)
    factors = np.arange(1, *ARANGES[suite][severity - 1])
    image = x[0, 0].numpy()
    wanted = (image + sum(published_zoom(image, factor) for factor in factors)) / (len(factors) + 1)
    found = corrupt(x, "zoom-blur", severity, suite=suite)[0, 0].numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-9)


# Colours


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("suite", ["cifar-10-c", "imagenet-c"])
def test_saturation_keeps_hue_and_value(severity: int, suite: str) -> None:
    import colorsys

    part, more = (CIFAR if suite == "cifar-10-c" else IMAGENET)["saturate"][severity - 1]
    x = torch.tensor([[0.2, 0.4, 0.1], [0.9, 0.5, 0.5], [0.0, 0.0, 0.0], [0.6, 0.6, 0.6]])
    found = corrupt(x[:, :, None, None], "saturate", severity, suite=suite)[:, :, 0, 0]
    for before, after in zip(x.tolist(), found.tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        wanted = colorsys.hsv_to_rgb(hue, min(saturation * part + more, 1), value)
        assert after == pytest.approx(wanted, abs=1e-6)
    grey = torch.rand(1, 1, 4, 4)
    assert torch.equal(corrupt(grey, "saturate", severity), grey)


def test_speckle_noise_is_a_part_of_the_value() -> None:
    x = torch.full((16, 1, 64, 64), 0.4)
    noise = corrupt(x, "speckle-noise", 3) - x
    assert float(noise.std()) == pytest.approx(0.4 * 0.12, rel=0.01)


# Shapes


def warped(image: Picture, matrix: Picture) -> Picture:
    """Takes (x, y) from the matrix times (x, y), about the centre; black from outside."""
    middle = (len(image) - 1) / 2
    matrix = matrix[::-1, ::-1]  # to rows and columns
    padded = np.pad(image, 60)  # so that pixels of the border fade into black
    moved = (np.full(2, middle + 60) - matrix @ np.full(2, middle + 60)).tolist()
    wide = ndimage.affine_transform(padded, matrix, moved, order=1)
    return wide[60:-60, 60:-60]


@pytest.mark.parametrize("severity", [1, 2, 5])
@pytest.mark.parametrize("kind", ["shear", "rotate", "scale"])
def test_affine_maps_are_the_published_ones(kind: str, severity: int) -> None:
    x, amount = digits(), MNIST[kind][0][severity - 1]
    apply = {"shear": shear, "rotate": rotate, "scale": scale}[kind]
    found = apply(x, streams(len(x)), 1.0, amount)
    signs = 1 - 2 * (streams(len(x)).uniform(x[:, 0, :1, 0]) < 0.5).double()
    for number, sign in enumerate(signs[:, 0].tolist()):
        angle = sign * amount
        matrix = {
            "shear": np.array([[1, -math.sin(angle)], [0, math.cos(angle)]]),
            "rotate": np.array(
                [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
            ),
            "scale": np.eye(2) / amount,
        }[kind]
        wanted = warped(x[number, 0].numpy(), matrix)
        np.testing.assert_allclose(found[number, 0].numpy(), wanted, atol=1e-9)
    assert kind == "scale" or len(signs.unique()) == 2


def test_translation_goes_to_all_four_corners() -> None:
    x = torch.zeros(64, 1, 28, 28)
    x[:, :, 13, 13] = 1
    found = corrupt(x, "translate", 3, suite="mnist-c")
    assert {tuple(place) for place in found.nonzero()[:, 2:].tolist()} == {
        (10, 10), (10, 16), (16, 10), (16, 16)
    }  # fmt: skip
    assert float(found.sum()) == 64


# Drawings


def published_line(c0: float, r0: float, c1: float, r1: float) -> Picture:
    if c1 == c0:
        return np.zeros((28, 28))
    columns, rows = np.meshgrid(np.arange(28.0), np.arange(28.0))
    line = r0 + (r1 - r0) / (c1 - c0) * (columns - c0)
    bright = np.clip(np.log(1 - np.clip(np.abs(rows - line), 0, 2.3 - 1e-10) / 2.3) + 1, 0, 1)
    bright[:, : math.floor(c0)] = 0
    bright[:, math.ceil(c1) :] = 0
    return bright


def test_dotted_lines_are_the_published_ones() -> None:
    x = digits()
    found = dotted_line(x, streams(len(x)), 1.0).clamp(0, 1)
    ends = (streams(len(x)).uniform(x[:, 0, 0, :2]) * 27).floor().tolist()
    for number, (left, right) in enumerate(ends):
        line = published_line(0, left, 27, right)
        for column in range(28):
            if column // 2 % 2 == 0:
                line[:, column] = 0
        wanted = np.clip(x[number, 0].numpy() + line, 0, 1)
        np.testing.assert_allclose(found[number, 0].numpy(), wanted, atol=1e-9)


def test_zigzags_are_the_published_ones() -> None:
    x = digits(12)
    found = zigzag(x, streams(len(x)), 1.0).clamp(0, 1)
    chance = streams(len(x)).uniform(x[:, 0, 0, :2])
    for number, (first, second) in enumerate(chance.tolist()):
        start, rise = math.floor(27 * first), math.floor(10 * second) - 5
        angle = math.atan(rise / 23)
        length = 23 / math.cos(angle)
        corners = [(0.0, 0.0)]
        for turn in range(int((length - 2) // 4) + 1):
            corners.append((4 * turn + 2, 2 * (-1) ** turn))
        corners.append((length, corners[-1][1] / (2 * (length - 4 * (length // 4)))))
        turned = [
            (2 + a * math.cos(angle) - b * math.sin(angle),
             start + a * math.sin(angle) + b * math.cos(angle))
            for a, b in corners
        ]  # fmt: skip
        wanted = x[number, 0].numpy()
        for here, there in pairwise(turned):
            wanted = np.clip(wanted + published_line(*here, *there), 0, 1)
        np.testing.assert_allclose(found[number, 0].numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize("severity", [1, 4, 5])
def test_spatter_is_the_published_one(severity: int) -> None:
    x = digits()
    mean, deviation, sigma, least, edge = MNIST["spatter"][0][severity - 1]
    found = spatter(x, streams(len(x)), 1.0, mean, deviation, sigma, least, edge)
    noise = streams(len(x)).normal(x)
    for number in range(len(x)):
        liquid = mean + deviation * noise[number, 0].numpy()
        liquid = ndimage.gaussian_filter(liquid, sigma, mode="mirror")
        cover = ndimage.gaussian_filter((liquid > least).astype(float), edge, mode="mirror")
        cover[cover < 0.8] = 0
        wanted = x[number, 0].numpy() * (1 - cover) + 63 / 255 * cover
        np.testing.assert_allclose(found[number, 0].numpy(), wanted, atol=1e-9)


def test_stripes_invert_the_outer_quarters() -> None:
    x = digits(1)
    found = corrupt(x, "stripe", 1, suite="mnist-c")[0, 0].numpy()
    wanted = x[0, 0].numpy().copy()
    wanted[:, :7] = 1 - wanted[:, :7]
    wanted[:, 21:] = 1 - wanted[:, 21:]
    np.testing.assert_array_equal(found, wanted)


def published_edges(image: Picture) -> Picture:
    """Canny's detector pixel by pixel, as scikit-image has it."""
    inside = ndimage.gaussian_filter(np.ones_like(image), 1.0, mode="constant")
    smooth = ndimage.gaussian_filter(image, 1.0, mode="constant") / inside
    down, along = ndimage.sobel(smooth, 0), ndimage.sobel(smooth, 1)
    strength = np.hypot(down, along)
    ridge = np.zeros(image.shape, dtype=bool)
    for row in range(1, image.shape[0] - 1):
        for column in range(1, image.shape[1] - 1):
            y, x, here = down[row, column], along[row, column], strength[row, column]
            if here == 0:
                continue
            sign = 1 if x * y >= 0 else -1
            straight, slanted = ((1, 0), (1, sign)) if abs(y) >= abs(x) else ((0, 1), (sign, 1))
            part = min(abs(x), abs(y)) / max(abs(x), abs(y))
            ridge[row, column] = all(
                strength[row + way * slanted[0], column + way * slanted[1]] * part
                + strength[row + way * straight[0], column + way * straight[1]] * (1 - part)
                <= here
                for way in (1, -1)
            )
    parts = np.zeros(image.shape, dtype=int)
    ndimage.label(ridge & (strength >= 0.1), np.ones((3, 3)), output=parts)
    strong = [part for part in range(1, parts.max() + 1) if strength[parts == part].max() >= 0.2]
    return np.isin(parts, strong)


def test_edges_are_those_of_canny() -> None:
    x = digits() * torch.linspace(0.05, 1, 6, dtype=torch.float64)[:, None, None, None]
    found = canny_edges(x, streams(len(x)), 1.0)
    assert set(found.unique().tolist()) == {0.0, 1.0}
    for number in range(len(x)):
        wanted = published_edges(x[number, 0].numpy())
        assert (found[number, 0].bool().numpy() == wanted).mean() > 0.998
    assert float(found[0].mean()) < float(found[5].mean())


# Clouds


def published_cloud(side: int, decay: float, random: np.random.Generator) -> Picture:
    cloud, step, wibble = np.zeros((side, side)), side, 100.0

    def fill(first_row: int, first_column: int, neighbours: list[tuple[int, int]]) -> None:
        rows, columns = np.arange(first_row, side, step), np.arange(first_column, side, step)
        around = sum(
            cloud[np.ix_((rows + down) % side, (columns + along) % side)]
            for down, along in neighbours
        )
        noise = random.uniform(-wibble, wibble, (len(rows), len(columns)))
        cloud[np.ix_(rows, columns)] = around / 4 + wibble * noise

    while step >= 2:
        half = step // 2
        fill(half, half, [(-half, -half), (-half, half), (half, -half), (half, half)])
        for first in ((0, half), (half, 0)):
            fill(*first, [(-half, 0), (half, 0), (0, -half), (0, half)])
        step, wibble = half, wibble / decay
    cloud -= cloud.min()
    return cloud / cloud.max()


@pytest.mark.parametrize("suite", ["cifar-10-c", "mnist-c"])
def test_clouds_are_like_the_published_ones(suite: str) -> None:
    """Mean, deviation and roughness of many clouds."""
    decay, side, map_side = (2, 32, 32) if suite == "cifar-10-c" else (1.4, 28, 256)
    random = np.random.default_rng(0)
    wanted = np.stack([published_cloud(map_side, decay, random)[:side, :side] for _ in range(200)])
    x = torch.ones(300, 1, side, side, dtype=torch.float64)
    if suite == "mnist-c":
        found = distant_fog(x, streams(300), 1.0, 1.0, decay)[:, 0]
    else:
        found = corrupt(x, "fog", 4)[:, 0]
    cloud = (found * 2 - 1).numpy()  # density 1 on white: (1 + cloud) / 2
    assert cloud.mean() == pytest.approx(wanted.mean(), abs=0.03)
    means, deviations = cloud.mean((1, 2)), cloud.std((1, 2))
    assert means.std() == pytest.approx(wanted.mean((1, 2)).std(), rel=0.25)
    assert deviations.mean() == pytest.approx(wanted.std((1, 2)).mean(), rel=0.1)
    rough = [np.abs(np.diff(each, axis=2)).mean() for each in (cloud, wanted)]
    assert rough[0] == pytest.approx(rough[1], rel=0.05)


# What holds for all of them


@pytest.mark.parametrize("kind", MNIST)
@pytest.mark.parametrize(
    "shape", [(1, 28, 28), (1, 8, 8), (3, 48, 64), (1, 2, 3), (3, 1, 1), (1, 12, 90)]
)
def test_mnist_c_for_any_size(kind: str, shape: tuple[int, ...]) -> None:
    x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1))
    severity = len(MNIST_C[kind].parameters)
    found = corrupt(x, kind, severity, suite="mnist-c")
    assert found.shape == x.shape
    assert found.dtype == x.dtype
    assert bool(((found >= 0) & (found <= 1)).all())
    few = corrupt(x[1:], kind, severity, suite="mnist-c", index=torch.tensor([1, 2]))
    torch.testing.assert_close(few, found[1:], rtol=0, atol=1e-6)
    assert not torch.equal(found, x) or min(shape[1:]) < 3


@pytest.mark.parametrize("kind", SUITES["imagenet-c"].kinds)
def test_imagenet_c_at_its_size_and_below(kind: str) -> None:
    size = (20, 28) if kind in ("elastic", "glass-blur", "defocus-blur") else (224, 224)
    x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
    found = corrupt(x, kind, 4, suite="imagenet-c")
    assert bool(((found >= 0) & (found <= 1)).all())
    assert not torch.equal(found, x)


@pytest.mark.parametrize("pixel", [0.5, 1.0, 3.0])
def test_smooth_noise_is_as_strong_at_any_size(pixel: float) -> None:
    noise = torch.randn(1, 1, 300, 300, generator=torch.Generator().manual_seed(0))
    published = float(smooth_noise(noise, 1.5, 1.0).std())
    assert float(smooth_noise(noise, 1.5, pixel).std()) == pytest.approx(published, rel=0.06)


@pytest.mark.parametrize(
    ("kind", "severity", "suite", "fragments"),
    [
        ("zigzag", 1, None, ["'zigzag' is unknown in cifar-10-c"]),
        ("zigzag", 2, "mnist-c", ["severity of zigzag is 2", "expected 1, as there is no other"]),
        ("fog", 1, "mnist", ["'mnist' is unknown", "'mnist-c'"]),
    ],
)
def test_mistakes(kind: str, severity: int, suite: str | None, fragments: list[str]) -> None:
    with pytest.raises(ValueError, match=r"expected|unknown") as error:
        corrupt(torch.rand(1, 1, 28, 28), kind, severity, suite=suite)
    assert all(fragment in str(error.value) for fragment in fragments)
