"""A user's mistakes: a message, an exit code, no traceback, nothing lost."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch


def refused(outcome, *fragments: str, code: int = 2) -> None:
    told = outcome.err + outcome.out
    assert outcome.code == code, told
    assert "Traceback" not in told
    assert any(line.startswith("error: ") for line in outcome.err.splitlines()), told
    assert all(fragment in told for fragment in fragments), told


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["train", "digits-robst"], ["error:", "Did you mean 'digits-robust'?"]),
        (["train", "digits-robust", "threat=linf:8"], ["threat: eps is 8", "8/255"]),
        (["train", "digits-robust", "objective.nois=1", "model.widht=3", "epochs=0"],
         ["objective.nois: unknown key. Did you mean 'noise'?", "model.widht", "epochs: is 0"]),
        (["train", "digits-robust", "epochs"], ["no override", "key.path=value"]),
        (["train", "digits-robust", "--device", "cuda:9"], ["device 'cuda:9' is not on this"]),
        (["train", "digits-robust", "optimizer.lr=-1"], ["optimizer: lr is -1", "more than 0"]),
        (["train", "digits-robust", "data.name=didgits"], ["data.name", "Did you mean 'digits'?"]),
        (["evaluate", "nowhere"], ["nowhere is not a run", "brolly train"]),
        (["report", "nowhere"], ["nowhere is not a run"]),
        (["report"], ["no run given"]),
        (["doctor", "nowhere"], ["nowhere is not a run"]),
        (["doctor", "nothing:there", "--data", "digits"], ["nothing:there failed with"]),
        (["doctor", "torch.nn:Identity"], ["needs a data set", "--data digits"]),
        (["trian"], ["Did you mean \"train\"?"]),
        (["train"], ["requires an argument"]),
        (["train", "digits-robust", "--dryrun"], ["Did you mean --dry-run?"]),
        (["train", "digits-robust", "--epochs", "3"], ["--epochs", "without dashes: epochs=..."]),
        (["evaluate", "run", "--examples", "many"], ["--examples", "many"]),
        (["train", "digits-robust", "batch_size=1261"], ["batch_size is 1261", "1 to 1260"]),
        (["train", "digits-robust", "model={name: mlp, hidden: [-1]}"], ["model"]),
        (["train", "digits-robust", "model.width=0", "--dry-run"], ["width"]),
    ],
)  # fmt: skip
def test_mistyped(brolly, words: list[str], fragments: list[str], tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused(brolly(*words), *fragments)
    assert not list(tmp_path.rglob("model.safetensors"))


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["--threat", "linv:0.1"], ["threat 'linv:0.1' is unknown. Did you mean 'linf'?"]),
        (["--threat", "linf:8"], ["eps is 8", "8/255"]),
        (["--threat", "linf"], ["has no radius", "linf:8/255"]),
        (["--examples", "398"], ["examples is 398", "expected 1 to 397"]),
        (["--device", "gpu"], ["device 'gpu' is not on this machine"]),
        (["--batch-size", "0"], ["batch_size is 0", "expected 1 or more"]),
        (["--examples", "0"], ["examples is 0", "expected 1 to 397"]),
        (["--examples", "-5"], ["examples is -5", "expected 1 to 397"]),
    ],
)
def test_evaluate_options(brolly, finished: Path, words: list[str], fragments: list[str]) -> None:
    refused(brolly("evaluate", finished, *words), "error:", *fragments)
    assert not list(finished.glob("evaluation/*"))


def test_overrides_of_a_run(brolly, finished: Path) -> None:
    refused(brolly("train", finished, "epochs=9"), "recipe is fixed", "recipe.yaml")


def test_a_damaged_run(brolly, finished: Path) -> None:
    weights = (finished / "model.safetensors").read_bytes()
    (finished / "model.safetensors").write_bytes(weights[:100])
    refused(brolly("evaluate", finished), "model.safetensors is damaged")
    (finished / "model.safetensors").unlink()
    refused(brolly("evaluate", finished), "not trained to the end yet", "brolly train")
    (finished / "state.pt").write_bytes(b"PK")
    refused(brolly("train", finished), "state.pt is damaged", "left as it is")
    assert (finished / "state.pt").read_bytes() == b"PK"
    environment = json.loads((finished / "environment.json").read_text())
    (finished / "environment.json").write_text(json.dumps({**environment, "schema": 2}))
    refused(brolly("evaluate", finished), "schema 2", "newer brolly")


def test_weights_of_another_network(brolly, finished: Path) -> None:
    recipe = finished / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("width: 4", "width: 5"))
    refused(brolly("evaluate", finished), "another network")


def test_a_damaged_evaluation_is_left_alone(brolly, finished: Path) -> None:
    assert brolly("evaluate", finished, "--examples", 10).code == 0
    (file,) = finished.glob("evaluation/*.json")
    file.write_text(file.read_text()[:200])
    refused(brolly("evaluate", finished, "--examples", 10), "is not an evaluation, or is damaged")
    assert len(file.read_text()) == 200
    file.write_text('{"schema": 7}')
    refused(brolly("report", finished), "schema 7")


def test_an_evaluation_of_other_weights(brolly, finished: Path) -> None:
    assert brolly("evaluate", finished, "--examples", 10).code == 0
    other = torch.load(finished / "state.pt", weights_only=True)["model"]
    import safetensors.torch

    values = {name: tensor.contiguous() for name, tensor in other.items()}
    safetensors.torch.save_file(values, finished / "model.safetensors")
    refused(brolly("evaluate", finished, "--examples", 10), "another model", "left as it is")


def test_missing_and_tampered_data(brolly, tmp_path: Path, monkeypatch, data_folder: Path) -> None:
    def offline(*arguments, **named):
        raise ConnectionError("offline")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))
    monkeypatch.delenv("BROLLY_DATA", raising=False)
    missing = brolly("train", "mnist-fast", "--runs", tmp_path / "runs")
    refused(missing, "train-images-idx3-ubyte.gz", "--data-dir", "BROLLY_DATA", "ConnectionError")

    shutil.copytree(data_folder / "MNIST", tmp_path / "data" / "MNIST")
    labels = tmp_path / "data/MNIST/raw/train-labels-idx1-ubyte.gz"
    labels.write_bytes((data_folder / "FashionMNIST/raw" / labels.name).read_bytes())
    before = labels.read_bytes()
    tampered = brolly("train", "mnist-fast", "--data-dir", tmp_path / "data", "--dry-run")
    refused(tampered, str(labels), "expected",
            "a25bea736e30d166cdddb491f175f624", "9018921c3c673c538a1fc5bad174d6f9")  # fmt: skip
    assert labels.read_bytes() == before
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").rglob("recipe.yaml"))


def test_a_full_disk(brolly, tmp_path: Path, monkeypatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    done = brolly("train", "digits-plain", "epochs=1", "--runs", tmp_path)
    refused(done, "No space left on device", "the same command goes on", code=1)
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_run_in_use(brolly, finished: Path) -> None:
    from brolly import RunFolder

    with RunFolder(finished).locked():
        refused(brolly("evaluate", finished), f"in use by process {os.getpid()}")


def test_training_that_diverges(brolly, tmp_path: Path) -> None:
    words = ["optimizer.lr=1e30", "epochs=3", "--runs", tmp_path]
    done = brolly("train", "digits-plain", "schedule={name: constant}", *words)
    refused(done, "the loss became", "epoch 1, step", "Lower the learning rate", code=1)
