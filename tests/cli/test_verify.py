"""`brolly verify` and `brolly check`, on what `brolly evaluate` left."""

import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import h5py
import pytest

from brolly.evaluation import Evaluation


@pytest.fixture
def evaluated(brolly, quick, finished: Path) -> Path:
    assert brolly("evaluate", finished, "--examples", "20", "--checks", "none").code == 0
    return finished


def evidence(run: Path) -> Path:
    (file,) = (run / "evidence").glob("*.h5")
    return file


def test_what_does_not_hold_is_told(brolly, evaluated: Path, tiny) -> None:
    brolly("train", "digits-plain", *tiny, "seed=7")
    (other,) = (run for run in Path("runs").iterdir() if run != evaluated)
    code, out, err = brolly("verify", evidence(evaluated), "--model", other)
    assert (code, err) == (1, "")
    assert "does not hold: the model has the weights that were evaluated (evidence is about" in out
    assert "does not hold: clean logits are what the model gives for 20 examples: 0, 1, 2," in out
    assert out.splitlines()[-1].endswith("claims do not hold")


def test_files_that_are_none_are_refused(brolly, evaluated: Path) -> None:
    file = evidence(evaluated)
    with h5py.File(file, "r+") as opened:
        opened["examples/label"][0] = 9 - opened["examples/label"][0]
    code, out, err = brolly("verify", file, "--model", evaluated)
    assert (code, out) == (2, "")
    assert "is not what was written" in err
    file.write_bytes(file.read_bytes()[:1000])
    assert (
        "is no evidence of an evaluation, or is damaged"
        in brolly("verify", file, "--model", evaluated).err
    )
    assert "does not exist" in brolly("verify", "none.h5", "--model", evaluated).err


def test_a_larger_eps_uses_what_is_there(brolly, evaluated: Path) -> None:
    assert brolly("evaluate", evaluated, "--threat", "linf:0.2", "--checks", "none").code == 0
    result = Evaluation.load(evaluated / "evaluation" / "linf-0.2.json")
    assert result.attacks[0].name == "evidence at linf:0.15"
    assert result.attacks[0].broke > 0


def test_check_passes_and_fails(brolly, evaluated: Path) -> None:
    result = Evaluation.load(evaluated / "evaluation" / "linf-0.15.json")
    code, out, err = brolly("check", evaluated, "--min-clean", "0.1", "--min-robust", "0")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "all 3 passed"
    assert str(result.clean) in out
    code, out, _ = brolly("check", evaluated, "--min-robust", "1", "--trusted", "--junit", "a.xml")
    assert code == 1
    assert "FAILED  digits-plain linf:0.15 robust accuracy:" in out
    assert "FAILED  digits-plain linf:0.15 trusted: doubtful: nothing was checked" in out
    assert out.splitlines()[-1] == "2 of 3 failed"
    suite = ET.parse("a.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("3", "2")
    assert len(suite.findall("testcase/failure")) == 2


def test_check_says_what_is_wrong_with_the_question(brolly, evaluated: Path) -> None:
    assert (
        "--min-robust is 75; expected a part"
        in brolly("check", evaluated, "--min-robust", "75").err
    )
    code, _, err = brolly("check", evaluated, "--threat", "l2:1")
    assert code == 2
    assert "has no evaluation against l2:1, but against linf:0.15" in err
    shutil.rmtree(evaluated / "evaluation")
    assert f"run `brolly evaluate {evaluated}` first" in brolly("check", evaluated).err
