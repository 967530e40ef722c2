"""What the page shows of studies, measures and evidence, and says where they are missing."""

import base64
import dataclasses
import hashlib
import json
import re

import numpy as np
import pytest
import torch
from report.samples import (
    HOSTILE,
    Tags,
    make_broken,
    make_evaluation,
    make_measures,
    make_run,
    make_study,
    render,
    save_run,
)

from brolly import L0, L1, L2, Threat
from brolly.data import Split
from brolly.evaluation import Check, Count, Evidence, Measures, Study
from brolly.evaluation._evidence import input_sha256
from brolly.report import BrokenExamples, read_run, write_report


def full_run(name: str = "digits-trades", threat: Threat | None = None, shape=(1, 8, 8)):
    evaluation = make_evaluation(threat, shape)
    text = f"{evaluation.threat.kind}:{evaluation.threat.eps!r}"
    return make_run(
        name,
        evaluations=[evaluation],
        studies=[make_study(text, shape)],
        measures=[make_measures(text)],
        broken={0: make_broken(evaluation, shape)},
    )


@pytest.fixture(scope="module")
def full_page(tmp_path_factory) -> str:
    """The page of one full run."""
    return render(tmp_path_factory.mktemp("full"), full_run())


def test_everything_at_once(tmp_path):
    page = render(tmp_path, full_run("a"), full_run("b"))
    Tags(page)
    assert "://" not in page
    assert len(page) < 5_000_000
    for text in (
        "apgd-ce: 55.0% [34.2, 74.2] after 5 steps, 15.0 points less than after 2.",
        "square, 300 queries: 55.0%", "20 steps: 55.0%",
        "Median distance 0.2", "7 of 17 lie within ε; for 1 more nothing was found.",
        "interval-bounds, n = 20", "No. 0: wrong on 52% of the square.",
        "brolly study runs/digits", "brolly measure runs/digits",
        "Mean corruption error 0.375 [0.300, 0.450]", "gaussian_noise", "severity",
        "worst: the surest mistakes", "drawn with seed 7", "Over n = 11 perturbations",
        "Of 11 examples that broke", "Accuracy by class", "taken for NaN",
        "a, certified (interval-bounds)",
    ):  # fmt: skip
        assert text in page, text
    assert "by distance</li>" not in page
    assert "Not measured" not in page
    assert page.count(">Input gradients</h2>") == 1


def test_bracket_is_drawn_with_its_intervals(tmp_path):
    proved = np.array([False] * 15 + [True] * 10 + [False] * 15)
    evaluation = make_evaluation(proved=proved)
    page = render(tmp_path, make_run(evaluations=[evaluation]))
    low, high = (
        [100 * bound for bound in count.interval] for count in (Count(10, 40), Count(25, 40))
    )
    assert (
        f"At least 25.0% [{low[0]:.1f}, {low[1]:.1f}], proved by interval-bounds; at most 62.5% "
        f"[{high[0]:.1f}, {high[1]:.1f}], as attacks broke the rest." in page
    )
    parts = re.findall(r'class="part (\w+)" style="--from: ([\d.]+); --part: ([\d.]+)"', page)
    assert [(name, float(a), float(b)) for name, a, b in parts] == [
        ("proved", 0, 0.25), ("unknown", 0.25, 0.375), ("broken", 0.625, 0.275),
        ("wrong", 0.9, 0.1),
    ]  # fmt: skip
    whiskers = re.findall(r'class="whisker (\w+)" style="--from: ([\d.]+)', page)
    assert [(name, round(100 * float(start), 1)) for name, start in whiskers] == [
        ("certified", round(low[0], 1)),
        ("attacked", round(high[0], 1)),
    ]


@pytest.mark.parametrize(
    ("status", "trust"), [("pass", "trusted"), ("warn", "doubtful"), ("fail", "broken")]
)
def test_checks_set_the_trust_mark(tmp_path, status, trust):
    check = Check("nan-logits", status, "3 logits are NaN.", "any NaN", (4, 17))
    page = render(tmp_path, make_run(evaluations=[make_evaluation(checks=(check,))]))
    assert f'<p class="trust {trust}"><strong>{trust.capitalize()}</strong>' in page
    for text in (
        "3 logits are NaN.", "Alarm: any NaN.", "docs/checks.md#nan-logits", "Examples 4, 17.",
    ):  # fmt: skip
        assert text in page
    assert ("1 check without alarm" in page) == (status == "pass")


def test_unchecked_is_doubtful(tmp_path):
    assert "nothing was checked" in render(tmp_path, make_run())


def test_missing_sections_name_their_command(tmp_path):
    page = render(tmp_path, make_run(folder="runs/with space"))
    assert "<code>brolly study &#39;runs/with space&#39;</code> adds this" in page
    assert "<code>brolly measure &#39;runs/with space&#39;</code> adds this" in page
    assert "Input gradients" not in page


def test_marginal_gain(tmp_path):
    page = render(tmp_path, make_run())
    assert "20.0 points" in page  # 8 of 40
    assert "7.5 points" in page  # 3 of 40


@pytest.mark.parametrize("threat", [L2(0.5), L1(2.0), L0(3.0)], ids=str)
def test_every_norm(tmp_path, threat):
    page = render(tmp_path, full_run(threat=threat))
    Tags(page)
    name = threat.kind.upper()
    assert f"against ε ({name})" in page or f"{name}, ε" in page
    # In L0 the way to the adversarial input is no distance.
    assert ("data-scales" in page.split("<script>")[0]) == (threat.kind != "l0")


def test_inputs_that_are_no_images(tmp_path):
    page = render(tmp_path, full_run(shape=(20,)))
    Tags(page)
    assert "Minimal distances" in page
    assert "Input gradients" not in page
    assert "<canvas" not in page
    assert "<script" not in page
    assert "script-src" not in page


def test_colour_images(tmp_path):
    page = render(tmp_path, full_run(shape=(3, 8, 8)))
    assert 'data-shape="8,8,3"' in page
    assert "Input gradients" in page


def test_only_its_own_script_may_run(full_page):
    (script,) = re.findall(r"<script>(.*?)</script>", full_page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in full_page
    assert "default-src 'none'" in full_page


def test_embedded_pixels_lead_from_clean_to_adversarial(full_page):
    run = full_run()
    found = re.findall(
        r'<li data-choice="1" data-clean="([^"]*)" data-change="([^"]*)" data-scale="([^"]*)"',
        full_page,
    )
    worst = len(run.broken[0].index) - 1
    clean, change, scale = found[0]
    before = np.frombuffer(base64.b64decode(clean), np.uint8).astype(float)
    after = before + float(scale) / 127 * np.frombuffer(base64.b64decode(change), np.int8)
    assert np.abs(before - 255 * run.broken[0].clean[worst].ravel()).max() <= 0.5
    # Half a step of the clean input, and half a step of the change.
    slack = 0.5 + float(scale) / 127 / 2 + 0.01
    assert np.abs(after - 255 * run.broken[0].adversarial[worst].ravel()).max() <= slack


def test_choices_are_what_they_say(full_page):
    run = full_run()
    items = re.findall(r'<li data-choice="(\d)"[^>]*>no. (\d+),', full_page)
    index = run.broken[0].index
    margins = dict(zip(index.tolist(), range(len(index)), strict=True))
    worst = [margins[int(number)] for choice, number in items if choice == "1"]
    typical = [margins[int(number)] for choice, number in items if choice == "2"]
    drawn = [margins[int(number)] for choice, number in items if choice == "3"]
    assert worst == sorted(margins.values(), reverse=True)
    assert typical[0] == 5  # the median of 0 to 10
    assert sorted(drawn) == sorted(worst)
    assert drawn not in (sorted(drawn), worst)


def test_spectrum_of_a_smooth_and_of_a_rough_perturbation(tmp_path):
    evaluation = make_evaluation(shape=(1, 16, 16))
    broken = make_broken(evaluation, (1, 16, 16))
    rough = 0.1 * (-1) ** np.indices((16, 16)).sum(0)[None]

    def low(change: np.ndarray) -> str:
        moved = np.broadcast_to(0.5 + change, broken.clean.shape).astype("f4")
        clean = np.full_like(broken.clean, 0.5)
        shown = BrokenExamples(broken.index, clean, moved, broken.logits)
        page = render(tmp_path, make_run(evaluations=[evaluation], broken={0: shown}))
        (found,) = re.findall(r"([\d.]+%) of the power lies below", page)
        return found

    assert low(np.full((1, 16, 16), 0.1)) == "100.0%"
    assert low(rough) == "0.0%"


def test_ten_thousand_examples_stay_under_5_mb(tmp_path):
    count = 10_000
    rng = np.random.default_rng(0)
    broken_by = rng.choice([-2, -1, 0, 1], count)
    label = rng.integers(0, 10, count)
    fooled = np.where(broken_by == -1, label, (label + rng.integers(1, 10, count)) % 10)
    evaluation = make_evaluation(
        shape=(1, 28, 28), index=np.arange(count), label=label, broken_by=broken_by,
        clean_prediction=np.where(broken_by == -2, fooled, label), adversarial_prediction=fooled,
        distance=np.where(broken_by >= 0, 0.1 * rng.random(count), np.nan),
        tried=np.full(count, 2), queries=np.full(count, 100), proved=np.zeros(count, dtype=bool),
    ).counted()  # fmt: skip
    broken = make_broken(evaluation, (1, 28, 28))
    run = make_run(evaluations=[evaluation], broken={0: broken}, metrics=[])
    page = write_report(tmp_path / "report.html", [run])
    assert page.stat().st_size < 1_000_000
    large = full_run(shape=(3, 96, 96))
    assert write_report(tmp_path / "report.html", [large, large]).stat().st_size < 5_000_000


def test_certified_curve_and_single_attacks_share_the_axis(full_page):
    for text in (
        "worst case of all attacks", "apgd-ce, by distance", "after apgd-dlr, by distance",
        "fmn, 100 steps, by distance", "certified (interval-bounds)",
    ):  # fmt: skip
        assert text in full_page, text
    assert "var(--proved)" in full_page


def test_studies_of_another_model_are_not_drawn_beside_the_evaluation(tmp_path):
    run = full_run()
    other = dataclasses.replace(
        run.studies[0], model=dataclasses.replace(run.studies[0].model, sha256="0" * 60)
    )
    page = render(tmp_path, dataclasses.replace(run, studies=[other]))
    assert "certified (interval-bounds)" not in page
    assert "of other weights than the evaluation" in page


def test_a_study_of_little(tmp_path):
    bare = make_study(
        certified=None, surface=None, budgets=(),
        minimal=make_study().minimal.__class__("fmn", (0.0, None)),
    )  # fmt: skip
    page = render(tmp_path, make_run(studies=[bare]))
    Tags(page)
    assert "No certificate fits" in page
    assert "No example that is right was broken" in page


def test_measures_of_little(tmp_path):
    page = render(tmp_path, make_run(measures=[make_measures(corruptions=None)]))
    assert "they were left out" in page


def test_hostile_text_in_studies_measures_and_checks(tmp_path):
    evaluation = make_evaluation(
        classes=tuple(f"{HOSTILE}{k}" for k in range(10)),
        checks=(Check(HOSTILE, "fail", HOSTILE, HOSTILE),),
        certificate=HOSTILE,
    )
    study = make_study(command=HOSTILE, warnings=(HOSTILE,))
    study = dataclasses.replace(
        study,
        data=dataclasses.replace(study.data, classes=evaluation.data.classes),
        minimal=dataclasses.replace(study.minimal, attack=HOSTILE),
        budgets=tuple(dataclasses.replace(c, attack=HOSTILE) for c in study.budgets),
    )
    measures = make_measures(command=HOSTILE, warnings=(HOSTILE,), attack=HOSTILE)
    run = make_run(
        evaluations=[evaluation], studies=[study], measures=[measures],
        broken={0: make_broken(evaluation)}, folder=f'"{HOSTILE}',
    )  # fmt: skip
    page = render(tmp_path, run)
    Tags(page)
    assert page.count("<script") == 1
    assert "&lt;script&gt;" in page


def test_studies_and_measures_survive_saving(tmp_path):
    run = full_run()
    folder = save_run(tmp_path / "run", run)
    again = read_run(folder)
    assert list(again.studies) == list(run.studies)
    assert list(again.measures) == list(run.measures)
    assert again.broken == {}  # evidence without the clean inputs


@pytest.mark.parametrize(("kind", "name"), [("study", Study), ("measures", Measures)])
def test_damaged_studies_and_measures_are_named(tmp_path, kind, name):
    folder = save_run(tmp_path / "run", full_run())
    (folder / kind / "0.json").write_text(json.dumps({"schema": 1}))
    with pytest.raises(ValueError, match=rf"0\.json holds no {name.__name__}"):
        read_run(folder)


def test_evidence_is_read_where_the_clean_inputs_are_given(tmp_path):
    inputs = torch.rand(360, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(360) % 10
    split = Split(inputs, labels, 1.0, "test", "digits", tuple("0123456789"))
    evaluation = make_evaluation()
    evaluation = dataclasses.replace(
        evaluation, data=dataclasses.replace(evaluation.data, sha256=split.sha256)
    )
    folder = save_run(tmp_path / "run", make_run(evaluations=[evaluation]))
    broken = make_broken(evaluation)
    Evidence(
        evaluation=evaluation,
        input_sha256=input_sha256(split.first(40)),
        clean_logits=np.zeros((40, 10), dtype=np.float32),
        adversarial_index=broken.index,
        adversarial=broken.adversarial,
        adversarial_logits=broken.logits,
    ).save(folder / "evidence" / "0.h5")
    found = read_run(folder, split).broken[0]
    assert np.array_equal(found.clean, inputs[broken.index].numpy())
    assert np.array_equal(found.adversarial, broken.adversarial)
    other = dataclasses.replace(split, labels=labels.flip(0))
    assert read_run(folder, other).broken == {}
    dataclasses.replace(evaluation, broken_by=evaluation.broken_by[::-1].copy()).save(
        folder / "evaluation" / "0.json"
    )
    assert read_run(folder, split).broken == {}  # evidence of an earlier state
    assert read_run(folder).broken == {}
