import dataclasses
import errno
import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brolly import Evaluation, evaluate
from brolly.evaluation import HELD, WRONG, AttackRecord, Count, CurvePoint


@pytest.fixture(scope="module")
def result(problems) -> Evaluation:
    problem = problems()
    return evaluate(problem.model, problem.split, problem.threat, command="brolly evaluate there",
                    curve_examples=20, seed=4, name="linear")  # fmt: skip


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [
        # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_the_one_published(hits: int, total: int, low: float, high: float) -> None:
    assert Count(hits, total).interval == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("hits", "total"), [(0, 1), (1, 1), (3, 7), (397, 397), (5000, 10000)])
def test_the_interval_is_wilsons(hits: int, total: int) -> None:
    z, p = 1.959963984540054, hits / total
    centre = (p + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * math.sqrt(p * (1 - p) / total + z**2 / (4 * total**2))
    assert Count(hits, total).interval == pytest.approx((centre - half, centre + half), abs=1e-12)


def test_a_count_of_nothing_says_nothing() -> None:
    assert math.isnan(Count(0, 0).rate)
    assert Count(0, 0).interval == (0.0, 1.0)
    assert str(Count(3, 4)).startswith("75.00% [")


def test_counts_are_the_verdicts(result: Evaluation) -> None:
    assert result.clean == Count(int((result.broken_by != WRONG).sum()), 60)
    assert result.robust == Count(int((result.broken_by == HELD).sum()), 60)
    assert result.cost.forwards == sum(attack.cost.forwards for attack in result.attacks)


def test_it_comes_back_from_its_file(result: Evaluation, tmp_path: Path) -> None:
    file = tmp_path / "folder" / "result.json"
    result.save(file)
    again = Evaluation.load(file)
    assert again.to_json() == result.to_json()
    assert again.threat == result.threat
    assert again.attacks == result.attacks
    assert again.curve == result.curve
    assert repr(again) == repr(result)
    for name in ("index", "label", "clean_prediction", "adversarial_prediction", "broken_by"):
        array = getattr(again, name)
        assert array.dtype == np.int64
        assert np.array_equal(array, getattr(result, name))
    np.testing.assert_allclose(again.distance, result.distance, rtol=1e-8)  # NaN where they held
    for old, new in zip(result.pictures, again.pictures, strict=True):
        assert np.array_equal(old.clean, new.clean)
        assert np.array_equal(old.adversarial, new.adversarial)
    assert [p.index for p in again.pictures] == [p.index for p in result.pictures]


def test_the_file_is_json_that_any_language_reads(result: Evaluation, tmp_path: Path) -> None:
    result.save(tmp_path / "result.json")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    value = json.loads((tmp_path / "result.json").read_text(), parse_constant=refuse)
    assert value["schema"] == 2
    assert value["robust"]["hits"] == result.robust.hits
    assert value["robust"]["low"] < value["robust"]["rate"] < value["robust"]["high"]
    assert value["threat"] == {
        "text": "linf:0.05", "kind": "linf", "eps": 0.05, "bounds": [0.0, 1.0]
    }  # fmt: skip
    assert value["seed"] == 4
    assert value["command"] == "brolly evaluate there"
    assert value["model"]["parameters"] == 39
    assert {"brolly", "torch", "processor"} <= set(value["environment"])


def test_its_repr_is_the_table(result: Evaluation) -> None:
    first, clean, *attacks = repr(result).splitlines()
    assert first == result.verdict()
    assert f"n = 60; {result.attacks[0].name} broke the most" in first
    assert f"({result.clean.hits}/60)" in clean
    assert [line.split()[1] for line in attacks] == ["apgd-ce", "apgd-t"]
    assert f"({result.robust.hits}/60)" in attacks[-1]
    assert "so far, " not in first
    assert "so far, " in dataclasses.replace(result, complete=False).verdict()


def test_a_failed_save_leaves_the_old_file(
    result: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "result.json"
    result.save(file)
    before = file.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        dataclasses.replace(result, command="another").save(file)
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == ["result.json"]


def test_numbers_that_json_does_not_have_are_refused(result: Evaluation, tmp_path: Path) -> None:
    strange = AttackRecord("odd", {"factor": float("nan")}, done=60)
    with pytest.raises(ValueError, match="not JSON compliant"):
        dataclasses.replace(result, attacks=(strange,)).save(tmp_path / "result.json")
    assert not list(tmp_path.iterdir())


def edited(change: Callable[[dict], object]) -> Callable[[str], str]:
    def edit(text: str) -> str:
        value = json.loads(text)
        change(value)
        return json.dumps(value)

    return edit


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: "{}",
        lambda text: "null",
        lambda text: '{"schema": 1}',
        lambda text: "\N{BYTE ORDER MARK}" + text,
        edited(lambda v: v.update(schema="one")),
        edited(lambda v: v.pop("precision")),
        edited(lambda v: v["examples"].pop("distance")),
        edited(lambda v: v["examples"]["distance"].__setitem__(0, "far")),
        edited(lambda v: v["model"].update(extra=1)),
        edited(lambda v: v["threat"].update(kind="l7")),
        edited(lambda v: v["threat"].update(eps=-1.0)),
        edited(lambda v: v["pictures"][0].update(shape=[5, 5])),
        edited(lambda v: v["pictures"][0].update(clean="%%%")),
        # changed by hand: the verdicts no longer add up to the counts
        edited(lambda v: v["robust"].update(hits=v["robust"]["hits"] + 1)),
        edited(lambda v: v["clean"].update(hits=60)),
        edited(lambda v: v["attacks"][0].update(broke=0)),
        edited(lambda v: v["examples"]["broken_by"].__setitem__(0, -2)),
        edited(lambda v: v["examples"].update(broken_by=[-1] * 60)),
        edited(lambda v: v["examples"]["label"].pop()),
        edited(lambda v: v["examples"]["distance"].pop()),
    ],
)
def test_a_file_that_is_damaged_or_contradicts_itself(
    result: Evaluation, tmp_path: Path, damage: Callable[[str], str]
) -> None:
    file = tmp_path / "result.json"
    result.save(file)
    file.write_text(damage(file.read_text()), encoding="utf-8")
    expected = f"^{re.escape(str(file))} is not an evaluation, or is damaged: "
    with pytest.raises(ValueError, match=expected):
        Evaluation.load(file)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    file.write_bytes(b"\x80\x81\xff")
    with pytest.raises(ValueError, match="is not an evaluation, or is damaged"):
        Evaluation.load(file)


def test_a_file_of_a_newer_brolly(result: Evaluation, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    file.write_text(json.dumps({**result.to_json(), "schema": 3, "novelty": "?"}))
    with pytest.raises(ValueError, match=r"has schema 3; .* reads up to 2\. Install a newer"):
        Evaluation.load(file)


def test_the_curve_keeps_its_radii_exactly(result: Evaluation, tmp_path: Path) -> None:
    changed = dataclasses.replace(result, curve=(CurvePoint(8 / 255, Count(3, 20)),))
    changed.save(tmp_path / "result.json")
    assert Evaluation.load(tmp_path / "result.json").curve[0].eps == 8 / 255
