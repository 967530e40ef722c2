"""The report says what the results say, and nothing else goes in or out of the page."""

import dataclasses
import itertools
import re

import matplotlib
import numpy as np
import pytest
from report.samples import (
    HOSTILE,
    N,
    Tags,
    make_evaluation,
    make_metrics,
    make_run,
    render,
    save_run,
)

from brolly.evaluation import HELD, WRONG, Count, ModelFacts
from brolly.report import read_run, write_report
from brolly.threats import L2, Linf


def test_page_holds_the_numbers(tmp_path):
    page = render(tmp_path, make_run())
    clean, robust = Count(36, N), Count(25, N)
    for count in (clean, robust):
        low, high = count.interval
        assert f"{count.rate:.1%}" in page
        assert f"[{100 * low:.1f}, {100 * high:.1f}]" in page
    for text in (
        "36 of 40", "25 of 40", "n = 40, the first of digits/test, seed 7", "ε = 0.1 (25.5/255)",
        "White-box",
        "apgd-ce", "apgd-dlr", "steps 50", "3,200", "4.0 s", "2 min 03 s", "amplified ×5",
        "upper bound", "Best epoch 5 of 6", "c0ffee", "facade", "93,322", "device.threads",
        "brolly evaluate runs/digits --seed 7", "catastrophic overfitting; went back to epoch 5",
    ):  # fmt: skip
        assert text in page, text


def test_page_is_self_contained_and_well_formed(tmp_path):
    page = render(tmp_path, make_run("a"), make_run("b"))
    tags = Tags(page).found
    assert "://" not in page
    assert [tag for tag, _ in tags].count("script") == 1
    for _, attributes in tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,"))
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for reference in re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', page):
        assert "".join(reference) in ids


def test_page_is_accessible(tmp_path):
    tags = Tags(render(tmp_path, make_run("a"), make_run("b"))).found
    assert ("html", {"lang": "en"}) in tags
    assert ("meta", {"name": "color-scheme", "content": "light dark"}) in tags
    assert all(attributes.get("alt") for tag, attributes in tags if tag == "img")
    charts = [attributes for tag, attributes in tags if attributes.get("role") == "img"]
    assert len([chart for chart in charts if "viewbox" in chart]) == 5
    assert all(attributes["aria-label"] for attributes in charts)
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert max(b - a for a, b in itertools.pairwise(levels)) == 1


def test_figures_take_their_colours_from_the_page(tmp_path):
    page = render(tmp_path, make_run())
    figures = "".join(re.findall(r'<svg role="img".*?</svg>', page, re.DOTALL))
    assert "var(--robust)" in figures
    assert not re.search(r"(fill|stroke): #", figures)


def test_hostile_names_are_escaped(tmp_path):
    evaluation = make_evaluation(
        classes=(HOSTILE, "$x^", "ε漢字"),
        command=HOSTILE,
        warnings=(HOSTILE,),
        curve_attack=f'"{HOSTILE}',
        environment={HOSTILE: HOSTILE},
        model=ModelFacts(f'"{HOSTILE}', HOSTILE, 1),
    )
    metrics = [{**row, "note": HOSTILE} for row in make_metrics()]
    runs = [make_run(f'"{HOSTILE}$', evaluations=[evaluation], metrics=metrics) for _ in "ab"]
    page = render(tmp_path, *runs)
    assert "&lt;script&gt;alert(1)" in page
    assert page.count("<script") == 1
    Tags(page)


def test_page_is_deterministic(tmp_path):
    runs = [make_run("a"), make_run("b", evaluations=[make_evaluation(L2(0.5))])]
    first = write_report(tmp_path / "first.html", runs).read_bytes()
    assert write_report(tmp_path / "second.html", runs).read_bytes() == first


def test_page_and_session_do_not_share_a_plotting_style(tmp_path):
    plain = render(tmp_path, make_run())
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "pink"}):
        assert render(tmp_path, make_run()) == plain
        assert matplotlib.rcParams["font.size"] == 30


def test_page_survives_saving(tmp_path):
    run = make_run()
    folder = save_run(tmp_path / "run", run)
    again = read_run(folder)
    assert again.name == run.name
    assert again.folder == str(folder)
    assert render(tmp_path, dataclasses.replace(again, folder="")) == render(tmp_path, run)


def test_two_runs_of_colour_images_stay_small(tmp_path):
    evaluation = make_evaluation(shape=(3, 224, 224))
    page = render(tmp_path, *[make_run(name, evaluations=[evaluation]) for name in "ab"])
    assert len(page) < 3_000_000
    assert "fewer pixels" in page


def test_partial_evaluation_is_marked(tmp_path):
    whole = make_evaluation()
    slow = dataclasses.replace(whole.attacks[1], done=12)
    partial = dataclasses.replace(whole, attacks=(whole.attacks[0], slow), complete=False)
    page = render(tmp_path, make_run("a", evaluations=[partial]), make_run("b"))
    assert "Partial result" in page
    assert "apgd-dlr: 12 of 40" in page
    assert page.count('<span class="chip">partial</span>') == 1
    assert "Not every evaluation is complete" in page
    assert "Partial result" not in render(tmp_path, make_run())


def test_run_without_metrics(tmp_path):
    page = render(tmp_path, make_run(metrics=[], recipe={}, environment={}))
    assert "made without a training run" in page
    assert "62.5%" in page


@pytest.mark.parametrize(
    "metrics", [make_metrics(1), make_metrics(robust=False), [{"epoch": 1, "best": True}]]
)
def test_learning_curves_of_few_numbers(tmp_path, metrics):
    assert "Learning curves" in render(tmp_path, make_run(metrics=metrics))


def test_run_without_evaluations_says_how_to_get_one(tmp_path):
    folder = save_run(tmp_path / "run", make_run(evaluations=[]))
    page = render(tmp_path, read_run(folder))
    assert "Not evaluated yet" in page
    assert f"brolly evaluate {folder}" in page
    both = render(tmp_path, read_run(folder), make_run("b"))
    assert "not evaluated yet" in both
    assert "Not evaluated yet" in render(tmp_path, *[make_run(evaluations=[])] * 2)


def test_inputs_that_are_no_images(tmp_path):
    page = render(tmp_path, make_run(evaluations=[make_evaluation(shape=(20,))]))
    assert "no image of 1 or 3 channels" in page
    assert "<img" not in page


def test_many_classes_become_a_list(tmp_path):
    evaluation = make_evaluation(classes=tuple(f"class {k}" for k in range(30)))
    page = render(tmp_path, make_run(evaluations=[evaluation]))
    assert "most frequent confusions" in page
    assert "class 9" in page
    assert '<table class="matrix' not in page


def test_nan_logits_are_a_column_of_their_own(tmp_path):
    evaluation = make_evaluation(adversarial_prediction=np.full(N, -1))
    assert "<span>NaN</span>" in render(tmp_path, make_run(evaluations=[evaluation]))


def test_bare_evaluation(tmp_path):
    bare = make_evaluation(curve=(), pictures=(), attacks=(), command="", environment={})
    page = render(tmp_path, make_run(evaluations=[bare]))
    assert "No attack was run" in page
    assert "Other radii were not tried" in page


def test_no_examples_at_all(tmp_path):
    names = ("index", "label", "clean_prediction", "adversarial_prediction", "broken_by", "proved")
    empty = {name: np.zeros(0, dtype=np.int64) for name in names}
    nothing = make_evaluation(**empty, distance=np.zeros(0), curve=(), pictures=(), attacks=())
    page = render(tmp_path, make_run(evaluations=[nothing]))
    assert "n = 0" in page
    assert "nan" not in page


def test_several_runs_are_compared(tmp_path):
    weak = make_evaluation(broken_by=np.array([WRONG] * 4 + [0] * 35 + [HELD]))
    page = render(tmp_path, make_run("strong"), make_run("weak", evaluations=[weak]))
    assert "strong withstands the most: 62.5%" in page
    assert "overlap" not in page
    assert "trades (beta 6)" in page
    assert page.count("Robust accuracy against ε") == 1


def test_overlapping_intervals_and_equal_names_are_told(tmp_path):
    page = render(tmp_path, make_run("same"), make_run("same"))
    assert "same (2)" in page
    assert "intervals overlap" in page


def test_unequal_comparisons_carry_a_notice(tmp_path):
    page = render(tmp_path, make_run("a"), make_run("b", evaluations=[make_evaluation(L2(0.5))]))
    assert "Not the same threats" in page
    assert "withstands the most" not in page
    assert "against ε (L∞)" in page
    assert "against ε (L2)" in page


def test_several_evaluations_of_one_run(tmp_path):
    run = make_run(evaluations=[make_evaluation(), make_evaluation(Linf(0.2))])
    page = render(tmp_path, run)
    Tags(page)
    assert "digits-trades, L∞, ε = 0.2 (51/255)" in page


def test_evaluations_are_read_oldest_first(tmp_path):
    late, early = make_evaluation(created="2025-02"), make_evaluation(created="2025-01")
    folder = save_run(tmp_path / "run", make_run(evaluations=[late, early]))
    assert [e.created for e in read_run(folder).evaluations] == ["2025-01", "2025-02"]


def test_torn_last_line_of_metrics_is_skipped(tmp_path):
    folder = save_run(tmp_path / "run", make_run())
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 7, "sec')
    assert len(read_run(folder).metrics) == 6


def test_folder_without_recipe_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"not a run folder.*recipe\.yaml"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("recipe.yaml", "a: [", "expected a recipe in YAML"),
        ("recipe.yaml", "- 1", "expected a mapping"),
        ("metrics.jsonl", "{\n{}\n", "line 1 is damaged"),
        ("metrics.jsonl", "[1]\n", "expected a JSON object"),
        ("environment.json", "{", "expected a JSON object"),
        ("evaluation/0.json", "{", "not an evaluation"),
    ],
)
def test_damaged_files_are_named(tmp_path, file, text, message):
    folder = save_run(tmp_path / "run", make_run())
    (folder / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_run(folder)


def test_no_runs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one run"):
        write_report(tmp_path / "report.html", [])
