"""What the commands do and say when all goes well."""

import io
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file

import brolly as package
from brolly import Evaluation, Recipe
from brolly.attacks import CATALOGUE, ENSEMBLES, FROM_PYTHON
from brolly.recipes import SHIPPED
from brolly.training import RunFolder

ESCAPE = "\x1b"


def results(run: Path) -> list[Path]:
    return sorted((run / "evaluation").iterdir())


def test_train_evaluate_report_doctor(brolly, tiny, here) -> None:
    code, out, err = brolly("train", "digits-robust", *tiny)
    (run,) = Path("runs").iterdir()
    assert (code, err) == (0, "")
    assert run.name == Recipe.load("digits-robust", tiny).folder
    assert ESCAPE not in out
    first, second, *rest = out.splitlines()
    assert re.match(r"epoch 1/2  \S+ s  lr \S+  loss \S+  train \S+% clean \S+% robust  val", first)
    assert second.startswith("epoch 2/2")
    assert rest == ["Kept the weights of epoch 2.", f"Run: {run}", f"Next: brolly evaluate {run}"]

    code, out, err = brolly(*shlex.split(rest[-1].removeprefix("Next: brolly ")), "--examples", 20)
    assert (code, err) == (0, "")
    (file,) = results(run)
    result = Evaluation.load(file)
    assert file.name == "linf-0.15.json"
    assert result.complete
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["apgd-ce", "apgd-t"]
    assert f"({result.robust.hits}/20)" in lines[1]
    assert lines[2] == result.verdict()
    assert lines[2].startswith("digits-robust on digits/test: ")
    assert lines[3] == f"Report: {run / 'report.html'}"
    proof = run / "evidence" / "linf-0.15.h5"
    assert lines[4] == f"Evidence: {proof}"
    assert lines[5] == f"Verify: brolly verify {proof} --model {run}"
    assert lines[6] == f"Repeat: brolly evaluate {run} --examples 20"
    assert result.command == lines[6].removeprefix("Repeat: ")
    code, out, err = brolly(*shlex.split(lines[5].removeprefix("Verify: brolly ")))
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == result.verdict()
    assert result.verdict().split(" robust")[0].split()[-1] in (run / "report.html").read_text()

    (run / "report.html").unlink()
    assert brolly("report", run) == (0, f"{run / 'report.html'}\n", "")
    assert "<html" in (run / "report.html").read_text()

    code, out, err = brolly("doctor", run)
    assert (code, err) == (0, "")
    assert "Preflight of " in out
    assert "fail" not in out


def test_training_again_trains_nothing(brolly, tiny, finished: Path) -> None:
    before = {path: path.read_bytes() for path in finished.iterdir() if path.name != ".lock"}
    for arguments in (["digits-plain", *tiny], [finished], [finished / "recipe.yaml"]):
        told = f"{finished} is trained already.\nNext: brolly evaluate {finished}\n"
        assert brolly("train", *arguments) == (0, told, "")
    assert {path: path.read_bytes() for path in before} == before
    assert list(Path("runs").iterdir()) == [finished]


def test_evaluating_again_returns_the_same_at_once(brolly, finished: Path, monkeypatch) -> None:
    first = brolly("evaluate", finished, "--examples", 10)
    (file,) = results(finished)
    before = file.read_bytes()
    monkeypatch.setattr(
        "brolly.attacks.Attack.__call__", lambda *_, **__: pytest.fail("it attacked again")
    )
    code, out, err = brolly("evaluate", finished, "--examples", 10)
    assert (code, err) == (0, "")
    assert out.splitlines() == first.out.splitlines()[2:]  # no attack was run, so none is reported
    assert file.read_bytes() == before


def test_each_question_has_a_file_of_its_own(brolly, quick, finished: Path) -> None:
    questions = {
        "linf-0.15.json": [],
        "linf-0.0313725.json": ["--threat", "linf:8/255"],
        "l2-0.5.json": ["--threat", "l2:0.5"],
        "linf-0.15-seed4.json": ["--seed", "4"],
        "linf-0.15-bfloat16.json": ["--precision", "bfloat16"],
    }
    for arguments in questions.values():
        code, out, _ = brolly("evaluate", finished, "--examples", "3", *arguments)
        assert code == 0
        again = out.splitlines()[-1].removeprefix("Repeat: brolly ")
        assert brolly(*shlex.split(again)).out.splitlines()[-1] == f"Repeat: brolly {again}"
    assert {file.name for file in results(finished)} == set(questions)
    low = Evaluation.load(finished / "evaluation" / "linf-0.15-bfloat16.json")
    assert (low.precision, low.seed) == ("bfloat16", 0)
    assert Evaluation.load(finished / "evaluation" / "linf-0.15-seed4.json").seed == 4


def test_the_batch_size_changes_nothing(brolly, finished: Path) -> None:
    verdicts = []
    for size in ("3", "100"):
        brolly("evaluate", finished, "--examples", "10", "--batch-size", size)
        (file,) = results(finished)
        verdicts.append(json.loads(file.read_text())["examples"])
        file.unlink()
    assert verdicts[0] == verdicts[1]


def test_commands_to_copy_carry_what_this_machine_needs(brolly, tiny, here) -> None:
    data = here / "my data"
    data.mkdir()
    _, out, _ = brolly("train", "digits-plain", *tiny, "--data-dir", data, "--device", "cpu")
    (run,) = Path("runs").iterdir()
    expected = f"brolly evaluate {run} --data-dir '{data}' --device cpu"
    assert out.splitlines()[-1] == f"Next: {expected}"
    _, out, _ = brolly(*shlex.split(expected)[1:], "--examples", "2")
    again = f"brolly evaluate {run} --examples 2 --data-dir '{data}' --device cpu"
    assert out.splitlines()[-1] == f"Repeat: {again}"


def test_going_on_with_a_half_finished_run(brolly, tiny, trained_once: Path, monkeypatch) -> None:
    def stop(self, record) -> None:
        if record.epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("brolly.cli._live.TrainingTable.on_epoch", stop)
        code, _, err = brolly("train", "digits-plain", *tiny)
    (run,) = Path("runs").iterdir()
    again = f"brolly train {run}"
    assert code == 130
    assert err == f"\nInterrupted; the last whole epoch is kept. Go on with: {again}\n"
    assert not RunFolder(run).finished
    code, out, err = brolly(*shlex.split(again)[1:])
    assert (code, err) == (0, f"Going on in {run}\n")
    assert out.startswith("epoch 2/2")
    assert (run / "recipe.yaml").read_bytes() == (trained_once / "recipe.yaml").read_bytes()
    weights = [load_file(folder / "model.safetensors") for folder in (run, trained_once)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(
    ("begins", "told"),
    [
        ("build_data", r"error: interrupted; the same command goes on\n"),
        ("build_model", r"\nInterrupted; no epoch was whole\. Go on with: brolly train runs/\S+\n"),
    ],
)
def test_interrupted_before_the_first_epoch(
    brolly, tiny, here: Path, monkeypatch, begins: str, told: str
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"brolly.recipes._run.{begins}", interrupt)
    code, out, err = brolly("train", "digits-plain", *tiny)
    assert (code, out) == (130, "")
    assert re.fullmatch(told, err)


def test_a_run_is_a_recipe_for_the_next(brolly, tiny, finished: Path) -> None:
    code, out, _ = brolly("train", finished / "recipe.yaml", "seed=5", "--dry-run")
    assert code == 0
    assert f"{finished} " not in out
    assert "(new)" in out


@pytest.mark.parametrize("name", SHIPPED)
def test_print_config_prints_a_recipe(brolly, here: Path, name: str) -> None:
    code, out, err = brolly("train", name, "seed=7", "--print-config")
    assert (code, err) == (0, "")
    (here / "printed.yaml").write_text(out)
    assert Recipe.load("printed.yaml") == Recipe.load(name, ["seed=7"])
    assert set(yaml.safe_load(out)) == set(Recipe.model_fields)
    assert os.listdir(here) == ["printed.yaml"]


def test_dry_run_says_what_would_be_done_and_leaves_nothing(brolly, tiny, here: Path) -> None:
    code, out, err = brolly("train", "digits-robust", *tiny, "--dry-run")
    assert (code, err) == (0, "")
    assert not os.listdir(here)
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert lines["data"] == "digits: 300 to train, 140 to validate, 397 to test"
    assert re.fullmatch(r"small-cnn: [\d,]+ parameters", lines["model"])
    objective = r"n-fgsm against linf:0.15: loss \d\.\d+ at the first step"
    assert re.fullmatch(objective, lines["objective"])
    assert lines["training"] == "2 epochs of 15 steps on cpu"
    assert lines["run"] == f"runs/{Recipe.load('digits-robust', tiny).folder} (new)"


@pytest.mark.parametrize(
    "objective",
    ["{name: free, replays: 4}", "{name: rst, labelled: 50, teacher: RUN, attack: {steps: 1}}"],
)
def test_dry_run_begins_what_training_begins(brolly, tiny, finished: Path, objective) -> None:
    objective = objective.replace("RUN", str(finished))
    code, out, err = brolly("train", "digits-robust", *tiny, f"objective={objective}", "--dry-run")
    assert (code, err) == (0, "")
    steps = 15 * (4 if "free" in objective else 1)
    assert f"training  2 epochs of {steps} steps on" in out


def test_dry_run_names_every_part(brolly, tiny) -> None:
    parts = [
        "penalties=[{name: l1, weight: 1e-4}]", "weights=[{name: awp}, {name: gaussian-noise}]",
        "optimizer={name: adamw}", "schedule={name: warmup, length: 1, then: {name: cosine}}",
        "average={name: ema}",
    ]  # fmt: skip
    _, out, _ = brolly("train", "digits-plain", *tiny, *parts, "--dry-run")
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert lines["penalties"].startswith("l1: weight 0.0001")
    assert re.fullmatch(r"awp: .*; gaussian-noise: .*std 0.1.*", lines["weights"])
    assert lines["optimizer"].startswith("adamw: lr 0.001")
    assert lines["schedule"] == "warmup: length 1, then cosine: warmup 0, end 0.0"
    assert lines["average"].startswith("ema: decay")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (["data.validation=0", "schedule={name: plateau}"], "no validation split"),
        (["objective={name: vat, labelled: 99999}"], "labelled is 99999 of 300"),
        (["optimizer={name: adamw, betas: [2, 3]}"], "betas is"),
    ],
)
def test_what_training_refuses_the_dry_run_refuses_and_neither_leaves_a_folder(
    brolly, tiny, here: Path, override: list[str], told: str
) -> None:
    dry = brolly("train", "digits-plain", *tiny, *override, "--dry-run")
    wet = brolly("train", "digits-plain", *tiny, *override)
    assert dry == wet
    assert dry.code == 2
    assert told in dry.err
    assert not list(here.glob("runs/*"))


def test_dry_run_knows_how_far_the_run_is(brolly, tiny, finished: Path) -> None:
    for state in ("ended", "begun"):
        _, out, _ = brolly("train", "digits-plain", *tiny, "--dry-run")
        assert out.splitlines()[-1].split(maxsplit=1)[1] == f"{finished} ({state})"
        (finished / "model.safetensors").unlink(missing_ok=True)


def test_report_of_two_runs(brolly, finished: Path) -> None:
    other = finished.with_name("another")
    shutil.copytree(finished, other)
    recipe = other / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("name: digits-plain", "name: my-twin"))
    brolly("evaluate", finished, "--examples", "5")
    assert brolly("report", finished, other) == (0, "report.html\n", "")
    page = Path("report.html").read_text()
    assert "digits-plain" in page
    assert "my-twin" in page
    target = Path("pages") / "both.html"
    assert brolly("report", finished, other, "--output", target) == (0, f"{target}\n", "")
    assert target.is_file()


def test_attacks_by_name(brolly, finished: Path) -> None:
    code, out, err = brolly("evaluate", finished, "--examples", "5", "--attack", "fab,quick")
    assert code == 0
    assert err.startswith("check warn: data-hygiene: 5 examples are too few")
    (file,) = results(finished)
    assert file.name == "linf-0.15-fab+quick.json"
    assert [attack.name for attack in Evaluation.load(file).attacks] == ["fab", "apgd-ce", "apgd-t"]
    again = out.splitlines()[-1].removeprefix("Repeat: brolly ")
    assert "--attack fab,quick --examples 5" in again
    assert brolly(*shlex.split(again))[1].splitlines()[-3:] == out.splitlines()[-3:]


def test_unknown_attacks(brolly, finished: Path) -> None:
    code, _, err = brolly("evaluate", finished, "--attack", "sqare")
    assert code == 2
    assert "attack 'sqare' is unknown. Did you mean 'square'? `brolly attacks` lists them" in err
    code, _, err = brolly("evaluate", finished, "--attack", "fgsm", "--threat", "l1:2")
    assert code == 2
    assert "FGSM does not search l1:2" in err


def test_the_list_of_attacks(brolly, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = brolly("attacks")
    assert (code, err) == (0, "")
    listed = [line.split()[0] for line in out.splitlines() if line.strip()]
    for name, entry in CATALOGUE.items():
        assert name in listed
        assert entry.paper in out
    assert set(ENSEMBLES) <= set(listed)
    for call, _, _ in FROM_PYTHON:
        assert hasattr(package, call.split("(")[0].split(".")[0])
        assert call in out


def test_report_of_a_run_that_is_not_evaluated_yet(brolly, finished: Path) -> None:
    assert brolly("report", finished).code == 0
    assert (finished / "report.html").is_file()


def test_doctor_without_a_model_looks_at_the_environment(brolly, monkeypatch, here: Path) -> None:
    monkeypatch.delenv("BROLLY_DATA", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda project: str(here / "cache"))
    code, out, err = brolly("doctor")
    assert (code, err) == (0, "")
    assert re.search(r"torch +2\.", out)
    assert re.search(r"data: mnist +not found; downloaded when used", out)
    assert not os.listdir(here)


MY_NET = """
import torch
def good():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()
def probable():
    return torch.nn.Sequential(good(), torch.nn.Softmax(1)).eval()
ready = good()
"""


@pytest.fixture
def my_net(here: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's in the current folder."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = "my_net_for_the_doctor"
    (here / f"{name}.py").write_text(MY_NET)
    yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("factory", "failed"),
    [
        ("good", {"clean accuracy"}),
        ("ready", {"clean accuracy"}),
        ("probable", {"logits", "clean accuracy"}),
    ],
)
def test_doctor_of_a_model_of_ones_own(brolly, my_net, factory: str, failed: set[str]) -> None:
    code, out, err = brolly("doctor", f"{my_net}:{factory}", "--data", "digits")
    assert (code, err) == (1, "")  # it is not finished, so the accuracy fails
    table = out.partition("Preflight of")[2]
    assert {m[1] for m in re.finditer(r"^ *([\w ]+?) +fail ", table, re.M)} == failed


def test_version_and_help(brolly) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", brolly("--version").out)
    code, out, err = brolly("--help")
    assert (code, err) == (0, "")
    for command in ("demo", "train", "evaluate", "report", "doctor", "attacks"):
        assert re.search(rf"\b{command} +\S", out)
        code, help_, err = brolly(command, "--help")
        assert (code, err) == (0, "")
        assert help_.startswith(f"Usage: brolly {command}")


def test_the_help_of_train_names_every_shipped_recipe(brolly) -> None:
    words = set(re.findall(r"[\w-]+", brolly("train", "--help").out))
    assert set(SHIPPED) <= words


def test_on_a_terminal_tables_grow(brolly, tiny, monkeypatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(
        "brolly.cli._live.Console", lambda: Console(force_terminal=True, file=screen, width=120)
    )
    code, out, _ = brolly("train", "digits-plain", *tiny)
    assert code == 0
    assert "epoch 1/2" not in out
    shown = re.sub(r"\x1b\[[\d;?]*\w", "", screen.getvalue())
    assert "Training digits-plain" in shown
    assert "━ 100%" in shown
    (run,) = Path("runs").iterdir()
    screen.truncate(0)
    code, out, _ = brolly("evaluate", run, "--examples", "10")
    assert code == 0
    assert out.splitlines()[0].startswith("digits-plain on digits/test: ")
    shown = re.sub(r"\x1b\[[\d;?]*\w", "", screen.getvalue())
    assert "Evaluating digits-plain against linf:0.15" in shown
    assert re.search(r"apgd-t +10/10", shown)


def test_demo_shows_the_difference(brolly, quick, monkeypatch, tiny) -> None:
    load = Recipe.load
    monkeypatch.setattr(Recipe, "load", lambda source, overrides=(): load(
        source, [*overrides, *tiny] if source in SHIPPED else overrides))  # fmt: skip
    code, out, err = brolly("demo", "--folder", "shown")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"Report: {Path('shown', 'report.html').resolve()}"
    verdicts = [line for line in out.splitlines() if " on digits/test: " in line]
    assert [verdict.split()[0] for verdict in verdicts] == ["digits-plain", "digits-robust"]
    runs = sorted(path for path in Path("shown").iterdir() if path.is_dir())
    for run in runs:
        assert Evaluation.load(results(run)[0]).command == f"brolly evaluate {run}"


@pytest.mark.parametrize("recipe", ["fashion-mnist-fast", "mnist-fast"])
def test_real_data_end_to_end(brolly, data_folder: Path, recipe: str, monkeypatch) -> None:
    monkeypatch.delenv("BROLLY_DATA")
    code, out, err = brolly(
        "train", recipe, "epochs=1", "data.examples=300", "validation.examples=50",
        "validation.train_examples=0", "model.width=4", "--data-dir", data_folder,
    )  # fmt: skip
    assert (code, err) == (0, "")
    following = shlex.split(out.splitlines()[-1].removeprefix("Next: brolly "))
    code, out, err = brolly(*following, "--examples", "20")
    assert code == 0
    assert f"{recipe} on {recipe.removesuffix('-fast')}/test: " in out
    assert "n = 20" in out
