"""Augmentation: known answers, and what holds for every one."""

import math
from inspect import isabstract
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

import brolly
from brolly.cli._main import run
from brolly.data import (
    Affine,
    AugMix,
    Batches,
    ColourJitter,
    Crop,
    Cutout,
    Erasing,
    Flip,
    ImageAugmentation,
    RandAugment,
    Rotation,
    Shift,
    augment,
)
from brolly.data.augmentation._operations import _photometric
from brolly.data.augmentation._warp import Warped, affine

GEOMETRIC = [
    Shift(3, fill=0.25),
    Flip(),
    Flip(axis="vertical"),
    Crop(scale=(0.3, 1.0)),
    Rotation(40.0, fill=0.25),
    Affine(degrees=20.0, translate=0.2, scale=(0.7, 1.3), shear=15.0, fill=0.25),
]
PHOTOMETRIC = [
    ColourJitter(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.2),
    Cutout(5),
    Erasing(),
]
MOVABLE = [*GEOMETRIC, *PHOTOMETRIC, RandAugment(3)]
ALL = [*MOVABLE, AugMix()]


def named(augmentation: ImageAugmentation) -> str:
    return type(augmentation).__name__ + getattr(augmentation, "axis", "")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, *shape: int) -> torch.Tensor:
    return torch.rand(count, *shape, generator=seeded(1))


@pytest.mark.parametrize("augmentation", ALL, ids=named)
@pytest.mark.parametrize("channels", [1, 3])
def test_what_holds_for_every_augmentation(augmentation, channels) -> None:
    x = images(40, channels, 21, 18)
    kept, state = x.clone(), torch.get_rng_state()
    out = augmentation(x, seeded())
    assert torch.equal(out, augmentation(x, seeded()))
    assert not torch.equal(out, augmentation(x, seeded(1)))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, kept)
    assert (out.shape, out.dtype) == (x.shape, x.dtype)
    assert 0 <= out.min() <= out.max() <= 1

    # One image forty times: each is changed in its own way.
    same = x[:1].expand(40, -1, -1, -1)
    different = augmentation(same, seeded()).unique(dim=0)
    assert len(different) >= (2 if isinstance(augmentation, Flip) else 15)


@pytest.mark.parametrize("augmentation", ALL, ids=named)
def test_a_white_image_stays_in_bounds(augmentation) -> None:
    assert augmentation(torch.ones(30, 3, 17, 17), seeded()).max() <= 1


@pytest.mark.parametrize(
    "augmentation",
    [
        Shift(0),
        Flip(0.0),
        Crop(scale=(1.0, 1.0), ratio=(1.0, 1.0)),
        Rotation(0.0),
        Affine(),
        ColourJitter(),
        Erasing(probability=0.0),
    ],
    ids=named,
)
def test_no_strength_is_no_change(augmentation) -> None:
    x = images(4, 3, 16, 16)
    assert torch.equal(augmentation(x, seeded()), x)


def test_rand_augment_without_magnitude_only_spreads_values() -> None:
    x = images(200, 3, 16, 16)
    x[:, :, 0, 0], x[:, :, 0, 1] = 0, 1  # so that autocontrast changes nothing either
    out = RandAugment(n=1, magnitude=0.0)(x, seeded())
    changed = (out - x).abs().flatten(1).amax(1) > 1e-6
    assert 2 <= changed.sum() <= 40  # equalize, one of 14


# Geometry


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_counter_clockwise(quarters) -> None:
    x = images(3, 2, 6, 6)
    move = Warped(affine(3, degrees=90.0 * quarters), 0.0)
    torch.testing.assert_close(move.images(x), x.rot90(quarters, (2, 3)), rtol=0, atol=1e-5)
    masks = (x[:, 0] * 10).long()
    assert torch.equal(move.masks(masks, -1), masks.rot90(quarters, (1, 2)))


def test_a_shift_by_whole_pixels_moves_them() -> None:
    x = images(1, 1, 5, 7)
    moved = Warped(affine(1, shift=(2.0, -1.0)), 0.5).images(x)
    expected = torch.full_like(x, 0.5)
    expected[:, :, :4, 2:] = x[:, :, 1:, :5]
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-5)


def test_flips_mirror() -> None:
    x = images(50, 1, 4, 5)
    for axis, mirrored in (("horizontal", x.flip(3)), ("vertical", x.flip(2))):
        out = Flip(axis=axis)(x, seeded())
        is_mirrored = (out == mirrored).flatten(1).all(1)
        assert torch.equal(out[~is_mirrored], x[~is_mirrored])
        assert 15 <= is_mirrored.sum() <= 35
        assert torch.equal(Flip(1.0, axis)(x, seeded()), mirrored)


def test_rotation_is_uniform_up_to_its_degrees() -> None:
    matrices = Rotation(60.0).draw(torch.ones(4000, 1, 2, 2), seeded()).matrices
    degrees = torch.rad2deg(torch.atan2(matrices[:, 0, 1], matrices[:, 0, 0]))
    assert -60 <= degrees.min() < -59
    assert 59 < degrees.max() <= 60
    assert abs(degrees.mean()) < 2
    assert degrees.abs().mean() == pytest.approx(30, abs=1)


def test_affine_stays_within_its_limits() -> None:
    x = torch.ones(4000, 1, 10, 20)
    matrices = Affine(translate=0.1, scale=(0.5, 2.0)).draw(x, seeded()).matrices
    scales, shifts = matrices[:, 0, 0], matrices[:, :, 2].abs().amax(0)
    assert 0.5 <= scales.min() < 0.51
    assert 1.99 < scales.max() <= 2
    assert torch.equal(scales, matrices[:, 1, 1])
    assert shifts.tolist() == pytest.approx([2, 1], rel=0.01)
    sheared = Affine(shear=45.0).draw(x, seeded()).matrices
    assert sheared[:, 0, 1].abs().max() == pytest.approx(1, rel=0.01)
    assert not sheared[:, 1, 0].any()


def test_crops_show_a_part_of_the_image() -> None:
    ramp = torch.linspace(0, 1, 30).expand(500, 1, 30, 30)
    seen = Crop(scale=(0.25, 0.25), ratio=(1.0, 1.0))(ramp, seeded())
    widths = seen[:, 0, 0, -1] - seen[:, 0, 0, 0]
    torch.testing.assert_close(widths, torch.full((500,), 14.5 / 29), rtol=0, atol=0.01)
    assert seen.min() < 0.02
    assert seen.max() > 0.98
    areas, ratios = [], []
    for matrix in Crop().draw(torch.ones(2000, 1, 40, 40), seeded()).matrices:
        areas.append(float(1 / (matrix[0, 0] * matrix[1, 1])))
        ratios.append(float(matrix[1, 1] / matrix[0, 0]))
    assert 0.08 <= min(areas) < 0.09
    assert 0.95 < max(areas) <= 1
    assert 0.75 - 1e-9 < min(ratios) < max(ratios) < 4 / 3 + 1e-9


def test_erasing_covers_one_rectangle_of_the_wanted_size() -> None:
    x = 1 + images(400, 2, 24, 30)
    out = Erasing(probability=0.5, scale=(0.1, 0.3), ratio=(0.5, 2.0), fill=0.0)(x, seeded())
    hit = 0
    for before, after in zip(x, out, strict=True):
        covered = after[0] == 0
        assert torch.equal(before[:, ~covered], after[:, ~covered])
        if not covered.any():
            continue
        hit += 1
        at = covered.nonzero()
        height, width = (at.amax(0) - at.amin(0) + 1).tolist()
        assert len(at) == height * width
        assert 0.08 < height * width / 720 < 0.33  # sides are rounded
        assert 0.4 < width / height < 2.5
    assert 160 <= hit <= 240


def test_erasing_with_noise() -> None:
    x = torch.full((200, 3, 16, 16), 2.0)
    out = Erasing(probability=1.0)(x, seeded())
    noise = out[out != 2]
    assert noise.mean() == pytest.approx(0.5, abs=0.02)
    assert noise.var() == pytest.approx(1 / 12, abs=0.01)
    assert ((out != 2).all(1) == (out != 2).any(1)).all()  # all channels of a pixel, or none
    assert (out[:, 0] != out[:, 1])[out[:, 0] != 2].all()


# Values


def pillow(levels: np.ndarray, change) -> torch.Tensor:
    return torch.from_numpy(np.array(change(Image.fromarray(levels)))).permute(2, 0, 1) / 255


@pytest.mark.parametrize(
    ("name", "amount", "change", "atol"),
    [
        ("autocontrast", 0.0, ImageOps.autocontrast, 1),
        ("equalize", 0.0, ImageOps.equalize, 0),
        ("posterize", 3.0, lambda image: ImageOps.posterize(image, 3), 0),
        ("solarize", 100 / 255, lambda image: ImageOps.solarize(image, 100), 0),
        ("colour", 1.6, lambda image: ImageEnhance.Color(image).enhance(1.6), 2),
        ("contrast", 0.3, lambda image: ImageEnhance.Contrast(image).enhance(0.3), 1),
        ("brightness", 1.6, lambda image: ImageEnhance.Brightness(image).enhance(1.6), 1),
        ("sharpness", 1.9, lambda image: ImageEnhance.Sharpness(image).enhance(1.9), 2),
    ],
)
def test_operations_agree_with_pillow(name, amount, change, atol) -> None:
    levels = np.random.default_rng(0).integers(20, 200, (24, 24, 3), dtype=np.uint8)
    x = torch.from_numpy(levels).permute(2, 0, 1)[None] / 255
    out = _photometric()[name](x, torch.tensor([amount])).clamp(0, 1)[0]
    assert (out - x[0]).abs().max() > 0.1
    torch.testing.assert_close(out, pillow(levels, change), rtol=0, atol=(atol + 0.01) / 255)


def test_brightness_multiplies_and_hue_turns() -> None:
    x = 0.5 * images(500, 3, 3, 3)
    factors = (ColourJitter(brightness=0.4)(x, seeded()) / x).flatten(1)
    torch.testing.assert_close(factors.amin(1), factors.amax(1), rtol=1e-4, atol=0)
    assert 0.6 <= factors.min() < 0.61
    assert 1.39 < factors.max() <= 1.4001
    red = torch.tensor([1.0, 0, 0])[None, :, None, None].expand(300, 3, 2, 2)
    turned = ColourJitter(hue=1 / 3)(red, seeded())
    assert torch.allclose(turned.amax(1), torch.ones(300, 2, 2), atol=1e-5)
    assert turned[:, 1:].amax(0).min() > 0.9  # up to pure green and pure blue, not beyond
    assert (turned[:, 1] * turned[:, 2]).max() < 1e-5


def test_saturation_and_hue_leave_grey_alone() -> None:
    x = images(5, 1, 8, 8)
    assert torch.equal(ColourJitter(saturation=0.9, hue=0.5)(x, seeded()), x)


def test_augmix_mixes_with_the_original() -> None:
    x = images(200, 3, 16, 16)
    out = AugMix(severity=0.1, width=1, depth=1, fill=0.5)(x, seeded())
    near = (out - x).abs().flatten(1).mean(1)
    assert (near < 0.02).float().mean() > 0.3  # barely moved
    everything = AugMix(alpha=0.001)(x, seeded())
    unmixed = (everything - x).abs().flatten(1).amax(1) < 1e-3
    assert 0.35 < unmixed.float().mean() < 0.7  # m is 0 or 1, each with half the probability


# Masks and boxes


@pytest.mark.parametrize("augmentation", MOVABLE, ids=named)
def test_masks_and_boxes_change_nothing_about_the_images(augmentation) -> None:
    x = images(20, 3, 16, 12)
    masks = torch.randint(4, (20, 16, 12), generator=seeded())
    boxes = torch.tensor([[1.0, 2, 8, 9], [0, 0, 12, 16]]).expand(20, 2, 4)
    out = augmentation.along(x, seeded(), masks=masks, boxes=boxes)
    assert torch.equal(out.x, augmentation(x, seeded()))
    assert out.masks.dtype == torch.int64
    assert set(out.masks.unique().tolist()) <= {-100, 0, 1, 2, 3}
    assert (out.boxes >= 0).all()
    assert (out.boxes <= torch.tensor([12, 16, 12, 16])).all()
    if augmentation in PHOTOMETRIC:
        assert torch.equal(out.masks, masks)
        assert torch.equal(out.boxes, boxes)


@pytest.mark.parametrize("augmentation", GEOMETRIC, ids=named)
def test_masks_and_boxes_follow_the_images(augmentation) -> None:
    """A bright ellipse, its mask and its box stay together."""
    rows, columns = torch.meshgrid(torch.arange(40), torch.arange(50), indexing="ij")
    ellipse = ((rows - 18.5) / 9) ** 2 + ((columns - 27.5) / 14) ** 2 <= 1
    at = ellipse.nonzero()
    (top, left), (bottom, right) = at.amin(0).tolist(), (at.amax(0) + 1).tolist()
    x = ellipse.float().expand(60, 1, 40, 50)
    boxes = torch.tensor([[left, top, right, bottom]], dtype=torch.float32).expand(60, 1, 4)
    out = augmentation.along(x, seeded(), masks=ellipse.long().expand(60, 40, 50), boxes=boxes)
    sure = (out.x[:, 0] < 0.02) | (out.x[:, 0] > 0.98)  # neither an edge nor filled
    assert sure.float().mean() > 0.5
    assert torch.equal(out.masks[sure], (out.x[:, 0] > 0.5).long()[sure])
    for mask, box in zip(out.masks, out.boxes[:, 0], strict=True):
        at = (mask == 1).nonzero()
        found = torch.cat([at.amin(0).flip(0), (at.amax(0) + 1).flip(0)]).float()
        inside = torch.stack([found[:2] - box[:2], box[2:] - found[2:]])
        assert inside.min() > -1  # the box holds the object ...
        if isinstance(augmentation, Shift | Flip | Crop):
            assert inside.max() < 2  # ... and no more, where nothing turns


def test_whole_pixel_moves_are_exact_along() -> None:
    x = torch.arange(48.0).reshape(1, 1, 6, 8).expand(30, 1, 6, 8)
    for augmentation in (Shift(2, fill=-1.0), Flip(), Flip(axis="vertical")):
        out = augmentation.along(x, seeded(), masks=x[:, 0].long(), ignore=-1)
        assert torch.equal(out.x[:, 0].long(), out.masks)


def test_outside_is_ignored() -> None:
    masks = torch.ones(30, 12, 12, dtype=torch.int64)
    x = torch.ones(30, 1, 12, 12)
    for ignore in (-100, 255):
        out = Affine(scale=(0.5, 0.5)).along(x, seeded(), masks=masks, ignore=ignore)
        assert out.masks.unique().tolist() == sorted([ignore, 1])
        assert (out.masks == 1).sum() == 30 * 36


def test_boxes_that_leave_are_empty() -> None:
    box = torch.tensor([[[0.0, 0, 2, 2]]])
    gone = Warped(affine(1, shift=(-5.0, 0.0)), 0.0).boxes(box, 8, 8)
    assert gone.tolist() == [[[0, 0, 0, 2]]]
    turned = Warped(affine(1, degrees=45.0), 0.0).boxes(torch.tensor([[[3.0, 3, 5, 5]]]), 8, 8)
    half = math.sqrt(2)
    torch.testing.assert_close(turned[0, 0], torch.tensor([4 - half, 4 - half, 4 + half, 4 + half]))


def test_a_sequence_is_what_batches_do() -> None:
    x, masks = images(30, 3, 16, 16), torch.zeros(30, 16, 16, dtype=torch.int64)
    steps = [Flip(), Rotation(20.0), ColourJitter(brightness=0.3), Cutout(4)]
    generator, turn = seeded(), x
    for step in steps:
        turn = step(turn, generator)
    assert torch.equal(augment(steps, x, seeded(), masks=masks).x, turn)
    assert torch.equal(augment(steps, x, seeded()).x, turn)
    assert torch.equal(augment([lambda x, generator: 1 - x], x, seeded()).x, 1 - x)


def test_augmented_batches() -> None:
    data = brolly.load_data("digits")
    batches = Batches(data.train, 64, generator=seeded(), augment=[RandAugment(), Erasing()])
    first = [batch.x for batch in batches]
    again = Batches(data.train, 64, generator=seeded(), augment=[RandAugment(), Erasing()])
    assert all(torch.equal(*pair) for pair in zip(first, (b.x for b in again), strict=True))


# What is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flip(1.5), "probability is 1.5"),
        (lambda: Shift(-1), "pixels is -1"),
        (lambda: Rotation(200.0), "degrees is 200"),
        (lambda: Affine(degrees=-1.0), "degrees is -1"),
        (lambda: Affine(translate=2.0), "translate is 2"),
        (lambda: Affine(scale=(0.0, 1.0)), r"scale is \(0.0, 1.0\)"),
        (lambda: Affine(shear=90.0), "shear is 90"),
        (lambda: Crop(scale=(0.5, 1.5)), "above 0 and at most 1"),
        (lambda: Crop(ratio=(2.0, 1.0)), "ratio is"),
        (lambda: Erasing(probability=-0.1), "probability is -0.1"),
        (lambda: ColourJitter(contrast=-1.0), "contrast is -1"),
        (lambda: ColourJitter(hue=0.6), "hue is 0.6"),
        (lambda: RandAugment(n=0), "n is 0"),
        (lambda: RandAugment(magnitude=27.0), "divide by 3"),
        (lambda: AugMix(severity=11.0), "severity is 11"),
        (lambda: AugMix(width=0), "width is 0"),
        (lambda: AugMix(depth=0), "depth is 0"),
        (lambda: AugMix(alpha=0.0), "alpha is 0"),
    ],
)
def test_bad_arguments(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_inputs() -> None:
    x = torch.ones(2, 1, 8, 8)
    masks, boxes = torch.zeros(2, 8, 8, dtype=torch.int64), torch.zeros(2, 1, 4)
    with pytest.raises(ValueError, match="expected images"):
        Flip()(torch.ones(2, 8), seeded())
    with pytest.raises(ValueError, match=r"expected torch\.int64 of shape \(2, 8, 8\)"):
        Flip().along(x, seeded(), masks=masks.float())
    with pytest.raises(ValueError, match=r"expected floating point of shape \(2, n, 4\)"):
        Flip().along(x, seeded(), boxes=boxes[:1])
    with pytest.raises(ValueError, match="no one place to go"):
        AugMix().along(x, seeded(), masks=masks)
    with pytest.raises(ValueError, match="derive it from Geometric or Photometric"):
        augment([lambda x, generator: x], x, seeded(), boxes=boxes)


# Recipes and preview


def test_recipes_build_them() -> None:
    entries = {
        "{name: shift, pixels: 1}": Shift(1),
        "{name: flip, axis: vertical}": Flip(axis="vertical"),
        "{name: crop, scale: [0.5, 1], ratio: [1, 1]}": Crop((0.5, 1.0), (1.0, 1.0)),
        "{name: rotation, degrees: 10}": Rotation(10.0),
        "{name: affine, translate: 1/8, scale: [0.9, 1.1]}": Affine(0.0, 0.125, (0.9, 1.1)),
        "{name: colour-jitter, hue: 0.1}": ColourJitter(hue=0.1),
        "{name: cutout, size: 3}": Cutout(3),
        "{name: erasing, fill: 0}": Erasing(fill=0.0),
        "{name: rand-augment, magnitude: 5}": RandAugment(magnitude=5.0),
        "{name: augmix, depth: 2}": AugMix(depth=2),
    }
    recipe = brolly.Recipe.load("digits-plain", [f"data.augment=[{', '.join(entries)}]"])
    assert [entry.build() for entry in recipe.data.augment] == list(entries.values())


def test_all_of_them_are_tested() -> None:
    public = [value for value in vars(brolly.data.augmentation).values() if isinstance(value, type)]
    whole = [one for one in public if issubclass(one, ImageAugmentation) and not isabstract(one)]
    assert {type(one) for one in ALL} == set(whole)


def sheet(path: Path | str = "preview.png") -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.array(picture)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_preview_of_augmentation(here, capsys) -> None:
    options = ["--count", "3", "--augment", "{name: rotation, degrees: 15}", "--augment", "flip"]
    assert run(["data", "preview", "digits", *options]) == 0
    assert capsys.readouterr().out == "preview.png: 10 classes, 3 draws of an example each\n"
    first = sheet()
    assert first.shape[0] > 10 * 96  # ten rows, each pixel of 8 x 8 images twelve times as large
    assert 4 * 96 < first.shape[1] < 5 * 96 + 40
    # The first column holds the original: enlarged by a whole factor, so in blocks of one value.
    data = brolly.load_data("digits")
    block = first[-14 - 4 - 96 : -14 - 4, -14 - 4 * 100 : -14 - 4 * 100 + 96, 0]
    small = torch.from_numpy(block[6::12, 6::12].copy())
    assert np.array_equal(block, small.numpy().repeat(12, 0).repeat(12, 1))
    nines = (data.train.scaled(data.train.inputs[data.train.labels == 9]) * 255).round().byte()
    assert (nines[:, 0] == small).flatten(1).all(1).any()

    assert run(["data", "preview", "digits", *options, "--output", "again.png"]) == 0
    assert np.array_equal(sheet("again.png"), first)
    assert run(["data", "preview", "digits", *options, "--seed", "1"]) == 0
    assert not np.array_equal(sheet(), first)


def test_preview_of_examples_by_path(here, capsys) -> None:
    x = torch.randint(256, (40, 3, 300, 200), dtype=torch.uint8, generator=seeded()).numpy()
    np.savez(
        "mine.npz", x_train=x, y_train=np.arange(40) % 2, x_test=x[:4], y_test=np.arange(4) % 2
    )
    command = ["data", "preview", "mine.npz", "--count", "5", "--output", "sheets/out.png"]
    assert run(command) == 0
    assert capsys.readouterr().out == "sheets/out.png: 2 classes, up to 5 examples each\n"
    assert sheet("sheets/out.png").shape[0] > 2 * 192
    assert 5 * 128 < sheet("sheets/out.png").shape[1] < 6 * 128 + 100


def test_preview_of_many_classes_with_long_names(here) -> None:
    x, y = images(120, 1, 4, 6), torch.arange(120) % 60
    names = tuple(
        f"a class with a name that nobody wants to read to its end, {i}" for i in range(60)
    )
    data = brolly.Dataset.from_tensors("mine", (x, y), (x, y), classes=names, validation=0.0)
    some = data.train.select((y != 7).nonzero()[:, 0])  # a class without examples has an empty row
    assert brolly.data.preview(some, "out.png", augmentations=[Flip()], count=1) == 50
    assert sheet("out.png").shape[1] < 450


def test_what_preview_refuses(here, capsys) -> None:
    def error(*words: str) -> str:
        assert run(["data", "preview", *words]) == 2
        return capsys.readouterr().err

    assert "Did you mean 'rotation'" in error("digits", "--augment", "{name: rotaton}")
    assert "augment.0.degree: unknown key" in error(
        "digits", "--augment", "{name: rotation, degrees: 3, degree: 3}"
    )
    assert "is not YAML" in error("digits", "--augment", "{name: rotation")
    assert "count is 0" in error("digits", "--count", "0")
    assert "Unused Tokens: ['2', '3']" in error("digits", "--size", "1", "2", "3")
    assert "is unknown" in error("digit")
    assert list(here.iterdir()) == []
    table = brolly.Dataset.from_tensors(
        "mine", (torch.rand(9, 4), torch.arange(9) % 2), (torch.rand(2, 4), torch.arange(2))
    )
    with pytest.raises(ValueError, match="expected images"):
        brolly.data.preview(table.train, "out.png")
    with pytest.raises(ValueError, match="is empty"):
        brolly.data.preview(brolly.load_data("digits", validation=0.0).validation, "out.png")
