"""The panel that says what went wrong in training, from saved results alone."""

import dataclasses
from pathlib import Path

from report.samples import HOSTILE, Tags, make_metrics, make_run, render, save_run

from brolly.report import read_run
from brolly.training import Finding, Observation, save_findings

DEAD = Finding(
    "dead units", "found", "63 of 64 units are dead.", (Observation("dead in ReLU layer 1", 0.98),),
    "40 % are dead", "CS231n", "a lower learning rate",
)  # fmt: skip


def panel(page: str) -> str:
    start = page.index('<section class="diagnosis')
    return page[start : page.index("</section>", start)]


def test_findings_stand_with_evidence_threshold_and_advice(tmp_path: Path) -> None:
    rows = make_metrics()
    for row in rows:
        row.update(train_loss=2.0 if row["epoch"] == 4 else 1 / row["epoch"])
    page = render(tmp_path, make_run(metrics=rows))
    Tags(page)
    found, *_ = panel(page).split("<details>")
    assert "unstable training</b>: The loss rose by 1.67 to epoch 4." in found
    assert "largest rise above the lowest loss before 1.667 (epoch 4)" in found
    assert "20% of the first epoch" in found
    assert "Pascanu, Mikolov &amp; Bengio 2013" in found
    assert "gradient clipping" in found
    assert "robust overfitting" not in found
    assert "robust overfitting" in panel(page)
    assert "brolly diagnose" in panel(page)


def test_what_was_saved_of_the_network_is_shown(tmp_path: Path) -> None:
    folder = save_run(tmp_path / "run", make_run())
    stale = dataclasses.replace(DEAD, name="underfitting", verdict="of an earlier epoch")
    save_findings(folder / "diagnosis.json", [DEAD, stale])
    shown = panel(render(tmp_path, read_run(folder)))
    assert "63 of 64 units are dead." in shown
    assert "an earlier epoch" not in shown  # the metrics say more than the file


def test_a_run_that_diverged_at_once_is_judged_without_metrics(tmp_path: Path) -> None:
    folder = save_run(tmp_path / "run", make_run(metrics=[], evaluations=[]))
    assert "nothing to judge the training by" in panel(render(tmp_path, read_run(folder)))
    (folder / "diverged.txt").write_text(f"the loss became nan {HOSTILE}\n")
    page = render(tmp_path, read_run(folder))
    assert "Training diverged: the loss became nan" in panel(page)
    assert HOSTILE not in page


def test_lines_without_a_loss_are_no_epochs(tmp_path: Path) -> None:
    shown = panel(render(tmp_path, make_run(metrics=[{"epoch": 1, "validation_clean": 0.5}])))
    assert "nothing to judge the training by" in shown
