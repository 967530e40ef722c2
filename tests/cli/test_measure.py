"""`brolly measure` and `brolly transfer`."""

import shlex
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from brolly import Measures
from brolly.evaluation import TransferMatrix


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    """Few steps and few resamples, for tests of what is around them."""
    monkeypatch.setattr("brolly.evaluation._worst_case._STEPS", 2)
    monkeypatch.setattr("brolly.evaluation._estimate._RESAMPLES", 5)


def test_measure_saves_and_prints(brolly, finished: Path) -> None:
    code, out, err = brolly("measure", finished, "--threat", "linf:0.1", "--examples", 8)
    file = finished / "measures" / "linf-0.1-n8.json"
    found = Measures.load(file)
    assert (code, err) == (0, "")
    assert str(found) in out
    assert out.splitlines()[0] == "clean inputs ..."
    assert out.splitlines()[-3:-1] == [f"Saved: {file}", f"Report: {finished / 'report.html'}"]
    assert found.model.name == "digits-plain"
    assert found.data.size == 8
    assert found.corruptions is not None
    assert [each.name for each in found.out_of_distribution] == ["uniform noise"]
    assert found.command == out.splitlines()[-1].removeprefix("Repeat: ")

    # Again, relative to what was found: the ratio to oneself is 1.
    words = [*shlex.split(found.command)[1:], "--baseline", file]
    code, out, err = brolly(*words)
    assert (code, err) == (0, "")
    assert f"relative to {file}: 1.0000" in out
    assert Measures.load(file).corruptions == found.corruptions


def test_measure_without_corruptions(brolly, finished: Path) -> None:
    words = ["--examples", 4, "--no-corruptions", "--seed", 2, "--ood", "digits"]
    code, out, err = brolly("measure", finished, *words)
    assert (code, err) == (0, "")
    found = Measures.load(finished / "measures" / "linf-0.15-n4-seed2.json")
    assert found.corruptions is None
    assert found.out_of_distribution[0].name == "digits/test"
    assert out.splitlines()[-1].endswith("--examples 4 --no-corruptions --ood digits --seed 2")


def test_measure_under_a_named_suite(brolly, finished: Path) -> None:
    code, out, err = brolly("measure", finished, "--examples", 3, "--corruptions", "mnist-c")
    assert (code, err) == (0, "")
    found = Measures.load(finished / "measures" / "linf-0.15-n3-mnist-c.json")
    assert found.corruptions is not None
    assert found.corruptions.suite == "mnist-c"
    assert "corruption zigzag of mnist-c ..." in out.splitlines()
    assert "Accuracy in % under mnist-c" in (finished / "report.html").read_text()
    assert out.splitlines()[-1].endswith("--examples 3 --corruptions mnist-c")
    words = ["--corruptions", "mnist-c", "--no-corruptions"]
    code, out, err = brolly("measure", finished, *words)
    assert code != 0
    assert "exclude each other" in err


def test_transfer_between_two_runs(brolly, finished: Path) -> None:
    other = finished.parent / "other"
    shutil.copytree(finished, other)
    weights = load_file(other / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    noisy = {
        name: value + 0.01 * torch.randn(value.shape, generator=generator)
        if value.is_floating_point() and "running" not in name else value
        for name, value in weights.items()
    }  # fmt: skip
    save_file(noisy, other / "model.safetensors")
    code, out, err = brolly("transfer", finished, other, "--threat", "linf:0.1", "--examples", 8)
    file = finished / "transfer" / "linf-0.1-n8.json"
    found = TransferMatrix.load(file)
    assert (code, err) == (0, "")
    assert str(found) in out
    assert out.splitlines()[-2] == f"Saved: {file}"
    assert [model.name for model in found.models] == [finished.name, "other"]
    assert found.models[0].sha256 != found.models[1].sha256
    assert all(count.total == 8 for row in found.accuracy for count in row)

    code, out, _ = brolly("transfer", finished, other, "--examples", 2, "--output", "matrix.json")
    assert code == 0
    assert TransferMatrix.load("matrix.json").data.size == 2
    same = finished.parent / "deeper" / finished.name
    shutil.copytree(finished, same)
    assert brolly("transfer", finished, same, "--examples", 2, "--output", "same.json").code == 0
    names = [model.name for model in TransferMatrix.load("same.json").models]
    assert names == [finished.name, f"deeper/{finished.name}"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["measure", "nowhere"], "nowhere is not a run"),
        (["transfer", "RUN"], "1 runs given; expected two or more folders"),
        (["transfer", "RUN", "RUN"], "a run is given twice"),
        (["transfer", "RUN", "nowhere"], "nowhere is not a run"),
        (["measure", "RUN", "--threat", "linv:0.1"], "Did you mean 'linf'?"),
        (["measure", "RUN", "--threat", "l0:3"], "does not search l0:3"),
        (["measure", "RUN", "--examples", "0"], "examples is 0; expected 1 to 397"),
        (["measure", "RUN", "--examples", "398"], "examples is 398; expected 1 to 397"),
        (["measure", "RUN", "--ood", "digit"], "Did you mean 'digits'?"),
        (["measure", "RUN", "--device", "gpu"], "device 'gpu' is not on this machine"),
        (["measure", "RUN", "--baseline", "RUN/recipe.yaml"], "holds no Measures, or is damaged"),
    ],
)
def test_mistakes(brolly, finished: Path, words: list[str], message: str) -> None:
    code, _, err = brolly(*(word.replace("RUN", str(finished)) for word in words))
    assert code == 2
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not list(finished.glob("measures/*"))


def test_runs_of_other_data(brolly, finished: Path, monkeypatch) -> None:
    from brolly.recipes import load_run

    other = finished.parent / "other"
    shutil.copytree(finished, other)

    def shorter(path, data_dir=None):
        import dataclasses

        recipe, model, data = load_run(path, data_dir)
        fewer = dataclasses.replace(data, name="fewer", test=data.test.first(9))
        return recipe, model, fewer if Path(path) == other else data

    monkeypatch.setattr("brolly.recipes.load_run", shorter)
    outcome = brolly("transfer", finished, other)
    assert outcome.code == 2
    assert "was trained on fewer" in outcome.err
    assert "same data set" in outcome.err
