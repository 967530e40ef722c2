"""`brolly diagnose` and `brolly curve`."""

import json
import shutil
from pathlib import Path

from brolly.training import load_findings


def test_a_run_is_diagnosed_and_its_report_shows_it(brolly, finished: Path) -> None:
    code, out, err = brolly("diagnose", finished)
    assert (code, err) == (0, "")
    findings = load_findings(finished / "diagnosis.json")
    found = [finding for finding in findings if finding.state == "found"]
    assert out.startswith(f"{finished}: {len(found)} of 9 found\n")
    assert all(f"{finding.name}: " in out for finding in findings)
    assert "units fire on none of" in out
    page = (finished / "report.html").read_text()
    assert "Diagnosis of the training" in page
    assert "units fire on none of" in page
    assert "robust overfitting" in page


def test_several_runs_stand_side_by_side(brolly, finished: Path) -> None:
    other = finished.with_name("other")
    shutil.copytree(finished, other)
    lines = (other / "metrics.jsonl").read_text().splitlines()
    (other / "metrics.jsonl").write_text(lines[0] + "\n")
    (other / "model.safetensors").unlink()  # it is not finished
    (other / "diverged.txt").write_text("the loss became nan at epoch 2\n")
    code, out, _ = brolly("diagnose", finished, other)
    assert code == 0
    rows = {line[:28].strip(): line[28:].split("  ") for line in out.splitlines()[3:12]}
    assert rows["learning rate too high"][-1].strip() == "found"
    assert rows["dead units"][-1].strip() == "not measured"
    assert f"{other}: " in out
    assert "the loss became nan at epoch 2" in out
    page = (other / "report.html").read_text()
    assert "the loss became nan at epoch 2" in page
    assert f"brolly diagnose {other}" in page


def test_a_run_whose_data_is_elsewhere_is_diagnosed_by_its_metrics(
    brolly, finished: Path, monkeypatch
) -> None:
    recipe = (finished / "recipe.yaml").read_text()
    (finished / "recipe.yaml").write_text(recipe.replace("name: digits\n", "name: fashion-mnist\n"))
    monkeypatch.setattr("brolly.data._load.locate", lambda source, data_dir: None)
    code, out, _ = brolly("diagnose", finished)
    assert code == 0
    assert "not measured  dead units: The trained network and its data were not given." in out


def test_the_range_test_of_a_recipe_or_a_run(brolly, tiny: list[str], finished: Path) -> None:
    code, out, err = brolly("diagnose", "digits-plain", *tiny, "optimizer.lr=0.3", "--lr-range")
    assert (code, err) == (0, "")
    assert brolly("diagnose", finished, "optimizer.lr=0.3", "--lr-range").out == out
    assert out.startswith("digits-plain: the loss fell from ")
    assert "Suggested: optimizer.lr=0.0" in out
    assert "The recipe has 0.3, with one-cycle." in out


def test_what_diagnose_refuses(brolly) -> None:
    assert "no run given" in brolly("diagnose").err
    assert "not a run" in brolly("diagnose", "nowhere").err
    assert "neither a shipped recipe nor a file" in brolly("diagnose", "x", "--lr-range").err


def test_a_curve_goes_on_and_never_trains_a_size_twice(brolly, here: Path) -> None:
    small = ["epochs=1", "batch_size=20", "model.width=2", "model.hidden=8", "validation.steps=1"]
    curve = ("--seeds", "2", "--output-dir", "curve", "--device", "cpu")
    code, out, err = brolly("curve", "digits-plain", "data.examples=40,80", *small, *curve)
    assert code == 0
    assert err.count("done") == 4
    before = json.loads((here / "curve" / "curve.json").read_text())
    first = before["points"][0]
    assert (first["size"], first["examples"], first["seeds"]) == (40, 40, [0, 1])
    gaps = [v - t for v, t in zip(first["validation"], first["train"], strict=True)]
    assert first["errors"]["gap"]["mean"] == sum(gaps) / 2
    assert first["errors"]["train"]["n"] == 2
    assert first["errors"]["test (final evaluation)"] is None
    assert "test" not in out

    code, out, err = brolly("curve", "digits-plain", "data.examples=40,80,120", *small, *curve)
    assert (code, err.count("done")) == (0, 2)
    after = json.loads((here / "curve" / "curve.json").read_text())
    assert after["points"][:2] == before["points"]
    page = (here / "curve" / "curve.html").read_text()
    assert "Training examples" in page
    assert "The test split was not read." in page
    (again,) = (line for line in out.splitlines() if line.startswith("Repeat: "))
    assert again.startswith("Repeat: brolly curve digits-plain data.examples=40,80,120 epochs=1")
    assert again.endswith(" --seeds 2 --output-dir curve --device cpu")
    assert again.removeprefix("Repeat: ") in page


def test_what_a_curve_refuses_before_it_trains(brolly, here: Path) -> None:
    assert "nothing varies" in brolly("curve", "digits-plain", "epochs=1").err
    two = brolly("curve", "digits-plain", "data.examples=1,2", "model.width=1,2").err
    assert "expected one key with several numbers" in two
    names = brolly("curve", "digits-plain", "precision=float32,bfloat16").err
    assert "expected one key with several numbers" in names
    assert not list(here.iterdir())
