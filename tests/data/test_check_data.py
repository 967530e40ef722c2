"""Checks of a data set: planted faults are found, and nothing is found where nothing is."""

import io
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import brolly
from brolly.data import Dataset, Reading, check_data, check_path
from brolly.data._stored import Joined
from brolly.data.checks._labels import half_width
from brolly.data.checks._similar import similar_pairs
from brolly.data.checks._spectrum import gradients, similarity, spectrum

CLASSES = ("cat", "dog", "owl")


def photos(count, seed=0, side=24):
    """Images that differ as photos do: random shapes with most contrast in low frequencies."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 8, 8, generator=g) + 0.1 * torch.rand(count, 3, 8, 8, generator=g)
    images = F.interpolate(coarse, (side, side), mode="bicubic", align_corners=False)
    return (40 + 140 * images).clamp(0, 255).to(torch.uint8)


def made(train=240, validation=120, test=120):
    sizes, images = (train, validation, test), photos(train + validation + test)
    return [(x.clone(), torch.arange(len(x)) % len(CLASSES)) for x in images.split(sizes)]


def dataset(parts, **options):
    train, validation, test = parts
    return Dataset.from_tensors("made", train, test, validation=validation, classes=CLASSES,
                                **options)  # fmt: skip


def alarms(check):
    return {finding.name: finding.status for finding in check.findings if finding.status != "pass"}


def places(finding):
    return [
        {(place.split, place.index) for place in example.places} for example in finding.examples
    ]


def jpeg(image, quality):
    buffer = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1)


def test_a_clean_set_raises_no_alarm():
    check = check_data(dataset(made()))
    assert alarms(check) == {}
    assert check.status == "pass"
    assert [split.total for split in check.splits] == [240, 120, 120]
    assert [split.counts for split in check.splits] == [(80, 80, 80), (40,) * 3, (40,) * 3]
    assert [place.split for example in check.extremes for place in example.places]


def test_numbers_of_splits_are_those_of_the_data():
    parts = made()
    check = check_data(dataset(parts))
    values = parts[2][0].double() / 255
    assert check.splits[2].mean == pytest.approx(values.mean((0, 2, 3)).tolist())
    assert check.splits[2].std == pytest.approx(
        values.std((0, 2, 3), correction=0).tolist(), rel=1e-6
    )
    brightest = check.extremes[-1].places[0]
    means = torch.cat([x.double().mean((1, 2, 3)) for x, _ in parts])
    at = {"train": 0, "validation": 240, "test": 360}[brightest.split] + brightest.index
    assert at == int(means.argmax())


def test_exact_copies_are_named_where_they_are():
    parts = made()
    parts[0][0][7] = parts[0][0][4]  # labels 1 and 1
    parts[0][0][10] = parts[0][0][5]  # labels 1 and 2
    parts[2][0][3] = parts[0][0][0]
    check = check_data(dataset(parts))
    assert alarms(check) == {
        "duplicates-within-splits": "warn",
        "duplicates-across-splits": "warn",
        "conflicting-labels": "warn",
    }
    within = places(check["duplicates-within-splits"])
    assert {("train", 4), ("train", 7)} in within
    assert {("train", 5), ("train", 10)} in within
    assert places(check["duplicates-across-splits"]) == [{("train", 0), ("test", 3)}]
    assert places(check["conflicting-labels"]) == [{("train", 5), ("train", 10)}]
    assert "2 of 240 in train" in check["duplicates-within-splits"].message
    assert "1 of 120 in test" in check["duplicates-across-splits"].message


def test_many_copies_across_splits_or_with_two_labels_are_a_failure():
    parts = made()
    parts[2][0][:4] = parts[0][0][1:5]  # labels differ by one
    check = check_data(dataset(parts))
    assert alarms(check)["duplicates-across-splits"] == "fail"
    assert alarms(check)["conflicting-labels"] == "fail"
    assert check.status == "fail"


@pytest.mark.parametrize(
    "change",
    [
        lambda x: jpeg(x, 75),
        lambda x: torch.roll(x, (1, -1), (1, 2)),
        lambda x: (x.float() + 20).clamp(0, 255).to(torch.uint8),
        lambda x: (x.float() * 0.7).to(torch.uint8),
        lambda x: (
            (x.float() + 4 * torch.randn(x.shape, generator=torch.manual_seed(0)))
            .clamp(0, 255)
            .to(torch.uint8)
        ),
    ],
    ids=["jpeg", "moved", "brighter", "darker", "noise"],
)
def test_a_changed_copy_in_another_split_is_a_leak(change):
    parts = made()
    parts[2][0][9] = change(parts[0][0][100])
    check = check_data(dataset(parts))
    assert alarms(check) == {"near-duplicates-across-splits": "warn"}
    assert places(check["near-duplicates-across-splits"]) == [{("train", 100), ("test", 9)}]
    assert "1 of 120 in test" in check["near-duplicates-across-splits"].message


def test_flat_images_and_flat_backgrounds_do_not_all_look_alike():
    parts = made()
    parts[0][0][:100] = torch.arange(100, dtype=torch.uint8)[:, None, None, None]
    small = photos(100, seed=1, side=8)
    parts[0][0][100:200] = 0
    parts[0][0][100:200, :, 8:16, 8:16] = small
    check = check_data(dataset(parts))
    assert "100 of 480" in check["constant-inputs"].message
    assert check["constant-inputs"].status == "fail"
    assert check["near-duplicates-within-splits"].status == "pass"


def test_a_set_of_one_picture_ends_and_is_found():
    parts = made(train=600)
    noise = torch.randint(-2, 3, parts[0][0].shape, generator=torch.manual_seed(0))
    copies = (parts[0][0][:1].int() + noise).clamp(0, 255).to(torch.uint8)
    parts[0][0][:15] = copies[:15]
    check = check_data(dataset(parts))
    assert "15 of 840" in check["near-duplicates-within-splits"].message


def test_similar_pairs_are_those_of_a_search_of_all():
    images = torch.cat([photos(300), photos(20)])  # the last 20 are the first again
    images[300:] = torch.roll(images[300:], 1, 2)
    found = similar_pairs(Joined((images,)), spectrum(images), torch.Generator().manual_seed(0))
    expected = {(at, 300 + at) for at in range(20)}
    assert {tuple(rows) for rows in found.rows.tolist()} == expected
    shapes = gradients(images)
    assert torch.allclose(
        found.similarity, similarity(shapes[found.rows[:, 0]], shapes[found.rows[:, 1]])
    )


def test_similarity_is_one_for_moves_and_brightness_alone():
    images = photos(6).float()
    moved = torch.roll(images, (1, 1), (2, 3))
    shapes = gradients(images)
    assert torch.allclose(similarity(shapes, gradients(images * 0.3 + 9)), torch.ones(6))
    assert (similarity(shapes, gradients(moved))[:6] > 0.999).all()
    assert (similarity(shapes, shapes.flip(0)) < 0.9).all()


def test_no_examples_at_all_are_an_error():
    (x, y), *_ = made()
    with pytest.raises(ValueError, match="no examples"):
        check_data(dataset([(x[:0], y[:0])] * 3))


def test_values_out_of_bounds_are_named():
    x, y = torch.rand(60, 5), torch.arange(60) % 3
    data = Dataset.from_tensors("features", (x, y), (torch.rand(30, 5), y[:30]), validation=0,
                                classes=CLASSES)  # fmt: skip
    data.test.inputs[4, 2] = float("nan")
    data.test.inputs[7, 1] = 1.5
    check = check_data(data)
    assert check["values-in-bounds"].status == "fail"
    assert places(check["values-in-bounds"]) == [{("test", 4)}, {("test", 7)}]
    assert "1 of them with NaN" in check["values-in-bounds"].message
    assert not any("near" in finding.name for finding in check.findings)  # of images alone


def test_features_that_repeat_are_found():
    x, y = torch.rand(120, 5), torch.arange(120) % 3
    data = Dataset.from_tensors("features", (x, y), (x[:2].clone(), y[:2]), validation=0,
                                classes=CLASSES)  # fmt: skip
    assert check_data(data)["duplicates-across-splits"].status == "fail"


def test_labels_missing_scarce_and_shifted():
    parts = made()
    parts[0][1][:] = 0
    parts[0][1][:5] = 1
    check = check_data(dataset(parts))
    assert check["classes-in-every-split"].status == "fail"
    assert "train has no 'owl'" in check["classes-in-every-split"].message.lower()
    assert check["class-balance"].status == "warn"
    assert "235" in check["class-balance"].message
    assert "47 to 1" in check["class-balance"].message
    assert check["label-shift"].status == "warn"


def test_chi_square_is_that_of_scipy():
    from scipy.stats import chi2_contingency

    parts = made()
    parts[2][1][:60] = 0
    message = check_data(dataset(parts))["label-shift"].message
    test = parts[2][1].bincount(minlength=3).tolist()
    result = chi2_contingency([[80, 80, 80], test], correction=False)
    assert f"test: χ² = {result[0]:.1f}, {result[2]} df, p = {result[1]:.2g}, n = 120" in message


def test_empty_and_small_test_splits():
    (x, y), validation, _ = made()
    check = check_data(dataset(((x, y), validation, (x[:0], y[:0]))))
    assert check["split-sizes"].status == "fail"
    small = check_data(dataset(((x, y), validation, (photos(12, seed=3), y[:12]))))
    assert small["split-sizes"].status == "warn"
    assert f"±{100 * half_width(12):.1f} points" in small["split-sizes"].message


def test_the_interval_is_wilsons():
    from scipy.stats import binomtest

    interval = binomtest(50, 100).proportion_ci(method="wilson")
    assert half_width(100) == pytest.approx((interval.high - interval.low) / 2)


def test_stored_inputs_are_never_whole_in_memory(tmp_path):
    folder(tmp_path)
    check, data = check_path(tmp_path, Reading())
    assert not isinstance(data.train.inputs, torch.Tensor)
    largest = []
    read = type(data.train.inputs).read

    class Watched(type(data.train.inputs)):
        def read(self, rows):
            largest.append(len(rows))
            return read(self, rows)

    object.__setattr__(
        data.train, "inputs", Watched(data.train.inputs.base, data.train.inputs.rows)
    )
    assert check_data(data).findings == check.findings[4:]
    assert sum(largest[:1]) <= 1024


def folder(path, train=40, test=40):
    """A sound folder of PNG images."""
    images = iter(photos(3 * (train + test), seed=5, side=16))
    for split, count in (("train", train), ("test", test)):
        for name in CLASSES:
            (path / split / name).mkdir(parents=True)
            for number in range(count):
                save(path / split / name / f"{number:03}.png", next(images))


def save(path, image):
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)


def test_a_sound_folder_raises_no_alarm(tmp_path):
    folder(tmp_path)
    check, data = check_path(tmp_path, Reading())
    assert alarms(check) == {}
    assert data.shape == (3, 16, 16)


def test_faults_of_files_become_findings_and_the_rest_is_checked(tmp_path):
    folder(tmp_path)
    for number in range(25):
        (tmp_path / "train" / "cat" / f"broken{number}.jpg").write_bytes(b"no image")
    whole = (tmp_path / "train" / "cat" / "000.png").read_bytes()
    (tmp_path / "test" / "dog" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "test" / "owl" / "leak.png").write_bytes(whole)
    Image.new("L", (30, 20), 7).save(tmp_path / "train" / "owl" / "grey.png")
    check, _ = check_path(tmp_path, Reading())
    assert check["images-can-be-read"].status == "fail"
    named = {example.places[0].file for example in check["images-can-be-read"].examples}
    assert len(named) == 26
    assert "test/dog/cut.png" in named
    assert "--size 16" in check["one-size"].message
    assert "--colour" in check["one-colour"].message
    assert alarms(check)["one-size"] == alarms(check)["one-colour"] == "warn"
    files = [place.file for place in check["duplicates-across-splits"].examples[0].places]
    assert files == ["train/cat/000.png", "test/owl/leak.png"]
    assert [place.file for place in check["constant-inputs"].examples[0].places] == [
        "train/owl/grey.png"
    ]
    asked, _ = check_path(tmp_path, Reading(size=(16, 16), colour="rgb", skip_broken=True))
    assert alarms(asked)["images-can-be-read"] == "warn"
    assert not {"one-size", "one-colour"} & set(alarms(asked))


def test_class_folders_that_differ_become_a_finding(tmp_path):
    folder(tmp_path)
    (tmp_path / "test" / "owl").rename(tmp_path / "test" / "Owl")
    check, data = check_path(tmp_path, Reading())
    assert data is None
    assert check.status == "fail"
    assert "no class folder 'owl'" in check["class-folders"].message
    assert check["images-can-be-read"].status == "pass"


def test_a_class_with_no_readable_image_is_one_clear_error(tmp_path):
    folder(tmp_path)
    for file in (tmp_path / "test" / "owl").iterdir():
        file.write_bytes(b"no image")
    check, data = check_path(tmp_path, Reading())
    assert data is None
    assert "'owl' of test" in check["class-folders"].message


def test_what_is_not_there_is_an_error():
    with pytest.raises(ValueError, match="nowhere"):
        check_path("nowhere", Reading())


def test_the_same_seed_gives_the_same_findings_and_json_holds_them():
    data = dataset(made())
    one, two = check_data(data, seed=3), check_data(data, seed=3)
    assert one == two
    again = json.loads(json.dumps(one.to_json(), allow_nan=False))
    assert again["status"] == "pass"
    assert [finding["name"] for finding in again["findings"]] == [f.name for f in one.findings]


@pytest.mark.parametrize("name", ["fashion-mnist"])
def test_real_images_and_a_planted_leak(data_folder, name):
    data = brolly.load_data(name, data_dir=data_folder)
    x, y = data.train.first(2000).read(), data.train.labels[:2000].clone()
    x[1999] = torch.roll(x[20], (1, 0), (1, 2))
    cut = Dataset.from_tensors("cut", (x[:1500], y[:1500]), (x[1500:], y[1500:]), validation=0,
                               classes=data.classes)  # fmt: skip
    check = check_data(cut)
    leaks = check["near-duplicates-across-splits"]
    assert {("train", 20), ("test", 499)} in places(leaks)
    assert len(leaks.examples) <= 2
    assert check["duplicates-within-splits"].status == "pass"
    assert check["values-in-bounds"].status == "pass"
    assert check["class-balance"].status == "pass"
