"""The command, in process, and a small run to work on."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from brolly import PGD
from brolly.cli._main import run

TINY = [
    "epochs=2", "data.examples=300", "batch_size=20", "model.width=4", "model.hidden=16",
    "validation.examples=50", "validation.train_examples=50", "validation.steps=2",
]  # fmt: skip


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def brolly(here: Path, capsys: pytest.CaptureFixture) -> Callable[..., Outcome]:
    """Runs the command in this process and in an empty folder."""

    def call(*arguments: str | Path) -> Outcome:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("trained")
    assert run(["train", "digits-plain", *TINY, "--runs", str(runs)]) == 0
    (folder,) = runs.iterdir()
    return folder


@pytest.fixture
def finished(trained_once: Path, here: Path) -> Path:
    """A finished run of one's own, as a path from the current folder."""
    shutil.copytree(trained_once, here / "runs" / trained_once.name)
    return Path("runs") / trained_once.name


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations of a few steps, for tests of what is around them."""
    monkeypatch.setattr(
        "brolly.evaluation._evaluate.default_attacks", lambda threat: (PGD(threat, steps=2),)
    )
    monkeypatch.setattr("brolly.evaluation._curve._STEPS", 2)


@pytest.fixture
def tiny() -> list[str]:
    """Overrides that make a recipe small."""
    return list(TINY)
