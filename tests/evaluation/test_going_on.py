"""An evaluation that was interrupted goes on, and ends the same."""

import dataclasses
import os
import re
from pathlib import Path

import pytest
from torch import Tensor, nn

from brolly import APGD, PGD, Evaluation, Linf, evaluate
from brolly.evaluation._evaluation import WRONG


class Interrupt:
    """Raises KeyboardInterrupt at the `at`-th report, as Ctrl-C would between two batches."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, evaluation: Evaluation) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def run(problem, **changes) -> Evaluation:
    arguments = {"batch_size": 20, "curve_examples": 10, "seed": 2, **changes}
    model = arguments.pop("model", problem.model)
    threat = arguments.pop("threat", problem.threat)
    arguments.setdefault("attacks", [PGD(threat, steps=1), APGD(threat, steps=5)])
    return evaluate(model, arguments.pop("split", problem.split), threat, **arguments)


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_it_ends_as_if_it_had_never_been_interrupted(
    problem, comparable, tmp_path: Path, at: int
) -> None:
    file = tmp_path / "result.json"
    with pytest.raises(KeyboardInterrupt):
        run(problem, save_to=file, on_progress=Interrupt(at))
    begun = Evaluation.load(file)
    assert not begun.complete
    finished = run(problem, save_to=file)
    assert comparable(finished) == comparable(run(problem))
    assert comparable(Evaluation.load(file)) == comparable(finished)
    assert finished.created == begun.created
    assert finished.complete


def test_it_may_be_interrupted_again_and_again(problem, comparable, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    interrupts = 0
    while True:
        try:
            finished = run(problem, save_to=file, on_progress=Interrupt(2))
            break
        except KeyboardInterrupt:
            interrupts += 1
        if interrupts > 20:
            pytest.fail("it makes no progress")
    assert interrupts > 2
    assert comparable(finished) == comparable(run(problem))


def test_it_may_go_on_with_batches_of_another_size(problem, comparable, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    with pytest.raises(KeyboardInterrupt):
        run(problem, save_to=file, on_progress=Interrupt(3))
    assert comparable(run(problem, save_to=file, batch_size=7)) == comparable(run(problem))


def test_every_report_is_on_disk_and_moves_forward(problem, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    reports: list[Evaluation] = []

    def look(evaluation: Evaluation) -> None:
        assert Evaluation.load(file).to_json() == evaluation.to_json()
        reports.append(evaluation)

    run(problem, save_to=file, on_progress=look)
    done = [sum(attack.done for attack in report.attacks) for report in reports]
    assert done == sorted(done)
    assert done[0] == 2 * (reports[0].broken_by == WRONG).sum()  # no attack meets those
    assert done[-1] == 120
    assert [report.complete for report in reports] == [False] * (len(reports) - 1) + [True]
    robust = [report.robust.hits for report in reports]
    assert robust == sorted(robust, reverse=True)


class Untouchable(nn.Module):
    """Has the weights of a model, but may not be called."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for name, module in model.named_children():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError("the model was called")


def test_a_complete_file_is_returned_without_a_look_at_the_model(problem, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    finished = run(problem, save_to=file)
    before = file.read_bytes()
    again = run(problem, save_to=file, model=Untouchable(problem.model))
    assert again.to_json() == finished.to_json()
    assert file.read_bytes() == before
    with pytest.raises(AssertionError, match="the model was called"):
        run(problem, model=Untouchable(problem.model))


def other_model(problem) -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    model.load_state_dict(problem.model.state_dict())
    model[1].bias.data[0] += 1e-6
    return model


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("model", lambda problem: {"model": other_model(problem)}),
        ("seed", lambda problem: {"seed": 3}),
        ("precision", lambda problem: {"precision": "bfloat16"}),
        (
            "data",
            lambda p: {"split": dataclasses.replace(p.split, inputs=p.split.inputs.flip(0))},
        ),
        ("attacks", lambda problem: {"attacks": [PGD(problem.threat, steps=2)]}),
        ("threat", lambda problem: {"threat": Linf(0.051)}),
    ],
)
def test_a_file_with_another_evaluation_is_left_alone(
    problem, tmp_path: Path, what: str, change, complete: bool
) -> None:
    file = tmp_path / "result.json"
    if complete:
        run(problem, save_to=file)
    else:
        with pytest.raises(KeyboardInterrupt):
            run(problem, save_to=file, on_progress=Interrupt(2))
    before = file.read_bytes()
    message = f"^{re.escape(str(file))} holds an evaluation with another {what}; it was left as it"
    with pytest.raises(ValueError, match=message):
        run(problem, save_to=file, **change(problem))
    assert file.read_bytes() == before


def test_all_differences_are_told_at_once(problem, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    run(problem, save_to=file)
    with pytest.raises(ValueError, match="another threat, another seed; it was left as it is"):
        run(problem, save_to=file, seed=3, threat=Linf(0.2))


def test_a_damaged_file_is_left_alone(problem, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    file.write_text("{")
    with pytest.raises(ValueError, match="is not an evaluation, or is damaged"):
        run(problem, save_to=file)
    assert file.read_text() == "{"


def test_the_curve_is_part_of_the_evaluation(problem, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    without = run(problem, save_to=file, curve_examples=0)
    assert without.curve == ()
    assert len(run(problem, save_to=tmp_path / "other.json").curve) > 2


@pytest.mark.parametrize("writes", [1, 3, 4, 6, 7])
def test_a_disk_that_fills_up_loses_nothing(
    problem, comparable, tmp_path: Path, monkeypatch, writes: int
) -> None:
    file = tmp_path / "result.json"
    left = writes
    fsync = os.fsync

    def full(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            run(problem, save_to=file)
    assert not list(tmp_path.rglob("*.tmp"))
    if file.is_file():
        assert not Evaluation.load(file).complete
    assert comparable(run(problem, save_to=file)) == comparable(run(problem))
