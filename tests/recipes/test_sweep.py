"""Sweeps over digits, tiny."""

import csv
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

import brolly
from brolly import Recipe, Sweep
from brolly.recipes import Configuration, Spread, Trial, pareto_front
from brolly.recipes._sweep import _plan
from brolly.training import RunFolder

TINY = [
    "epochs=1", "data.examples=100", "batch_size=20", "model.width=2", "model.hidden=8",
    "validation.examples=20", "validation.train_examples=0", "validation.steps=1",
]  # fmt: skip


def sweep(*grid: str, seeds: int = 1, **rest: Any) -> tuple[Sweep, list[tuple[str, int]]]:
    """A sweep in `here`, and the trials it trained."""
    told: list[tuple[str, int]] = []
    found = brolly.sweep(
        "digits-plain", [*grid, *TINY], seeds=seeds, output_dir="here",
        on_trial=lambda sweep, each, trial: told.append((str(each), trial.seed)), **rest,
    )  # fmt: skip
    return found, told


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_grid_is_trained_once_and_grows() -> None:
    found, told = sweep("lr=0.01,0.1")
    assert told == [("optimizer.lr=0.01", 0), ("optimizer.lr=0.1", 0)]
    assert {trial.status for trial in found.trials} == {"done"}
    again, told = sweep("lr=0.01,0.1", seeds=2)
    assert told == [("optimizer.lr=0.01", 1), ("optimizer.lr=0.1", 1)]
    assert [each.trials[0] for each in again.configurations] == list(found.trials)
    # Another grid in the same folder finds what was trained, under any spelling.
    _, told = sweep("optimizer.lr=1/10,0.2,1e-2")
    assert told == [("optimizer.lr=0.2", 0)]


def test_a_trial_is_a_run_like_any_other() -> None:
    found, _ = sweep("lr=0.05,0.1")
    trial = found.trials[0]
    recipe = Recipe.load("digits-plain", [*TINY, "optimizer.lr=0.05"])
    assert trial.folder == Path("here/trials") / recipe.folder
    assert Recipe.load(trial.folder / "recipe.yaml") == recipe
    (line,) = (trial.folder / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["validation_clean"] == trial.clean
    assert json.loads(line)["validation_robust"] == trial.robust
    recipe, model, _ = brolly.recipes.load_run(trial.folder)
    assert isinstance(model, torch.nn.Module)


def test_its_files_hold_what_it_returns() -> None:
    found, _ = sweep("lr=1/100,0.1", "average=null,{name: ema, decay: 0.5}")
    kept = json.loads(Path("here/sweep.json").read_text())
    assert kept == json.loads(json.dumps(found.to_json()))
    assert [row["values"] for row in kept["configurations"][:2]] == [
        {"optimizer.lr": 0.01, "average": None},
        {"optimizer.lr": 0.01, "average": {"name": "ema", "decay": 0.5}},
    ]
    rows = list(csv.DictReader(Path("here/sweep.csv").read_text().splitlines()))
    assert [row["optimizer.lr"] for row in rows] == ["1/100", "1/100", "0.1", "0.1"]
    assert [float(row["validation_clean"]) for row in rows] == [t.clean for t in found.trials]


def test_a_trial_that_diverges_is_recorded_and_the_sweep_goes_on() -> None:
    found, told = sweep("lr=1e30,0.1", seeds=2)
    first, second = found.configurations
    assert (first.status, second.status) == ("diverged", "done")
    assert found.best is second
    assert found.pareto == (second,)
    assert "the loss became" in first.trials[0].note
    assert "optimizer.lr=1e30  diverged with seed 0, 1" in repr(found)
    assert len(told) == 4
    assert sweep("lr=1e30,0.1", seeds=2)[1] == []


def test_what_cannot_be_trained_is_told_before_anything_is() -> None:
    with pytest.raises(ValueError, match=r"awp}\] accumulate=2: recipe: .*AWP would search"):
        sweep("weights=[],[{name: awp}]", "accumulate=1,2")
    with pytest.raises(ValueError, match="batch_size is 500"):
        brolly.sweep("digits-plain", ["data.examples=100", "batch_size=20,500"])
    with pytest.raises(ValueError, match="leaves no example to choose by"):
        sweep("data.validation=0", "lr=0.1,0.2")
    with pytest.raises(ValueError, match="trials is for --search random"):
        sweep("lr=0.1,0.2", trials=3)
    with pytest.raises(ValueError, match="nothing varies"):
        sweep("lr=0.1", search="random")
    with pytest.raises(ValueError, match=r"^seeds is 0; expected 1 or more"):
        sweep("lr=0.1", seeds=0)
    with pytest.raises(ValueError, match="'digits-plan' is neither"):
        brolly.sweep("digits-plan")
    assert not list(Path().iterdir())


def test_one_folder_is_in_use_by_one_sweep() -> None:
    grid = ["lr=0.01,0.1", *TINY]
    plan = _plan("digits-plain", grid, 1, "grid", None, 1, "here").checked(None)
    with plan.joined():
        assert len(sweep("lr=0.01,0.1")[1]) == 2  # the same one
        with pytest.raises(ValueError, match="here is in use by another sweep"):
            sweep("lr=0.01,0.2")
    assert len(sweep("lr=0.01,0.2")[1]) == 1


def test_random_search_continues_with_more_trials() -> None:
    found, told = sweep("lr=1e-3..1:log", "momentum=0.1..0.9", search="random", trials=2)
    assert len(told) == 2
    more, told = sweep("lr=1e-3..1:log", "momentum=0.1..0.9", search="random", trials=3)
    assert len(told) == 1
    assert more.configurations[:2] == found.configurations


def test_optuna_asks_again_where_it_was() -> None:
    pytest.importorskip("optuna")
    found, told = sweep("lr=1e-3..1:log", search="optuna", trials=2)
    assert len(told) == 2
    more, told = sweep("lr=1e-3..1:log", search="optuna", trials=3)
    assert len(told) == 1
    assert more.configurations[:2] == found.configurations


def test_workers_share_the_trials_and_each_is_trained_once() -> None:
    held = torch.zeros(3)
    place = held.data_ptr()
    found, told = sweep("lr=0.01,0.1", seeds=2, workers=2)
    assert sorted(told) == sorted(
        (str(each), trial.seed) for each in found.configurations for trial in each.trials
    )
    assert {trial.status for trial in found.trials} == {"done"}
    pids = {(trial.folder / ".lock").read_text() for trial in found.trials}
    assert str(os.getpid()) not in pids
    assert held.data_ptr() == place
    assert not held.is_shared()
    alone, _ = sweep("lr=0.01,0.1", seeds=2)
    assert alone == found


def test_a_damaged_trial_is_told() -> None:
    found, _ = sweep("lr=0.1")
    RunFolder(found.trials[0].folder).metrics.write_text("{")
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 1 is damaged.*Remove"):
        sweep("lr=0.1")


def made(*points: tuple[float, float], metric: str = "robust") -> Sweep:
    """A sweep that found these clean and robust accuracies."""
    rows = tuple(
        Configuration({"lr": str(n)}, (Trial(0, Path(f"{n}"), "done", clean, robust, 1, 1.0),))
        for n, (clean, robust) in enumerate(points)
    )
    return Sweep("made", Path("made"), "grid", metric, "linf:0.1", ("lr",), (), 100, rows)


POINTS = [(0.9, 0.1), (0.85, 0.3), (0.8, 0.3), (0.7, 0.5), (0.6, 0.5), (0.5, 0.2), (0.9, 0.1)]


def test_the_pareto_front_of_known_points() -> None:
    assert pareto_front(POINTS) == [0, 1, 3, 6]
    assert pareto_front([]) == []
    assert [each.values["lr"] for each in made(*POINTS).pareto] == ["0", "1", "3", "6"]


def test_the_best_has_the_highest_metric_and_of_equals_the_higher_other() -> None:
    best, clean = made(*POINTS).best, made(*POINTS, metric="clean").best
    assert best is not None
    assert clean is not None
    assert (best.values["lr"], clean.values["lr"]) == ("3", "0")
    assert made().best is None


def test_spreads_are_over_seeds() -> None:
    trials = tuple(Trial(n, Path(f"{n}"), "done", c, 0.5) for n, c in enumerate((0.5, 0.6, 0.7)))
    each = Configuration({}, trials)
    assert each.clean is not None
    assert each.clean.mean == pytest.approx(0.6)
    assert each.clean.sd == pytest.approx(0.1)
    assert str(each.clean) == "60.0% ± 10.0%"
    assert each.robust == Spread(0.5, 0.0, 3)
    # One open seed: it is not chosen from yet; one seed alone has no deviation.
    half = Configuration({}, (*trials[:1], Trial(1, Path("1"), "open")))
    assert half.clean == Spread(0.5, None, 1)
    assert dataclasses.replace(made(), configurations=(half,)).best is None
