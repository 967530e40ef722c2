"""`brolly data pack`, `show` and `verify`."""

import h5py
import numpy as np
import pytest
import torch

import brolly as library


@pytest.fixture
def packed(brolly, here):
    outcome = brolly("data", "pack", "digits", "digits.h5")
    assert outcome.code == 0, outcome.err
    return outcome


def test_pack(packed, here):
    assert packed.out.startswith("digits.h5: 1,797 examples, ")
    assert library.load_data(here / "digits.h5").sha256 == library.load_data("digits").sha256


def test_show_says_the_same_of_a_name_and_of_its_file(brolly, packed):
    of_name, of_file = brolly("data", "show", "digits"), brolly("data", "show", "digits.h5")
    for outcome in (of_name, of_file):
        assert outcome.code == 0, outcome.err
        lines = [line.split() for line in outcome.out.splitlines()]
        assert ["shape", "1", "×", "8", "×", "8,", "uint8"] in lines
        assert ["bounds", "0", "to", "1"] in lines
        assert ["licence", "CC", "BY", "4.0"] in lines
        assert ["class", "train", "test"] in lines
        assert ["3", "146", "37"] in lines
        assert ["all", "1,400", "397"] in lines
    hashes = [line for line in of_name.out.splitlines() if line.startswith("sha256 of ")]
    assert len(hashes) == 2
    assert all(f"{line} (as written)" in of_file.out for line in hashes)
    assert "digits.h5" in of_file.out
    assert "on disk" not in of_name.out


def test_verify(brolly, packed, here):
    outcome = brolly("data", "verify", "digits.h5")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "train is what was packed\ntest is what was packed\n"
    with h5py.File(here / "digits.h5", "r+") as file:
        file["test/labels"][7] ^= 1
    outcome = brolly("data", "verify", "digits.h5")
    assert outcome.code == 1
    told = outcome.out.splitlines()
    assert told[0] == "train is what was packed"
    assert told[1].startswith("test differs: its hash is ")


@pytest.mark.parametrize("fault", ["truncated", "attribute"])
def test_verify_tells_damage_in_one_line(brolly, packed, here, fault):
    path = here / "digits.h5"
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:-500])
    else:
        with h5py.File(path, "r+") as file:
            del file.attrs["classes"]
    outcome = brolly("data", "verify", path)
    assert (outcome.code, outcome.err) == (1, "")
    assert outcome.out.count("\n") == 1
    assert "damaged" in outcome.out
    shown = brolly("data", "show", path)
    assert shown.code == 2
    assert "damaged" in shown.err


def test_a_file_that_is_there_is_replaced_with_force(brolly, here):
    (here / "x.h5").write_text("mine")
    outcome = brolly("data", "pack", "digits", "x.h5")
    assert outcome.code == 2
    assert "x.h5 is there already" in outcome.err
    assert "--force" in outcome.err
    assert (here / "x.h5").read_text() == "mine"
    assert brolly("data", "pack", "digits", "x.h5", "--force", "--level", "0").code == 0
    assert brolly("data", "verify", "x.h5").code == 0


def test_a_foreign_file_with_a_mapping(brolly, here):
    images = np.random.default_rng(0).integers(0, 256, (30, 5, 4, 3), dtype=np.uint8)
    with h5py.File("theirs.h5", "w") as file:
        file["a"], file["b"] = images, np.arange(30) % 3
    refused = brolly("data", "pack", "theirs.h5", "ours.h5")
    assert refused.code == 2
    assert "a (30, 5, 4, 3) uint8, b (30,) int64" in refused.err
    words = ["--mapping", "train/images=a", "--mapping", "train/labels=b"]
    assert brolly("data", "pack", "theirs.h5", "ours.h5", *words).code == 0
    data = library.load_data("ours.h5", validation=0, test=0)
    assert torch.equal(data.train.read(), torch.from_numpy(images).permute(0, 3, 1, 2))
    wrong = brolly("data", "show", "theirs.h5", "--mapping", "a")
    assert wrong.code == 2
    assert "expected OURS=THEIRS" in wrong.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["pack", "digts", "x.h5"], "Did you mean 'digits'?"),
        (["pack", "digits", "x.txt"], "write x.h5"),
        (["pack", "digits", "x.h5", "--level", "10"], "level is 10"),
        (["verify", "x.h5"], "x.h5 does not exist"),
        (["show", "x.h5"], "x.h5 does not exist"),
    ],
)
def test_mistyped(brolly, here, words, told):
    outcome = brolly("data", *words)
    assert outcome.code == 2
    assert told in outcome.err
    assert outcome.err.startswith("error: ")
    assert not list(here.iterdir())
