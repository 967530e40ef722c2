"""The run folder: killed at any moment, damaged, locked, full."""

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from brolly import RunFolder
from brolly.training import EpochRecord

RECORD = EpochRecord(1, 2.0, 0.1, 0.7, validation_clean=0.5, best=True)

TRAIN = """
import sys
from pathlib import Path
from brolly import RunFolder
from brolly.recipes import Recipe, train_recipe
recipe = Recipe.load("digits-robust", [
    "epochs=6", "data.examples=192", sys.argv[2],
    "model={name: mlp, hidden: [16], dropout: 0.2}", "schedule={name: plateau, patience: 0}",
    "validation={examples: 30, train_examples: 20, steps: 2}",
])
run = RunFolder(Path(sys.argv[1]))
with run.locked():
    train_recipe(recipe, run, on_epoch=lambda record: print(record.epoch, flush=True))
"""


AUGMENTED = "data.augment=[{name: shift, pixels: 1}]"


def start(folder: Path, override: str = AUGMENTED) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(folder), override], stdout=subprocess.PIPE, text=True
    )


def finish(folder: Path, override: str = AUGMENTED) -> dict[str, torch.Tensor]:
    process = start(folder, override)
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert not list(folder.glob(".*.tmp"))
    return safetensors.torch.load_file(folder / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(
    "override", [AUGMENTED, "objective={name: atta}"], ids=["augmented", "remembering"]
)
def test_killed_again_and_again_it_ends_with_the_same_bits(tmp_path: Path, override: str) -> None:
    expected = finish(tmp_path / "whole", override)
    folder = tmp_path / "killed"
    for epochs, delay in ((1, 0.0), (2, 0.02)):
        process = start(folder, override)
        for _ in range(epochs):
            process.stdout.readline()
        time.sleep(delay)  # somewhere in the next epoch, its check, or the writing of its state
        process.send_signal(signal.SIGKILL)
        process.communicate()
    resumed = finish(folder, override)
    assert expected.keys() == resumed.keys()
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_state_round_trip_is_plain_data(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.load_state() is None
    run.save_state({"weights": {"a": torch.ones(2)}, "scores": [0.5]}, [RECORD])
    state = run.load_state()
    assert torch.equal(state["weights"]["a"], torch.ones(2))
    assert json.loads(run.metrics.read_text())["validation_clean"] == 0.5


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["truncated", "garbage", "empty", "foreign", "pickle", "bomb"])
def test_a_bad_state_is_named_left_alone_and_never_run(tmp_path: Path, kind: str) -> None:
    run, touched = RunFolder(tmp_path), tmp_path / "touched"
    run.save_state({"epoch": 3}, [RECORD])
    good = run.state.read_bytes()
    if kind == "bomb":
        torch.save({"schema": 1, "bomb": Bomb(touched)}, run.state)
    elif kind == "foreign":
        torch.save({"model": torch.ones(1)}, run.state)
    else:
        run.state.write_bytes({
            "truncated": good[: len(good) // 2], "garbage": os.urandom(500), "empty": b"",
            "pickle": pickle.dumps(Bomb(touched)),
        }[kind])  # fmt: skip
    before = run.state.read_bytes()
    with pytest.raises(ValueError, match=r"state.pt is damaged or no state of brolly"):
        run.load_state()
    assert run.state.read_bytes() == before
    assert not touched.exists()


def test_newer_schemas_are_refused(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.create("name: x\n", {})
    run.environment.write_text('{"schema": 99}')
    with pytest.raises(ValueError, match="schema 99; this version of brolly reads up to 1"):
        run.check()
    torch.save({"schema": 99}, run.state)
    with pytest.raises(ValueError, match="schema 99"):
        run.load_state()
    run.environment.write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        run.check()
    with pytest.raises(ValueError, match=r"is not a run: it has no recipe\.yaml"):
        RunFolder(tmp_path / "elsewhere").check()


HOLD = """
import sys, time
from brolly import RunFolder
with RunFolder(sys.argv[1]).locked():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    run = RunFolder(tmp_path)
    with pytest.raises(ValueError, match=f"in use by process {holder.pid}"), run.locked():
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with run.locked():
        pass


@pytest.mark.parametrize("steps", [0, 1])
def test_a_new_folder_goes_with_a_refusal_unless_something_was_trained(
    tmp_path: Path, steps: int
) -> None:
    run = RunFolder(tmp_path / "run")

    def train() -> None:
        with run.locked():
            run.create("name: x\n", {})
            if steps:
                run.save_state({"epoch": 1}, [RECORD])
            raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        train()
    assert run.path.exists() == bool(steps)


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="refused"), RunFolder(tmp_path).locked():
        raise ValueError("refused")
    assert tmp_path.exists()


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch) -> None:
    run = RunFolder(tmp_path)
    run.save_state({"epoch": 1}, [RECORD])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        run.save_state({"epoch": 2}, [RECORD, RECORD])
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_leftovers_of_a_killed_process_are_cleared(tmp_path: Path) -> None:
    leftover = tmp_path / ".state.pt.abc.tmp"
    leftover.write_bytes(b"half")
    with RunFolder(tmp_path).locked():
        assert not leftover.exists()


def test_weights(tmp_path: Path) -> None:
    run, model = RunFolder(tmp_path), nn.Linear(3, 2)
    with pytest.raises(ValueError, match="not trained to the end yet"):
        run.load_weights(model)
    run.finish(model, {"recipe": "{}"})
    other = nn.Linear(3, 2)
    run.load_weights(other)
    assert torch.equal(model.weight, other.weight)
    with pytest.raises(ValueError, match="another network"):
        run.load_weights(nn.Linear(4, 2))
    run.model.write_bytes(run.model.read_bytes()[:-3])
    with pytest.raises(ValueError, match="damaged"):
        run.load_weights(other)


def test_the_same_weights_make_the_same_file(tmp_path: Path) -> None:
    run, model = RunFolder(tmp_path), nn.Linear(3, 2)
    files = set()
    for _ in range(4):
        run.finish(model, dict.fromkeys("abcdefgh", "ä"))
        files.add(run.model.read_bytes())
    assert len(files) == 1
    with safetensors.safe_open(str(run.model), "pt") as file:
        assert file.metadata() == dict.fromkeys("abcdefgh", "ä")
