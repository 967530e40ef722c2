"""Evidence, and what somebody who distrusts it can do with it."""

import dataclasses
import json
import math
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from brolly import APGD, Evidence, Linf, evaluate, verify
from brolly.evaluation import Evaluation


def run(problem, **changes) -> Evaluation:
    arguments = {"attacks": [APGD(problem.threat, steps=5)], "curve_examples": 0, **changes}
    return evaluate(problem.model, problem.split, problem.threat, checks="", **arguments)


@pytest.fixture
def file(problem, tmp_path: Path) -> Path:
    run(problem, evidence=tmp_path / "result.h5")
    return tmp_path / "result.h5"


def failing(claims) -> dict[str, tuple[int, ...]]:
    return {claim.text: claim.failing for claim in claims if not claim.holds}


def test_it_holds_what_the_evaluation_claims(problem, file: Path) -> None:
    evidence = Evidence.load(file)
    said = evidence.evaluation
    assert said.complete
    broken = said.index[said.broken_by >= 0]
    assert 0 < len(broken) < len(said.index)
    assert np.array_equal(evidence.adversarial_index, broken)
    assert evidence.adversarial.dtype == np.float32
    assert evidence.adversarial.shape == (len(broken), *problem.split.shape)
    x = problem.split.inputs[broken]
    with torch.no_grad():
        logits = problem.model(torch.from_numpy(evidence.adversarial)).numpy()
        clean = problem.model(problem.split.inputs).numpy()
    assert np.allclose(evidence.adversarial_logits, logits, atol=1e-5)
    assert np.allclose(evidence.clean_logits, clean, atol=1e-5)
    assert (logits.argmax(1) == said.adversarial_prediction[broken]).all()
    assert problem.threat.contains(torch.from_numpy(evidence.adversarial), x).all()
    assert (said.queries[broken] >= 1).all()
    assert (said.queries[said.broken_by == -2] == 0).all()
    assert (said.tried[said.broken_by == -1] == 1).all()
    assert not (file.parent / "result.h5.parts").exists()


def test_all_its_claims_hold(problem, file: Path) -> None:
    claims = verify(file, problem.model, problem.split)
    assert failing(claims) == {}
    assert {claim.examined for claim in claims} > {1, 60}


def test_claims_hold_where_the_model_is_never_right(problem, tmp_path: Path) -> None:
    labels = (problem.model(problem.split.inputs).argmax(1) + 1) % 3
    problem = dataclasses.replace(problem, split=dataclasses.replace(problem.split, labels=labels))
    result = run(problem, evidence=tmp_path / "wrong.h5")
    assert result.clean.hits == 0
    assert failing(verify(tmp_path / "wrong.h5", problem.model, problem.split)) == {}


def test_any_hdf5_reader_opens_it(file: Path) -> None:
    with h5py.File(file) as opened:
        assert opened.attrs["kind"] == "brolly evidence"
        assert opened["adversarial/inputs"].compression == "gzip"
        assert json.loads(opened["evaluation"][()])["seed"] == 0
        assert set(opened["examples/status"][:]) <= {b"wrong", b"broken", b"proved", b"unknown"}


@pytest.mark.parametrize(
    ("change", "claim"),
    [
        (
            lambda e: {"adversarial": e.adversarial + np.float32(0.2)},
            "adversarial inputs lie within linf:0.05",
        ),
        (
            lambda e: {"adversarial": np.clip(e.adversarial, 0, 1) * 0 + 2},
            "adversarial inputs lie within the bounds [0, 1]",
        ),
        (
            lambda e: {"adversarial_logits": e.adversarial_logits[:, ::-1].copy()},
            "adversarial logits are what the model gives",
        ),
        (
            lambda e: {"clean_logits": e.clean_logits + 1},
            "clean logits are what the model gives",
        ),
        (
            lambda e: {"input_sha256": e.input_sha256 ^ 1},
            "clean inputs are those of the data set",
        ),
        (
            lambda e: {
                "evaluation": dataclasses.replace(
                    e.evaluation, distance=e.evaluation.distance * 0.9
                )
            },
            "distances are as written",
        ),
        (
            lambda e: {
                "evaluation": dataclasses.replace(
                    e.evaluation, label=(e.evaluation.label + 1) % 3
                )
            },
            "labels are those of the data set",
        ),
        (
            lambda e: {
                "evaluation": dataclasses.replace(
                    e.evaluation, broken_by=np.where(e.evaluation.broken_by == -2, -1,
                                                     e.evaluation.broken_by)
                )
            },
            "clean inputs said to be right are right",
        ),
        (
            lambda e: {
                "evaluation": dataclasses.replace(
                    e.evaluation, broken_by=np.where(e.evaluation.broken_by == -1, -2,
                                                     e.evaluation.broken_by)
                )
            },
            "clean inputs said to be wrong are wrong",
        ),
        (
            lambda e: {
                "evaluation": dataclasses.replace(
                    e.evaluation, broken_by=np.where(e.evaluation.broken_by == -1, 0,
                                                     e.evaluation.broken_by)
                )
            },
            "every example said to be broken has its adversarial input",
        ),
        (
            lambda e: {
                "evaluation": dataclasses.replace(e.evaluation, proved=e.evaluation.index >= 0)
            },
            "proofs by interval-bounds can be repeated",
        ),
    ],
)  # fmt: skip
def test_a_liar_who_keeps_the_hash_right_is_found_out(
    problem, file: Path, tmp_path: Path, change, claim: str
) -> None:
    evidence = Evidence.load(file)
    forged = dataclasses.replace(evidence, **change(evidence))
    forged.save(tmp_path / "forged.h5")
    assert claim in failing(verify(tmp_path / "forged.h5", problem.model, problem.split))


def test_inputs_that_are_not_misclassified_are_found_out(problem, file: Path) -> None:
    evidence = Evidence.load(file)
    clean = problem.split.inputs[evidence.adversarial_index].numpy()
    found = failing(verify(dataclasses.replace(evidence, adversarial=clean),
                           problem.model, problem.split))  # fmt: skip
    assert found["adversarial inputs are misclassified in full precision"] == tuple(
        evidence.adversarial_index
    )


def test_another_model_is_noticed(problem, file: Path) -> None:
    other = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    found = failing(verify(file, other, problem.split))
    assert "the model has the weights that were evaluated" in found
    assert "clean logits are what the model gives" in found


def test_other_data_are_noticed(problem, file: Path) -> None:
    flipped = dataclasses.replace(problem.split, inputs=problem.split.inputs.flip(0))
    found = failing(verify(file, problem.model, flipped))
    assert {"the data set is the one that was evaluated",
            "clean inputs are those of the data set"} <= set(found)  # fmt: skip
    with pytest.raises(ValueError, match=r"evidence is about random/test with inputs of shape"):
        verify(
            file, problem.model, dataclasses.replace(problem.split, classes=("a", "b", "c", "d"))
        )
    with pytest.raises(ValueError, match=r"example 59, but random/test has 30; expected the whole"):
        verify(file, problem.model, problem.split.first(30))


def edit(file: Path, name: str) -> None:
    with h5py.File(file, "r+") as opened:
        values = opened[name][...]
        values.flat[0] += 1
        opened[name][...] = values


@pytest.mark.parametrize("name", ["examples/label", "adversarial/inputs", "examples/sha256"])
def test_a_file_edited_by_hand_is_refused(file: Path, name: str) -> None:
    edit(file, name)
    with pytest.raises(ValueError, match="is not what was written: its content does not have"):
        Evidence.load(file)


def test_a_damaged_file_is_refused(file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    for size in (0, 100, len(content) // 2):
        file.write_bytes(content[:size])
        with pytest.raises(ValueError, match="is no evidence of an evaluation, or is damaged"):
            Evidence.load(file)
    with h5py.File(file, "w") as opened:
        opened["x"] = 1
    with pytest.raises(ValueError, match="is no evidence"):
        Evidence.load(file)
    with pytest.raises(ValueError, match="does not exist"):
        Evidence.load(tmp_path / "nothing.h5")


def test_a_newer_file_is_refused(file: Path) -> None:
    with h5py.File(file, "r+") as opened:
        opened.attrs["schema"] = 2
    with pytest.raises(ValueError, match=r"has schema 2; .* reads up to 1\. Install a newer"):
        Evidence.load(file)


def test_a_full_disk_leaves_the_old_file(problem, file: Path, monkeypatch) -> None:
    before = file.read_bytes()

    def full(*_, **__) -> None:
        raise OSError(28, "No space left on device")

    evidence = Evidence.load(file)
    monkeypatch.setattr(h5py.File, "create_dataset", full)
    with pytest.raises(OSError, match="No space left"):
        evidence.save(file)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["result.h5"]


class Fragile(nn.Module):
    """Tells bright inputs from dark ones, but raises on those that are barely bright."""

    def forward(self, x):
        mean = x.flatten(1).mean(1, keepdim=True)
        if ((mean > 0.5) & (mean < 0.56)).any():
            raise RuntimeError("which is it")
        return torch.cat([0.5 - mean, mean - 0.5, mean * 0 - 1], 1)


def test_a_model_that_raises_on_some_inputs_fails_on_those(problem, tmp_path: Path) -> None:
    mean = problem.split.inputs.flatten(1).mean(1)
    split = dataclasses.replace(problem.split, labels=(mean > 0.5).long())
    result = evaluate(
        Fragile(), split, Linf(0.02), curve_examples=0, checks="", batch_size=16,
        evidence=tmp_path / "fragile.h5",
    )  # fmt: skip
    barely, nearly = (mean > 0.5) & (mean < 0.56), (mean > 0.56) & (mean < 0.58)
    assert barely.any()
    assert nearly.any()
    assert (result.status[barely.numpy()] == "wrong").all()
    assert (result.clean_prediction[barely.numpy()] == -1).all()
    assert (result.status[~barely.numpy()] != "wrong").all()
    # Where the adversary can make it raise, that is a success.
    assert (result.status[nearly.numpy()] == "broken").all()
    assert (result.status[(mean > 0.6).numpy()] == "unknown").all()
    assert any("which count as failures: RuntimeError: which is it" in w for w in result.warnings)
    assert not failing(verify(tmp_path / "fragile.h5", Fragile(), split))


def test_a_model_that_raises_on_all_inputs_is_no_model(problem) -> None:
    class Broken(nn.Module):
        def forward(self, x):
            raise KeyError("weights")

    with pytest.raises(KeyError, match="weights"):
        evaluate(Broken(), problem.split, problem.threat, checks="")


class Noisy(nn.Module):
    """Adds noise to what a model says, at test time too."""

    def __init__(self, model: nn.Module, size: float) -> None:
        super().__init__()
        self.model, self.size = model, size

    def forward(self, x):
        logits = self.model(x)
        return logits + self.size * torch.randn_like(logits)


def test_a_random_model_is_attacked_and_judged_by_its_mean(problem, tmp_path: Path) -> None:
    noisy = Noisy(problem.model, 0.05)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    file = tmp_path / "noisy.h5"
    result = evaluate(noisy, problem.split, problem.threat, attacks=APGD(problem.threat, steps=5),
                      curve_examples=0, checks="", evidence=file)  # fmt: skip
    assert torch.equal(before, torch.random.get_rng_state())
    assert result.samples == 20
    assert [record.name for record in result.attacks] == ["apgd-ce-eot20"]
    assert any("the mean of 20 forward passes" in warning for warning in result.warnings)
    sound = run(problem)
    assert abs(result.robust.hits - sound.robust.hits) <= 3
    assert evaluate(
        noisy, problem.split, problem.threat, curve_examples=0, checks=""
    ).attacks[0].name == "apgd-ce-eot20"  # fmt: skip
    wrong = failing(verify(file, noisy, problem.split))
    assert "adversarial inputs lie within linf:0.05" not in wrong


def test_proofs_bound_from_below(problem) -> None:
    result = run(problem)
    holds = problem.holds(problem.threat.eps).numpy()
    assert result.certificate == "interval-bounds"
    assert np.array_equal(result.proved, holds)  # bounds are exact for a linear model
    assert (result.status[holds] == "proved").all()
    assert result.certified.hits <= result.robust.hits <= result.clean.hits
    assert not run(problem, certificate=None).proved.any()
    assert not math.isnan(result.certified.rate)
