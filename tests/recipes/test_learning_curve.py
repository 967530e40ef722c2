"""Learning curves: errors on whole splits, and the test split in the final evaluation alone."""

from pathlib import Path

import pytest
import torch

import brolly
from brolly.evaluation import Evaluation
from brolly.recipes import LearningCurve, SizePoint, load_run
from brolly.report import write_curve

SMALL = {
    "epochs": 1, "batch_size": 20, "data.examples": 60, "model.hidden": 8, "validation.steps": 1,
}  # fmt: skip


def test_errors_are_those_of_whole_splits(tmp_path: Path) -> None:
    curve = brolly.learning_curve(
        "digits-plain", {"model.width": [2, 4], **SMALL}, seeds=1, final=True, output_dir=tmp_path
    )
    assert curve.key == "model.width"
    assert [point.size for point in curve.points] == [2, 4]
    assert curve.points[0].parameters < curve.points[1].parameters
    (folder,) = (
        path for path in (tmp_path / "trials").iterdir() if "width: 4" in
        (path / "recipe.yaml").read_text()
    )  # fmt: skip
    _, model, data = load_run(folder)
    point = curve.points[1]
    for split, error in (
        (data.train, point.train), (data.validation, point.validation), (data.test, point.test),
    ):  # fmt: skip
        with torch.no_grad():
            wrong = model(split.scaled(split.inputs)).argmax(1) != split.labels
        assert error[0] == pytest.approx(float(wrong.double().mean()))
    result = Evaluation.load(folder / "evaluation" / "linf-0.15.json")
    assert point.test == (1 - result.clean.rate,)
    assert point.robust_test == (1 - result.robust.rate,)
    assert point.test_gap == (point.test[0] - point.train[0],)
    best = brolly.RunFolder(folder).history().best
    assert point.robust_train == (1 - best.train_robust,)
    assert point.robust_validation == (1 - best.validation_robust,)
    (gap,) = point.robust_gap
    assert gap == pytest.approx(best.train_robust - best.validation_robust)
    page = write_curve(tmp_path / "curve.html", curve.to_json()).read_text()
    for name in ("test (final evaluation)", "test gap", "robust validation", "robust gap"):
        assert f">{name}</th>" in page
    assert "Robust error against linf:0.15" in repr(curve)
    assert "test gap" in repr(curve)


def test_values_of_the_model_that_are_no_numbers_go_by_parameters(tmp_path: Path) -> None:
    both = ["model={name: mlp, hidden: [8, 4]},{name: mlp, hidden: [4]}"]
    small = [f"{key}={value}" for key, value in SMALL.items() if key != "model.hidden"]
    curve = brolly.learning_curve("digits-plain", both + small, seeds=1, output_dir=tmp_path)
    assert [point.size for point in curve.points] == [64 * 4 + 4 + 5 * 10, 64 * 8 + 8 + 9 * 4 + 50]
    assert [point.value for point in curve.points] == [
        "{name: mlp, hidden: [4]}", "{name: mlp, hidden: [8, 4]}",
    ]  # fmt: skip
    assert curve.axis == "parameters"
    page = write_curve(tmp_path / "curve.html", curve.to_json()).read_text()
    assert "Parameters" in page
    assert "{name: mlp, hidden: [4]}" in page


def test_a_size_that_diverged_is_shown_as_such(tmp_path: Path) -> None:
    done = SizePoint(10, 10, 5, (0, 1), (0.0, 0.1), (0.4, 0.3))
    lost = SizePoint(20, 0, 0, (), (), (), diverged=2)
    curve = LearningCurve("mine", "data.examples", tmp_path, (done, lost))
    assert done.gap == pytest.approx((0.4, 0.2))
    assert done.spreads()["gap"].sd == pytest.approx(0.1414, rel=1e-3)
    assert lost.spreads()["validation"] is None
    page = write_curve(tmp_path / "curve.html", curve.to_json()).read_text()
    assert "2 diverged" in page
    assert "30.0%" in page
