"""`brolly data check`: its table, page, JSON and exit code."""

import json
import os
import re

import numpy as np
import pytest
from PIL import Image


def folder(path, train=30, test=50):
    """Sound pictures of two classes."""
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for name in ("cat", "owl"):
            (path / split / name).mkdir(parents=True)
            for number in range(count):
                noise = Image.fromarray(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8))
                noise.resize((16, 16), Image.Resampling.BICUBIC).save(
                    path / split / name / f"{number:03}.png"
                )


def test_a_sound_folder_passes_and_says_how_to_train(brolly, here):
    folder(here / "photos")
    done = brolly("data", "check", "photos", "--json", "out.json")
    assert done.code == 0, done.out + done.err
    assert "warn" not in done.out
    assert "next: brolly train photos data.name=photos\n" in done.out
    assert json.loads((here / "out.json").read_text())["status"] == "pass"
    page = (here / "check.html").read_text()
    assert "Nothing wrong was found." in page
    assert page.count('src="data:image/png;base64,') >= 2 * 10 + 8


def test_faults_are_told_drawn_and_fail(brolly, here):
    folder(here / "photos")
    (here / "photos/train/cat/<b>.jpg").write_text("no image")
    leak = (here / "photos/train/owl/003.png").read_bytes()
    (here / "photos/test/owl/leak.png").write_bytes(leak)
    done = brolly("data", "check", "photos", "--output", "page.html", "--size", "16")
    assert done.code == 1
    assert "train/cat/<b>.jpg: its content is of no known format" in done.out
    assert "train/owl/003.png (owl) and test/owl/leak.png (owl)" in done.out
    assert (
        "next: brolly train photos data.name=photos data.size=16 data.skip_broken=true" in done.out
    )
    page = (here / "page.html").read_text()
    assert "To be put right." in page
    assert "train/cat/&lt;b&gt;.jpg" in page
    assert "leak.png" in page
    assert "brolly data check photos --output page.html --size 16" in page
    skipped = brolly("data", "check", "photos", "--skip-broken")
    assert skipped.code == 0


def test_the_page_is_one_file_that_asks_for_nothing(brolly, here):
    folder(here / "photos")
    brolly("data", "check", "photos")
    page = (here / "check.html").read_text()
    outside = [url for url in re.findall(r"(?:src|href)=\"([^\"]*)", page) if url[:5] != "data:"]
    assert outside == []
    assert "default-src 'none'" in page


def test_class_folders_that_differ_are_a_failure_without_traceback(brolly, here):
    folder(here / "photos")
    (here / "photos/test/owl").rename(here / "photos/test/bird")
    done = brolly("data", "check", "photos")
    assert done.code == 1
    assert "no class folder" in re.sub(r"\s+", " ", done.out)
    assert "next: put this right" in done.out
    assert "no class folder" in (here / "check.html").read_text()


def test_known_sets_and_features_can_be_checked(brolly, here):
    known = brolly("data", "check", "digits")
    assert known.code == 0
    assert "next" not in known.out
    assert (here / "check.html").exists()
    rows = [f"{number / 200},{number % 7},c{number % 2}" for number in range(200)]
    (here / "table.csv").write_text("\n".join(["a,b,label", *rows]) + "\n")
    done = brolly("data", "check", "table.csv", "--json", "out.json")
    assert done.code == 0
    assert json.loads((here / "out.json").read_text())["shape"] == [2]


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        (["nowhere"], "nowhere"),
        (["photos", "--size", "0"], "--size is 0"),
        (["photos", "--label", "y"], "label"),
        (["photos", "--colour", "red"], "red"),
        (["empty"], "holds no images"),
        (["text.zip"], "text.zip"),
    ],
)
def test_mistakes_are_one_line(brolly, here, words, fragment):
    folder(here / "photos", 4, 4)
    (here / "empty").mkdir()
    (here / "text.zip").write_text("no archive")
    done = brolly("data", "check", *words)
    told = done.err + re.sub(r"\s+", " ", done.out)
    assert done.code in (1, 2)
    assert fragment in told
    assert "Traceback" not in told


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_page_that_cannot_be_written_is_one_line(brolly, here):
    (here / "closed").mkdir(mode=0o500)
    done = brolly("data", "check", "digits", "--output", "closed/page.html")
    assert done.code == 1
    assert done.err.startswith("error: ")
