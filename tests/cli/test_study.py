"""`brolly study`, and `brolly report` in its forms."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from brolly.evaluation import Study, _study_parts
from brolly.report import FILES


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies of small budgets."""
    monkeypatch.setattr(_study_parts, "STEPS", (1, 2))
    monkeypatch.setattr(_study_parts, "QUERIES", (1, 3))
    monkeypatch.setattr(_study_parts, "RESTARTS", 2)
    monkeypatch.setattr(_study_parts, "_STEPS_TO_NEAREST", 3)


def test_a_study_is_kept_and_drawn(brolly, short, finished: Path) -> None:
    code, out, err = brolly("study", finished, "--examples", "6")
    assert (code, err) == (0, "")
    found = Study.load(finished / "study" / "linf-0.15.json")
    assert found.clean.total == 6
    assert found.model.name == "digits-plain"
    assert found.command == f"brolly study {finished} --examples 6"
    assert out.splitlines()[-2].startswith("Studied 6 examples against linf:0.15 in ")
    assert found.command in (finished / "report.html").read_text()
    assert brolly(*found.command.split()[1:], "--threat", "l2:0.5", "--seed", "3").code == 0
    other = Study.load(finished / "study" / "l2-0.5.json")
    assert (other.threat, other.seed) == ("l2:0.5", 3)
    assert other.command == f"brolly study {finished} --threat l2:0.5 --examples 6 --seed 3"


def test_a_study_of_nothing_is_refused(brolly, finished: Path) -> None:
    assert "eps above 0" in brolly("study", finished, "--threat", "linf:0").err
    assert "examples is 0" in brolly("study", finished, "--examples", "0").err
    assert "not a run" in brolly("study", "nowhere").err
    assert not (finished / "study").exists()


def test_every_form_of_a_report(brolly, quick, finished: Path) -> None:
    evaluate = ("evaluate", finished, "--examples", "20", "--checks", "none")
    assert brolly(*evaluate).code == 0
    for format, name in FILES.items():
        file = finished / name
        assert brolly("report", finished, "--format", format) == (0, f"{file}\n", "")
    json.loads((finished / "report.json").read_text())
    json.loads((finished / "robustbench.json").read_text())
    front = (finished / "README.md").read_text().split("---\n")[1]
    assert yaml.safe_load(front)["model-index"][0]["name"] == "digits-plain"
    assert "# Robustness of digits-plain" in (finished / "report.md").read_text()
    # The data is here, so all that broke can be chosen from.
    assert "worst: the surest mistakes" in (finished / "report.html").read_text()
    assert "expected 1, got 2" in brolly("report", finished, finished, "--format", "hf-card").err
    assert brolly("report", finished, "--format", "pdf").code == 2


def test_a_report_downloads_no_data(brolly, quick, finished: Path, monkeypatch) -> None:
    brolly("evaluate", finished, "--examples", "20", "--checks", "none")
    copy = finished.with_name("elsewhere")
    shutil.copytree(finished, copy)
    recipe = (copy / "recipe.yaml").read_text()
    (copy / "recipe.yaml").write_text(recipe.replace("name: digits\n", "name: fashion-mnist\n"))
    monkeypatch.setattr("brolly.data._load.locate", lambda source, data_dir: None)
    assert brolly("report", copy) == (0, f"{copy / 'report.html'}\n", "")
    assert "those that the evaluation kept" in (copy / "report.html").read_text()
