"""Corruptions against oracles, and what holds for all of them."""

import io
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from brolly._draws import Draws
from brolly.data import CORRUPTIONS, SEVERITIES, corrupt, load_data
from brolly.data.corruptions._digital import elastic
from brolly.data.corruptions._grid import blur, mirrored, sample, streak

KINDS = list(CORRUPTIONS)
#: Where nothing is random.
STILL = ["defocus-blur", "zoom-blur", "brightness", "contrast", "pixelate", "jpeg"]
#: Published parameters under which the distance from the clean image does not grow: the affine
#: part of elastic shrinks, glass is shuffled less often at 3 than it is blurred more, and frost
#: darkens the picture as it adds ice.
UNEVEN = ["elastic", "glass-blur", "frost"]


def pictures(count: int = 16, channels: int = 3, height: int = 32, width: int = 32) -> Tensor:
    """Random smooth pictures."""
    noise = torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(0))
    smooth = blur(noise, 2.0)
    low, high = smooth.amin((1, 2, 3), keepdim=True), smooth.amax((1, 2, 3), keepdim=True)
    return (smooth - low) / (high - low).clamp_min(1e-6)


def distances(x: Tensor, kind: str) -> list[float]:
    changes = (corrupt(x, kind, severity) - x for severity in SEVERITIES)
    return [float(change.flatten(1).norm(dim=1).mean()) for change in changes]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_there_are_fifteen_types_of_five_severities() -> None:
    assert len(KINDS) == 15
    assert all(len(corruption.parameters) == 5 for corruption in CORRUPTIONS.values())
    groups = [corruption.group for corruption in CORRUPTIONS.values()]
    assert [groups.count(group) for group in ("noise", "blur", "weather", "digital")] == [
        3,
        4,
        4,
        4,
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8), (3, 17, 40), (1, 2, 3), (3, 1, 1)]
)
def test_any_size_stays_in_bounds(kind: str, shape: tuple[int, int, int]) -> None:
    x = pictures(4, *shape)
    for severity in (1, 5):
        corrupted = corrupt(x, kind, severity)
        assert corrupted.shape == x.shape
        assert corrupted.dtype == x.dtype
        assert bool(((corrupted >= 0) & (corrupted <= 1)).all())
    assert corrupt(x[:1].double(), kind, 3).dtype == torch.float64
    assert corrupt(x[:0], kind, 3).shape == (0, *shape)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_does_not_depend_on_its_batch(kind: str) -> None:
    x, index = pictures(), torch.arange(16) + 100
    before = torch.get_rng_state()
    whole = corrupt(x, kind, 4, generator=seeded(1), index=index)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(corrupt(x, kind, 4, generator=seeded(1), index=index), whole)
    rows = torch.tensor([5, 0, 11])
    few = corrupt(x[rows], kind, 4, generator=seeded(1), index=index[rows])
    torch.testing.assert_close(few, whole[rows], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_randomness_comes_from_generator_and_index(kind: str) -> None:
    x = pictures(2)
    ways = [
        corrupt(x, kind, 3),
        corrupt(x, kind, 3, generator=seeded(7)),
        corrupt(x, kind, 3, index=torch.tensor([8, 9])),
    ]
    alike = [torch.equal(ways[0], other) for other in ways[1:]]
    assert alike == [kind in STILL] * 2


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in UNEVEN])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28)])
def test_severity_grows_with_the_distance(kind: str, shape: tuple[int, int, int]) -> None:
    found = distances(pictures(64, *shape), kind)
    # Motion blur of 3 and 4 differs in the length of a line whose end weighs next to nothing.
    assert all(a <= b * (1 + 1e-4) for a, b in pairwise(found)), found
    assert found[-1] > 1.5 * found[0]


def test_severity_where_the_distance_does_not_tell() -> None:
    x = pictures(64)
    glass, elastic = distances(x, "glass-blur"), distances(x, "elastic")
    assert glass[4] > glass[0]
    assert elastic[0] > elastic[4]  # the affine part, 0.08 to 0.03 of the side
    likeness = []
    for severity in SEVERITIES:
        pairs = torch.stack([x.flatten(1), corrupt(x, "frost", severity).flatten(1)], 1)
        likeness.append(float(torch.stack([torch.corrcoef(pair)[0, 1] for pair in pairs]).mean()))
    assert likeness == sorted(likeness, reverse=True)


@pytest.mark.parametrize("kind", ["defocus-blur", "motion-blur", "zoom-blur", "glass-blur",
                                  "contrast", "elastic", "pixelate"])  # fmt: skip
def test_nothing_moves_on_an_even_image(kind: str) -> None:
    x = torch.full((2, 3, 24, 24), 100 / 255)
    torch.testing.assert_close(corrupt(x, kind, 5), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("severity", "scale"), [(1, 0.04), (3, 0.08), (5, 0.10)])
def test_gaussian_noise_has_the_published_deviation(severity: int, scale: float) -> None:
    noise = corrupt(torch.full((16, 3, 64, 64), 0.5), "gaussian-noise", severity) - 0.5
    assert float(noise.std()) == pytest.approx(scale, rel=0.01)
    assert float(noise.mean()) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(("severity", "photons"), [(1, 500), (5, 50)])
def test_shot_noise_counts_photons(severity: int, photons: int) -> None:
    counts = corrupt(torch.full((16, 1, 64, 64), 0.4), "shot-noise", severity) * photons
    torch.testing.assert_close(counts, counts.round(), rtol=0, atol=1e-3)
    assert float(counts.mean()) == pytest.approx(0.4 * photons, rel=0.01)
    assert float(counts.var()) == pytest.approx(0.4 * photons, rel=0.03)


@pytest.mark.parametrize(("severity", "part"), [(1, 0.01), (5, 0.07)])
def test_impulse_noise_is_salt_and_pepper(severity: int, part: float) -> None:
    x = corrupt(torch.full((16, 3, 64, 64), 0.5), "impulse-noise", severity)
    sure = 4 * math.sqrt(part / 2 / x.numel())  # four standard deviations of a binomial
    assert float((x == 0).double().mean()) == pytest.approx(part / 2, abs=sure)
    assert float((x == 1).double().mean()) == pytest.approx(part / 2, abs=sure)
    assert bool(((x == 0) | (x == 1) | (x == 0.5)).all())


@pytest.mark.parametrize(("severity", "part"), [(1, 0.75), (5, 0.15)])
def test_contrast_keeps_a_part_of_the_deviation(severity: int, part: float) -> None:
    x = pictures() * 0.5 + 0.25
    torch.testing.assert_close(
        corrupt(x, "contrast", severity).std((2, 3)), part * x.std((2, 3)), rtol=1e-4, atol=1e-6
    )


def test_brightness_raises_the_value_and_keeps_the_hue() -> None:
    import colorsys

    x = torch.tensor([[0.2, 0.4, 0.1], [0.9, 0.5, 0.5], [0.0, 0.0, 0.0], [1.0, 1.0, 0.3]])
    bright = corrupt(x[:, :, None, None], "brightness", 5)[:, :, 0, 0]
    for before, after in zip(x.tolist(), bright.tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        wanted = colorsys.hsv_to_rgb(hue, saturation, min(value + 0.3, 1))
        assert after == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("severity", "quality"), [(1, 80), (5, 40)])
def test_jpeg_is_that_of_pillow(channels: int, severity: int, quality: int) -> None:
    pixels = (pictures(1, channels) * 255).round().to(torch.uint8)
    array = pixels[0].permute(1, 2, 0).numpy().squeeze()
    file = io.BytesIO()
    Image.fromarray(array).save(file, "JPEG", quality=quality)
    wanted = torch.from_numpy(np.array(Image.open(file)).reshape(32, 32, channels))
    found = (corrupt(pixels / 255, "jpeg", severity)[0] * 255).round().to(torch.uint8)
    assert torch.equal(found, wanted.permute(2, 0, 1))


@pytest.mark.parametrize(("severity", "part"), list(zip(SEVERITIES, (0.95, 0.9, 0.85, 0.75, 0.65),
                                                        strict=True)))  # fmt: skip
@pytest.mark.parametrize("size", [28, 32, 33])
def test_pixelate_is_that_of_pillow(severity: int, part: float, size: int) -> None:
    x = pictures(1, 1, size, size)
    image, few = Image.fromarray(x[0, 0].numpy()), int(size * part)
    small = image.resize((few, few), Image.Resampling.BOX)
    wanted = torch.from_numpy(np.array(small.resize((size, size), Image.Resampling.BOX)))
    torch.testing.assert_close(corrupt(x, "pixelate", severity)[0, 0], wanted, rtol=0, atol=1e-5)


def test_fog_fades_to_the_range_of_the_image() -> None:
    x = pictures() * 0.6
    foggy = corrupt(x, "fog", 5)
    brightest = x.amax((1, 2, 3))
    assert bool((foggy.amax((1, 2, 3)) <= brightest + 1e-6).all())
    # The cloud spans [0, 1] and weighs 1.5, so this is what any pixel can at most become.
    clearest = x * (brightest / (brightest + 1.5))[:, None, None, None]
    assert bool((foggy >= clearest - 1e-6).all())


def test_blur_is_that_of_scipy() -> None:
    x = pictures(2, 1, 20, 31).double()
    wanted = np.stack([gaussian_filter(image, 1.7, mode="mirror", truncate=4) for image in x[:, 0]])
    np.testing.assert_allclose(blur(x, 1.7)[:, 0].numpy(), wanted, atol=1e-12)
    assert torch.equal(blur(x, 0.0), x)


def test_positions_outside_are_mirrored() -> None:
    assert mirrored(torch.arange(-3, 7), 4).tolist() == [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]
    assert mirrored(torch.arange(-2, 3), 1).tolist() == [0] * 5


def test_sampling_at_the_pixels_and_between() -> None:
    x = pictures(2, 3, 5, 6)
    rows, columns = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), indexing="ij")
    rows, columns = rows.expand(2, 5, 6), columns.expand(2, 5, 6)
    assert torch.equal(sample(x, rows, columns), x)
    assert torch.equal(sample(x, rows, columns + 1)[..., :-1], x[..., 1:])
    halves = sample(x, rows + 0.5, columns)[..., :-1, :]
    torch.testing.assert_close(halves, (x[..., :-1, :] + x[..., 1:, :]) / 2)


def test_a_streak_runs_along_its_angle() -> None:
    point = torch.zeros(2, 1, 21, 21)
    point[:, :, 10, 10] = 1
    drawn = streak(point, 4, 3.0, torch.tensor([0.0, math.pi / 2]))
    torch.testing.assert_close(drawn.sum((1, 2, 3)), torch.ones(2))
    assert drawn[0, 0].nonzero()[:, 0].unique().tolist() == [10]
    assert drawn[1, 0].nonzero()[:, 1].unique().tolist() == [10]
    assert len(drawn[0, 0].nonzero()) == 9


def test_lengths_grow_with_the_side() -> None:
    x = pictures(4, 1, 32, 32)
    large = x.repeat_interleave(4, 2).repeat_interleave(4, 3)
    for kind in ("defocus-blur", "zoom-blur", "contrast", "brightness"):
        small = corrupt(x, kind, 5, suite="cifar-10-c")
        again = corrupt(large, kind, 5, suite="cifar-10-c")
        again = torch.nn.functional.avg_pool2d(again, 4)
        assert float((again - small).abs().mean()) < 0.35 * float((small - x).abs().mean()), kind


def test_elastic_moves_pixels_by_parts_of_the_side() -> None:
    moves = []
    for size in (32, 96):
        ramp = torch.linspace(0, 1, size).expand(32, 1, size, size)
        draws = Draws(0, torch.arange(32))
        moves.append(float((elastic(ramp, draws, size / 32, 3.2, 1.28, 0.0) - ramp).std()))
    assert moves[1] == pytest.approx(moves[0], rel=0.1)
    shear = elastic(ramp, Draws(0, torch.arange(32)), 3.0, 0.0, 0.0, 1.6) - ramp
    # Three corners of a square, two thirds of the side wide, move by up to a twentieth of the side.
    assert 0.02 < float(shear.std()) < 0.1


def test_snow_falls() -> None:
    snowy = corrupt(torch.zeros(32, 1, 32, 32), "snow", 4)
    down, along = (float(snowy.diff(dim=axis).abs().mean()) for axis in (2, 3))
    assert down < 0.8 * along


def test_types_draw_numbers_of_their_own() -> None:
    noise = corrupt(torch.full((32, 1, 32, 32), 0.5), "gaussian-noise", 1)
    snowy = corrupt(torch.zeros(32, 1, 32, 32), "snow", 1)
    both = torch.stack([noise.flatten(), snowy.flatten()])
    assert abs(float(torch.corrcoef(both)[0, 1])) < 4 / math.sqrt(noise.numel())


def test_digits_are_corrupted_too() -> None:
    split = load_data("digits").test
    x = split.scaled(split.read(torch.arange(8)))
    assert all(not torch.equal(corrupt(x, kind, 5), x) for kind in KINDS)


@pytest.mark.parametrize(
    ("images", "kind", "severity", "fragments"),
    [
        (torch.rand(1, 1, 8, 8), "gausian-noise", 1, ["Did you mean 'gaussian-noise'?"]),
        (torch.rand(1, 1, 8, 8), "fog", 0, ["severity of fog is 0", "1, 2, 3, 4 or 5"]),
        (torch.rand(1, 2, 8, 8), "fog", 1, ["(1, 2, 8, 8)", "1 or 3 channels"]),
        (torch.rand(1, 1, 8, 8) * 255, "fog", 1, ["span", "expected values in [0, 1]"]),
        (torch.rand(1, 1, 8, 8).half(), "fog", 1, ["float16", "x.float() / 255"]),
    ],
)
def test_mistakes(images: Tensor, kind: str, severity: int, fragments: list[str]) -> None:
    with pytest.raises(ValueError, match=r"expected|mean") as error:
        corrupt(images, kind, severity)
    assert all(fragment in str(error.value) for fragment in fragments)
