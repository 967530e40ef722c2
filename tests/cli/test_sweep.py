"""`brolly sweep`: its lines, its page, and two of it on one folder."""

import functools
import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

import brolly as package
from brolly.cli._evaluate import evaluate_run

TINY = [
    "data.examples=100", "batch_size=20", "model.width=2", "model.hidden=8",
    "validation.examples=20", "validation.train_examples=0", "validation.steps=1",
]  # fmt: skip


def test_a_sweep_says_what_it_does_and_where_it_is(brolly, here: Path) -> None:
    words = ["sweep", "digits-plain", "lr=0.01,0.1", "epochs=1", *TINY, "--seeds", "2"]
    code, out, err = brolly(*words)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split("  clean")[0] for line in lines[:4]] == [
        f"trial {n} of 4  optimizer.lr={lr}  seed {seed}"
        for n, (lr, seed) in enumerate([("0.01", 0), ("0.01", 1), ("0.1", 0), ("0.1", 1)], 1)
    ]
    (folder,) = Path("sweeps").iterdir()
    kept = json.loads((folder / "sweep.json").read_text())
    best = kept["configurations"][kept["best"]]["values"]["optimizer.lr"]
    assert f"Best by clean validation accuracy: optimizer.lr={best}" in lines
    again = lines[-1].removeprefix("Repeat: ")
    assert shlex.split(again) == ["brolly", *words]
    page = (folder / "sweep.html").read_text()
    assert "The test split was not read" in page
    assert "Final evaluation" not in page
    assert "trial " not in brolly(*words).out  # all are trained already


def test_only_the_best_is_evaluated_and_only_once(brolly, quick, here, monkeypatch) -> None:
    few = functools.partial(evaluate_run, examples=20, checks="none")
    monkeypatch.setattr("brolly.cli._evaluate.evaluate_run", few)
    words = ["sweep", "digits-plain", "lr=0.01,0.1", "epochs=1", *TINY, "--seeds", "1"]
    words += ["--output-dir", "out", "--evaluate-best"]
    code, out, err = brolly(*words)
    assert (code, err) == (0, "")
    kept = json.loads(Path("out/sweep.json").read_text())
    best = kept["configurations"][kept["best"]]
    (test,) = kept["tests"]
    assert test["folder"] == best["trials"][0]["folder"]
    assert test["robust"]["total"] == 20
    evaluated = [file.parts[2] for file in Path("out/trials").glob("*/evaluation/*.json")]
    assert evaluated == [Path(test["folder"]).name]
    assert "seed 0: " in out
    assert "Final evaluation" in Path("out/sweep.html").read_text()
    assert "seed 0: " not in brolly(*words).out
    assert json.loads(Path("out/sweep.json").read_text())["tests"] == [test]


def test_mistakes_are_user_errors(brolly, here: Path) -> None:
    outcome = brolly("sweep", "digits-plain", "lrr=1,2", "epochs=0,1", "steps=3..1")
    assert outcome.code == 2
    assert outcome.err == (
        "error: the sweep has errors:\n"
        "  steps: the range from 3 to 1 is empty; write the smaller end first\n"
        "  lrr: the recipe has no such key. Did you mean 'lr'?\n"
        "  epochs: is 0; input should be greater than or equal to 1\n"
    )
    assert brolly("sweep", "digits-plain", "--search", "guess").code == 2
    assert not list(here.iterdir())


def test_two_on_one_folder_and_one_of_them_killed(here: Path) -> None:
    words = ["sweep", "digits-plain", "lr=0.05,0.1", "epochs=10", *TINY, "--seeds", "1"]
    words += ["--output-dir", "out"]
    other = subprocess.Popen(
        [sys.executable, "-m", "brolly", *words], stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 100
    while not (begun := list(Path("out/trials").glob("*/state.pt"))):
        assert other.poll() is None
        assert time.monotonic() < deadline, "it did not begin"
        time.sleep(0.01)
    other.send_signal(signal.SIGSTOP)  # it holds its trial, but does nothing
    kept = torch.load(begun[0], weights_only=True)["epoch"]
    metrics = begun[0].with_name("metrics.jsonl")
    first = metrics.read_text().splitlines()[:kept]
    told: list[str] = []

    def on_trial(found, configuration, trial) -> None:
        told.append(str(configuration))
        other.kill()
        other.wait()

    overrides = [word for word in words[2:] if "=" in word]
    found = package.sweep("digits-plain", overrides, seeds=1, output_dir="out", on_trial=on_trial)
    out, _ = other.communicate()
    # The trial in other hands was left alone, then taken up where it had been.
    assert out == ""
    assert told == ["optimizer.lr=0.1", "optimizer.lr=0.05"]
    assert metrics.read_text().splitlines()[:kept] == first
    assert 0 < kept < len(metrics.read_text().splitlines()) == 10
    assert {trial.status for trial in found.trials} == {"done"}
