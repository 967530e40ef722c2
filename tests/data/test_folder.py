"""Folders of images: their layouts, what is decoded, and what is said of files that do not fit."""

import os
import pickle
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import PIL.Image
import pytest
import torch
from PIL import Image, ImageOps

from brolly.data import Reading, Stored, load_data
from brolly.data._images import Picture, open_images
from brolly.data._members import open_folder


def pixels(seed=0, height=6, width=5, channels=3):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(height=32, width=24):
    """An image that JPEG keeps well."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([4 * rows, 5 * columns, 2 * rows + 2 * columns], -1).astype(np.uint8)


def write(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def write_classes(root, classes=("cat", "dog"), count=5, name="{}.png", **options):
    for label, kind in enumerate(classes):
        for at in range(count):
            write(root / kind / name.format(at), pixels(10 * label + at), **options)


def load(path, **options):
    """The whole set in its order, and its labels."""
    data = load_data(path, **{"validation": 0, "test": 0, **options})
    return data.train.read(), data.train.labels


def damage(path, kept=0.6):
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])


def test_class_folders_are_one_set_that_is_cut(tmp_path):
    write_classes(tmp_path / "photos", count=10)
    data = load_data(tmp_path / "photos")
    splits = (data.train, data.validation, data.test)
    assert [len(split) for split in splits] == [14, 2, 4]
    assert (data.name, data.classes, data.shape) == ("photos", ("cat", "dog"), (3, 6, 5))
    found = {}
    for split in splits:
        found |= {image.numpy().tobytes(): int(y) for image, y in zip(split.read(), split.labels)}  # noqa: B905
    expected = {
        pixels(10 * y + at).transpose(2, 0, 1).tobytes(): y for y in (0, 1) for at in range(10)
    }
    assert found == expected


def test_classes_and_files_come_sorted(tmp_path):
    for kind, name, seed in [("b", "2", 3), ("b", "10", 2), ("a", "z", 1), ("a", "sub/y", 0)]:
        write(tmp_path / kind / f"{name}.png", pixels(seed))
    images, labels = load(tmp_path)
    assert labels.tolist() == [0, 0, 1, 1]
    for image, seed in zip(images, (0, 1, 2, 3), strict=True):
        assert np.array_equal(image.permute(1, 2, 0), pixels(seed))


@pytest.mark.parametrize("around", ["", "pets/"])
@pytest.mark.parametrize("third", ["val", "valid", "Validation", None])
def test_split_folders(tmp_path, around, third):
    root = tmp_path / "set"
    folders = {"train": 3, "test": 2} | ({third: 1} if third else {})
    for folder, count in folders.items():
        write_classes(root / around / folder, count=count)
    data = load_data(root, validation=0)
    assert [len(data.train), len(data.test)] == [6, 4]
    assert len(data.validation) == (2 if third else 0)
    assert data.test.labels.tolist() == [0, 0, 1, 1]


def test_a_single_split_folder_is_the_whole_set(tmp_path):
    write_classes(tmp_path / "test", count=10)
    data = load_data(tmp_path)
    assert [len(data.train), len(data.validation), len(data.test)] == [14, 2, 4]


def test_a_class_may_be_called_train(tmp_path):
    write_classes(tmp_path, classes=("bus", "train"), count=1)
    assert load_data(tmp_path, validation=0, test=0).classes == ("bus", "train")


def test_what_is_no_image_or_hidden_is_passed_over(tmp_path):
    write_classes(tmp_path, count=1)
    for name in (
        "cat/Thumbs.db",
        "cat/notes.txt",
        "cat/.9.png",
        "__MACOSX/x/1.png",
        ".git/a/1.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"no image")
    images, labels = load(tmp_path)
    assert len(images) == 2
    assert labels.tolist() == [0, 1]


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "tiff", "ppm", "webp", "PNG"])
def test_lossless_formats_come_back_exactly(tmp_path, suffix):
    write_classes(tmp_path, ("a",), 1, f"{{}}.{suffix}", lossless=True)
    images, _ = load(tmp_path)
    assert np.array_equal(images[0].permute(1, 2, 0), pixels())


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "gif"])
def test_headers_that_do_not_lie_in_the_first_bytes(tmp_path, suffix):
    options = {"compression": "tiff_lzw"} if suffix == "tif" else {"lossless": True}
    write(tmp_path / "a" / f"1.{suffix}", pixels(0, 190, 191), **options)
    assert (tmp_path / "a" / f"1.{suffix}").stat().st_size > 2**14
    with Image.open(tmp_path / "a" / f"1.{suffix}") as image:
        expected = np.asarray(image.convert("RGB"))
    images, _ = load(tmp_path)
    assert np.array_equal(images[0].permute(1, 2, 0), expected)


def test_the_high_byte_is_taken_of_16_bit_colour(tmp_path):
    values = np.random.default_rng(0).integers(0, 2**16, (4, 3, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", 3, 4, 16, 2, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in chunks.items()
        )
    )
    images, _ = load(tmp_path)
    assert np.array_equal(images[0].permute(1, 2, 0), values >> 8)


@pytest.mark.parametrize(
    ("suffix", "mode", "channels"),
    [("pgm", "L", 1), ("pbm", "1", 1), ("gif", "P", 3), ("png", "P", 3), ("jpg", "L", 1)],
)
def test_grey_stays_grey_and_a_palette_becomes_rgb(tmp_path, suffix, mode, channels):
    image = Image.fromarray(smooth()).convert(mode)
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a" / f"1.{suffix}")
    images, _ = load(tmp_path)
    with Image.open(tmp_path / "a" / f"1.{suffix}") as image:
        again = image.convert("RGB" if channels == 3 else "L")
    assert images.shape == (1, channels, 32, 24)
    assert np.array_equal(images[0].permute(1, 2, 0).squeeze(-1), np.asarray(again))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"subsampling": 0, "quality": 95},
        {"keep_rgb": True},
        {"restart_marker_rows": 1},
    ],
)
@pytest.mark.parametrize("colour", [None, "rgb", "grey"])
def test_the_short_way_of_decoding_jpeg_is_the_long_way(tmp_path, options, colour):
    write(tmp_path / "a" / "1.jpg", smooth(), **options)
    files, _ = open_images(open_folder(tmp_path), ["a/1.jpg"], Reading(colour=colour))
    (picture,) = files.pictures
    assert picture.simple
    assert files.decode(picture) == files.decode(Picture(picture.name, simple=False))


@pytest.mark.parametrize("channels", [1, 3])
def test_colour_converts_all_images(tmp_path, channels):
    write(tmp_path / "a" / "1.png", pixels(1))
    write(tmp_path / "a" / "2.png", pixels(2, channels=1))
    alpha = np.dstack([pixels(3), pixels(4, channels=1)])
    write(tmp_path / "a" / "3.png", alpha)
    images, _ = load(tmp_path, colour="rgb" if channels == 3 else "grey")
    mode = "RGB" if channels == 3 else "L"
    expected = [
        np.asarray(Image.fromarray(array).convert(mode))
        for array in (pixels(1), pixels(2, channels=1), alpha[:, :, :3])
    ]
    assert np.array_equal(images.permute(0, 2, 3, 1).squeeze(-1), np.stack(expected))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_size_resizes_what_differs(tmp_path, suffix):
    write(tmp_path / "a" / f"1.{suffix}", smooth(256, 192))
    write(tmp_path / "a" / f"2.{suffix}", smooth(32, 24))
    images, _ = load(tmp_path, size=(16, 12))
    assert images.shape == (2, 3, 16, 12)
    exact = Image.open(tmp_path / "a" / f"1.{suffix}").resize((12, 16), Image.Resampling.BILINEAR)
    assert np.abs(images[0].permute(1, 2, 0).numpy() - np.asarray(exact, dtype=float)).mean() < 3
    assert load(tmp_path, size=8)[0].shape == (2, 3, 8, 8)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("size", [None, (16, 12)])
def test_exif_orientation_is_followed(tmp_path, turn, size):
    exif = Image.Exif()
    exif[0x0112] = turn
    write(tmp_path / "a" / "1.jpg", smooth(), exif=exif)
    images, _ = load(tmp_path, size=size)
    with Image.open(tmp_path / "a" / "1.jpg") as image:
        upright = ImageOps.exif_transpose(image)
    if size:
        upright = upright.resize(size[::-1], Image.Resampling.BILINEAR)
    assert np.array_equal(images[0].permute(1, 2, 0), np.asarray(upright))


def test_broken_exif_does_not_matter(tmp_path):
    write(tmp_path / "a" / "1.jpg", smooth(), exif=b"Exif\0\0nonsense")
    assert load(tmp_path)[0].shape == (1, 3, 32, 24)


def test_rows_in_any_order_from_threads_and_after_pickling(tmp_path, monkeypatch):
    monkeypatch.setattr("brolly.data._images.usable_cpus", lambda: 3)
    write_classes(tmp_path, count=20)
    data = load_data(tmp_path, validation=0.2, in_memory=False)
    inputs = data.train.inputs
    assert isinstance(inputs, Stored)
    whole = data.train.in_memory().inputs
    rows = torch.randint(len(inputs), (70,), generator=torch.Generator().manual_seed(0))
    assert torch.equal(inputs.read(rows), whole[rows])
    assert torch.equal(pickle.loads(pickle.dumps(inputs)).read(rows), whole[rows])
    with ThreadPoolExecutor(3) as pool:
        for part, read in zip(rows.split(20), pool.map(inputs.read, rows.split(20)), strict=True):
            assert torch.equal(read, whole[part])
    assert inputs.read(rows[:0]).shape == (0, 3, 6, 5)
    assert inputs.nbytes() == len(inputs) * 90


def test_the_real_zip(data_folder):
    path = data_folder / "cifar10-jpeg" / "cifar10-jpeg-test.zip"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    data = load_data(path, in_memory=False)
    assert [len(data.train), len(data.validation), len(data.test)] == [7200, 800, 2000]
    assert data.shape == (3, 32, 32)
    assert data.classes[:3] == ("airplane", "automobile", "bird")
    assert (
        torch.cat([data.train.labels, data.validation.labels, data.test.labels])
        .bincount(minlength=10)
        .tolist()
        == [1000] * 10
    )
    first = data.train.read(torch.arange(3))
    assert 0.2 < float(data.train.scaled(first).mean()) < 0.8


# Faults


def test_a_file_that_is_no_image_is_named(tmp_path):
    write_classes(tmp_path)
    (tmp_path / "cat" / "3.png").write_bytes(b"I am no image")
    with pytest.raises(
        ValueError, match=r"cat/3\.png cannot be read.*no known format.*skip_broken"
    ):
        load_data(tmp_path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif", "gif", "webp", "ppm"])
def test_a_truncated_image_is_named_or_left_out(tmp_path, suffix):
    for at, kind in enumerate("aabb"):
        write(tmp_path / kind / f"{at}.{suffix}", pixels(at, 40, 40))
    damage(tmp_path / "a" / f"1.{suffix}")
    with pytest.raises(ValueError, match=rf"a/1\.{suffix} cannot be read as an image"):
        load(tmp_path)
    with pytest.warns(UserWarning, match=rf"1 of 4 images .* left out: a/1\.{suffix}$"):
        images, labels = load(tmp_path, skip_broken=True)
    assert len(images) == 3
    assert labels.tolist() == [0, 1, 1]


def test_labels_follow_when_images_are_left_out(tmp_path):
    for split in ("train", "test"):
        write_classes(tmp_path / split, classes=("a", "b", "c"), count=4)
    for name in ("train/a/0", "train/b/3", "train/b/2", "test/c/1", "test/c/2"):
        damage(tmp_path / f"{name}.png", kept=0.5 if name < "train/b" else 0)
    with pytest.warns(UserWarning, match=r"5 of 24 .*: .*, \.\.\.$"):
        data = load_data(tmp_path, skip_broken=True, validation=0)
    assert data.train.labels.tolist() == [0] * 3 + [1] * 2 + [2] * 4
    assert data.test.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 2
    for image, seed in zip(data.test.read()[-2:], (20, 23), strict=True):
        assert np.array_equal(image.permute(1, 2, 0), pixels(seed))


def test_a_class_may_not_lose_all_its_images(tmp_path):
    write_classes(tmp_path, count=1)
    damage(tmp_path / "dog" / "0.png")
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(ValueError, match="no image of class 'dog' of train can be read"),
    ):
        load_data(tmp_path, skip_broken=True)


def test_an_image_that_goes_away_or_changes_is_named(tmp_path):
    write_classes(tmp_path, ("a",), 2)
    inputs = load_data(tmp_path, validation=0, test=0, in_memory=False).train.inputs
    write(tmp_path / "a" / "0.png", pixels(0, 9, 9))
    with pytest.raises(ValueError, match=r"a/0\.png .*9 x 9 pixels by now"):
        inputs.read(torch.tensor([0]))
    (tmp_path / "a" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"a/1\.png cannot be read: No such file"):
        inputs.read(torch.tensor([1]))


def test_sizes_must_agree_unless_asked(tmp_path):
    write(tmp_path / "a" / "1.png", pixels())
    write(tmp_path / "b" / "2.png", pixels(0, 7, 9))
    with pytest.raises(
        ValueError, match=r"a/1\.png .* 6 x 5 pixels, b/2\.png .* 7 x 9 pixels.*size=32"
    ):
        load_data(tmp_path)


def test_channels_must_agree_unless_asked(tmp_path):
    write(tmp_path / "a" / "1.png", pixels())
    write(tmp_path / "b" / "2.png", pixels(channels=1))
    with pytest.raises(ValueError, match=r'a/1\.png is colour .*, b/2\.png is grey .*colour="rgb"'):
        load_data(tmp_path)


@pytest.mark.parametrize(
    ("suffix", "mode", "word"),
    [("png", "RGBA", "transparency"), ("png", "LA", "transparency"), ("jpg", "CMYK", "CMYK")],
)
def test_what_is_neither_grey_nor_rgb_is_converted_only_if_asked(tmp_path, suffix, mode, word):
    (tmp_path / "a").mkdir()
    Image.fromarray(smooth()).convert(mode).save(tmp_path / "a" / f"1.{suffix}")
    with pytest.raises(ValueError, match=rf'a/1\.{suffix} has {word}.*colour="rgb"'):
        load_data(tmp_path)
    assert load(tmp_path, colour="rgb")[0].shape == (1, 3, 32, 24)


def test_a_transparent_palette_loses_its_transparency_if_asked(tmp_path):
    (tmp_path / "a").mkdir()
    image = Image.fromarray(np.dstack([smooth(), smooth()[:, :, 0]])).quantize()
    image.save(tmp_path / "a" / "1.png")
    with pytest.raises(ValueError, match="transparency"):
        load_data(tmp_path)
    assert load(tmp_path, colour="rgb")[0].shape == (1, 3, 32, 24)


def test_more_than_8_bits_are_refused(tmp_path):
    write(tmp_path / "a" / "1.png", pixels(channels=1).astype(np.uint16) * 257)
    with pytest.raises(ValueError, match=r"a/1\.png has more than 8 bits a channel.*\.npz"):
        load_data(tmp_path, colour="grey")


@pytest.mark.parametrize("limit", [20, 10])  # Pillow warns above it and raises above its double
def test_an_image_with_very_many_pixels_is_named(tmp_path, monkeypatch, limit):
    write_classes(tmp_path, ("a",), 1)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(ValueError, match=r"a/0\.png cannot be read .*\(30 pixels\) exceeds limit"):
        load_data(tmp_path)


def test_a_class_without_images_is_named(tmp_path):
    write_classes(tmp_path)
    (tmp_path / "ant").mkdir()
    (tmp_path / "ant" / "photo.heic").touch()
    with pytest.raises(ValueError, match="class 'ant' of train has no images"):
        load_data(tmp_path)


@pytest.mark.parametrize("empty", [True, False])
def test_splits_must_have_the_same_classes(tmp_path, empty):
    write_classes(tmp_path / "train", classes=("cat", "cow", "dog"))
    write_classes(tmp_path / "test")
    if empty:
        (tmp_path / "val").mkdir()
    with pytest.raises(ValueError, match=r"test has no class folder 'cow'.*same classes"):
        load_data(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no images"),
        (["notes.txt"], "holds no images"),
        (["1.png", "2.png"], "1.png lies in no class folder"),
        (["a/1.png", "2.png"], "2.png lies in no class folder"),
        (["train/1.png", "test/2.png"], "train/1.png lies in no class folder|test/2.png lies"),
        (["train/a/1.png", "test/a/2.png", "more/a/3.png"], "holds test, train, .* more;"),
        (["val/a/1.png", "test/a/2.png"], "holds test and validation, but no train"),
        (["val/a/1.png", "valid/a/1.png", "train/a/1.png"], "holds validation twice"),
    ],
)
def test_other_layouts_are_refused_with_the_expected_one(tmp_path, names, message):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=message):
        load_data(tmp_path)
    if "twice" not in message:
        with pytest.raises(ValueError, match=r"expected class/name\.jpg, or train/class/name\.jpg"):
            load_data(tmp_path)


def test_links_inside_the_folder_are_followed(tmp_path):
    write_classes(tmp_path, ("cat", "dog"), 2)
    (tmp_path / "dog" / "7.png").symlink_to(tmp_path / "dog" / "1.png")
    (tmp_path / "kitten").symlink_to("cat")
    images, labels = load(tmp_path)
    assert labels.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert torch.equal(images[4], images[3])
    assert torch.equal(images[5:], images[:2])


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("../../outside/1.png", r"a/link\.png is a link that leads out of the folder"),
        ("nothing.png", r"a/link\.png is a link that leads to nothing"),
        ("../../outside", r"a/link\.png is a link that leads out of the folder"),
        ("..", r"a/link\.png is a link that leads back"),
    ],
)
def test_other_links_are_refused(tmp_path, target, message):
    write(tmp_path / "outside" / "1.png", pixels())
    write_classes(tmp_path / "photos", ("a",), 1)
    os.symlink(target, tmp_path / "photos" / "a" / "link.png")
    with pytest.raises(ValueError, match=message):
        load_data(tmp_path / "photos")


def test_options_for_other_files_are_refused(tmp_path):
    write_classes(tmp_path)
    with pytest.raises(ValueError, match="label is 'kind', but a folder of images has no use"):
        load_data(tmp_path, label="kind")
