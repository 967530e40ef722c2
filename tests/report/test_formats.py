"""The report as JSON, Markdown, a RobustBench entry and a model card."""

import dataclasses
import json
import re

import numpy as np
import pytest
import yaml
from report.samples import (
    HOSTILE,
    N,
    make_evaluation,
    make_measures,
    make_run,
    make_study,
)

from brolly import L0, L2, Linf
from brolly.attacks import Cost
from brolly.evaluation import AttackRecord, Check, Count
from brolly.report import FILES, write_report

AUTOATTACK = ("apgd-ce", "apgd-t", "fab-t", "square")


def whole_run(**changes):
    return make_run(studies=[make_study()], measures=[make_measures()], **changes)


def written(folder, format, *runs) -> str:
    path = write_report(folder / FILES[format], runs, format)
    assert path.name == FILES[format]
    return path.read_text(encoding="utf-8")


def front_matter(text: str) -> dict:
    _, front, body = re.split(r"^---\n", text, maxsplit=2, flags=re.MULTILINE)
    assert body.startswith("\n# ")
    return yaml.safe_load(front)


def test_json_holds_the_numbers_with_n_and_intervals(tmp_path):
    value = json.loads(written(tmp_path, "json", whole_run(), make_run("b")))
    assert [run["name"] for run in value["runs"]] == ["digits-trades", "b"]
    (evaluation,) = value["runs"][0]["evaluations"]
    low, high = Count(25, N).interval
    expected = {"rate": 0.625, "low": low, "high": high, "hits": 25, "total": N}
    assert evaluation["robust"] == expected
    assert evaluation["certified"]["certificate"] == "interval-bounds"
    assert evaluation["command"] == "brolly evaluate runs/digits --seed 7"
    assert [attack["gain"] for attack in evaluation["attacks"]] == [0.2, 0.075]
    assert evaluation["curve"][0]["total"] == N
    (study,) = value["runs"][0]["studies"]
    assert [curve["kind"] for curve in study["budgets"]] == ["steps", "restarts", "queries"]
    assert value["runs"][0]["measures"][0]["corruptions"]["errors"]["fog"] == pytest.approx(0.375)


def test_json_of_nothing_is_json(tmp_path):
    names = ("index", "label", "clean_prediction", "adversarial_prediction", "broken_by", "proved")
    empty = {name: np.zeros(0, dtype=np.int64) for name in (*names, "tried", "queries")}
    nothing = make_evaluation(
        **empty, distance=np.zeros(0), curve=(), pictures=(), attacks=()
    )  # fmt: skip
    value = json.loads(written(tmp_path, "json", make_run(evaluations=[nothing], metrics=[])))
    assert value["runs"][0]["evaluations"][0]["robust"]["rate"] is None
    assert json.loads(written(tmp_path, "json", make_run(evaluations=[])))["runs"][0]


def test_markdown_holds_the_same_numbers(tmp_path):
    checks = (Check("nan-logits", "fail", "3 logits are NaN.", "any NaN"),)
    run = whole_run(evaluations=[make_evaluation(checks=checks, warnings=("mind | this",))])
    text = written(tmp_path, "md", run).replace("\N{NO-BREAK SPACE}", " ")
    for line in (
        "# Robustness of digits-trades", "n = 40", "62.5% [47.0, 75.8]", "20.0 points",
        "**Broken**: nan-logits: 3 logits are NaN.", "- fail: nan-logits: 3 logits are NaN.",
        "- Warning: mind &#124; this", "Repeat: `brolly evaluate runs/digits --seed 7`",
        "| apgd-ce: steps 5 | 55.0% [34.2, 74.2] |", "Mean corruption error 0.375 [0.300, 0.450]",
    ):  # fmt: skip
        assert line in text, line
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block
    assert "Not evaluated yet" in written(tmp_path, "md", make_run(evaluations=[], folder="r"))


def test_hostile_text_is_text_in_markdown_and_front_matter(tmp_path):
    nasty = f"{HOSTILE} | `x`\n---\nname: other"
    evaluation = make_evaluation(command=nasty, warnings=(nasty,), certificate=nasty)
    run = make_run(nasty, evaluations=[evaluation])
    text = written(tmp_path, "hf-card", run)
    assert "<script" not in text[text.index("# Robustness") :]
    metadata = front_matter(text)
    assert metadata["model-index"][0]["name"] == nasty
    assert "<script" not in written(tmp_path, "md", run)
    assert json.loads(written(tmp_path, "robustbench", run))["name"] == nasty


def test_model_card(tmp_path):
    evaluations = [make_evaluation(), make_evaluation(L2(0.5), certificate="")]
    metadata = front_matter(written(tmp_path, "hf-card", whole_run(evaluations=evaluations)))
    assert metadata["pipeline_tag"] == "image-classification"
    assert metadata["datasets"] == ["digits"]
    assert "license" not in metadata
    (model,) = metadata["model-index"]
    first, second = model["results"]
    assert first["task"] == {"type": "image-classification"}
    assert first["dataset"] == {"name": "digits", "type": "digits", "split": "test"}
    clean, robust, certified = first["metrics"]
    low, high = Count(25, N).interval
    assert clean["value"] == 0.9
    assert robust == {
        "type": "accuracy",
        "name": "Robust accuracy (linf:0.1; apgd-ce, apgd-dlr), upper bound",
        "value": 0.625,
        "args": {"n": N, "interval_95": [round(low, 6), round(high, 6)]},
    }
    assert certified["name"].startswith("Certified accuracy (linf:0.1; interval-bounds)")
    assert len(second["metrics"]) == 2


def test_robustbench_entry(tmp_path):
    run = whole_run(evaluations=[make_evaluation(Linf(8 / 255))])
    entry = json.loads(written(tmp_path, "robustbench", run))
    assert set(entry) == {
        "link", "name", "authors", "additional_data", "number_forward_passes", "dataset", "venue",
        "architecture", "eps", "clean_acc", "reported", "autoattack_acc", "footnote", "unreliable",
    }  # fmt: skip
    unknown = ("link", "authors", "additional_data", "venue", "autoattack_acc")
    assert all(entry[name] is None for name in unknown)
    assert (entry["eps"], entry["clean_acc"], entry["reported"]) == ("8/255", "90.00", "62.50")
    assert "n = 40" in entry["footnote"]
    assert "brolly evaluate runs/digits --seed 7" in entry["footnote"]


def test_robustbench_names_autoattack_only_after_autoattack(tmp_path):
    records = tuple(AttackRecord(name, {}, N, 0, cost=Cost()) for name in AUTOATTACK)
    evaluation = dataclasses.replace(make_evaluation(L2(0.5)), attacks=records).counted()
    entry = json.loads(written(tmp_path, "robustbench", make_run(evaluations=[evaluation])))
    assert entry["autoattack_acc"] == entry["reported"] == "62.50"
    assert entry["eps"] == "0.5"
    fewer = dataclasses.replace(evaluation, attacks=records[:3])
    entry = json.loads(written(tmp_path, "robustbench", make_run(evaluations=[fewer])))
    assert entry["autoattack_acc"] is None


def test_the_largest_complete_evaluation_is_published(tmp_path):
    partial = make_evaluation(complete=False)
    small = make_evaluation(L0(3)).take(np.arange(20))
    entry = json.loads(
        written(tmp_path, "robustbench", make_run(evaluations=[small, make_evaluation(), partial]))
    )
    assert entry["eps"] == "0.1"
    with pytest.raises(ValueError, match="no complete evaluation"):
        written(tmp_path, "robustbench", make_run(evaluations=[partial]))


@pytest.mark.parametrize("format", ["robustbench", "hf-card"])
def test_formats_about_one_run(tmp_path, format):
    with pytest.raises(ValueError, match="about one run; expected 1, got 2"):
        written(tmp_path, format, make_run(), make_run("b"))
    with pytest.raises(ValueError, match="brolly evaluate"):
        written(tmp_path, format, make_run(evaluations=[]))


def test_inputs_that_are_no_images_are_no_image_classification(tmp_path):
    run = make_run(evaluations=[make_evaluation(shape=(20,))])
    metadata = front_matter(written(tmp_path, "hf-card", run))
    assert "pipeline_tag" not in metadata
    assert metadata["model-index"][0]["results"][0]["task"] == {"type": "other"}


def test_nothing_is_left_of_a_report_that_fails(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(ValueError, match="one run"):
        write_report(tmp_path / "README.md", [make_run(), make_run()], "hf-card")
    assert (tmp_path / "README.md").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [tmp_path / "README.md"]
