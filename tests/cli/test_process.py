"""The command as a process of its own: exit codes, streams, Ctrl-C, a full disk."""

import json
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BROLLY = [sys.executable, "-m", "brolly"]


def start(*words: str | Path) -> subprocess.Popen:
    """Starts the command; Ctrl-C reaches it even where the tests themselves ignore it."""
    return subprocess.Popen(
        [*BROLLY, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def comparable(file: Path) -> dict:
    value = json.loads(file.read_text())
    del value["created"]
    for attack in value["attacks"]:
        del attack["cost"]["seconds"]
    return value


def test_an_interrupted_evaluation_says_how_to_go_on_and_does(finished: Path, brolly) -> None:
    twin = shutil.copytree(finished, "twin/" + str(finished))
    words = ["evaluate", finished, "--examples", "80", "--batch-size", "2"]
    file = finished / "evaluation" / "linf-0.15.json"
    process = start(*words)
    deadline = time.monotonic() + 60
    while not file.is_file():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it did not begin"
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    again = f"brolly evaluate {finished} --examples 80"
    assert process.returncode == 130
    assert err == f"\nInterrupted; what is done is kept. Go on with: {again}\n"
    assert "Report:" not in out
    begun = json.loads(file.read_text())
    assert not begun["complete"]

    code, out, err = brolly(*shlex.split(again)[1:])
    assert (code, err) == (0, "")
    assert json.loads(file.read_text())["created"] == begun["created"]
    (finished / "evaluation").rename("interrupted")
    shutil.rmtree(finished)
    shutil.move(twin, finished)
    assert brolly(*shlex.split(again)[1:]).code == 0
    assert comparable(Path("interrupted") / file.name) == comparable(file)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--version"], 0, ""),
        (["train", "digits-robst", "--print-config"], 2, "error: recipe 'digits-robst' is neither"),
        (["trian"], 2, "error: Unknown command"),
    ],
)
def test_exit_codes_and_streams(here: Path, words: list[str], code: int, told: str) -> None:
    process = start(*words)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err.startswith(told)
    assert bool(out) == (code == 0)
    assert bool(err) == (code != 0)
    assert not list(here.iterdir())


def test_a_disk_that_fills_up_while_the_state_is_written(tiny, here: Path) -> None:
    process = subprocess.run(
        [*BROLLY, "train", "digits-plain", *tiny],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert process.returncode == 1
    assert process.stderr.startswith("error: File too large")
    assert process.stderr.endswith("the same command goes on\n")
    (run,) = (here / "runs").iterdir()
    left = {path.name for path in run.iterdir()}
    assert left == {".lock", "recipe.yaml", "environment.json", "metrics.jsonl"}
