"""What was done before counts: more examples, further attacks, larger eps, other processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from brolly import APGD, PGD, Evaluation, Evidence, Linf, Square, evaluate
from brolly.evaluation._evaluation import PER_EXAMPLE


def run(problem, threat=None, **changes) -> Evaluation:
    threat = threat or problem.threat
    arguments = {
        "attacks": [PGD(threat, steps=1), APGD(threat, steps=5)],
        "batch_size": 20, "curve_examples": 10, "checks": "", **changes,
    }  # fmt: skip
    return evaluate(problem.model, problem.split, threat, **arguments)


def test_more_examples_begin_where_the_first_ended(problem, comparable, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    first = run(problem, examples=30, save_to=file)
    forwards = first.cost.forwards
    seen: list[int] = []
    more = run(problem, save_to=file, on_progress=lambda e: seen.append(int((e.tried >= 0).sum())))
    assert comparable(more)["examples"] == comparable(run(problem))["examples"]
    assert more.cost.forwards > forwards
    assert more.cost.forwards == run(problem).cost.forwards
    assert seen[0] == 60
    assert Evidence.load(file.with_suffix(".h5")).evaluation.to_json() == more.to_json()


def test_fewer_examples_get_what_is_there(problem, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    whole = run(problem, save_to=file)
    assert run(problem, examples=10, save_to=file).to_json() == whole.to_json()


def test_further_attacks_meet_what_stands(problem, comparable, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    weak = [PGD(problem.threat, steps=1)]
    run(problem, save_to=file, attacks=weak)
    strong = [*weak, APGD(problem.threat, steps=5), Square(problem.threat, queries=20)]
    more = run(problem, save_to=file, attacks=strong)
    assert comparable(more) | {"command": ""} == comparable(run(problem, attacks=strong))
    assert [record.done for record in more.attacks] == [60, 60, 60]


def test_an_evaluation_whose_evidence_is_lost_is_done_again(
    problem, comparable, tmp_path: Path
) -> None:
    file = tmp_path / "result.json"
    run(problem, save_to=file, examples=30)
    file.with_suffix(".h5").unlink()
    more = run(problem, save_to=file)
    assert (
        comparable(more)["examples"]["broken_by"]
        == comparable(run(problem))["examples"]["broken_by"]
    )
    assert len(Evidence.load(file.with_suffix(".h5")).adversarial) == (more.broken_by >= 0).sum()


def test_a_success_counts_at_every_larger_eps(problem, tmp_path: Path) -> None:
    small, large = Linf(0.03), Linf(0.08)
    proof = tmp_path / "small.h5"
    before = run(problem, small, evidence=proof)
    after = run(problem, large, reuse=[proof])
    assert after.attacks[0].name == "evidence at linf:0.03"
    assert after.attacks[0].broke == (before.broken_by >= 0).sum() > 0
    assert (after.broken_by[before.broken_by >= 0] == 0).all()
    alone = run(problem, large)
    assert np.array_equal(after.status, alone.status)
    assert after.cost.forwards < alone.cost.forwards
    with pytest.raises(ValueError, match=r"evidence about another threat; expected the same"):
        run(problem, Linf(0.01), reuse=[proof])
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="evidence about another model"):
        evaluate(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), problem.split, large,
                 reuse=[proof], checks="")  # fmt: skip


def test_evidence_is_shown_to_further_examples_too(problem, comparable, tmp_path: Path) -> None:
    proof, file = tmp_path / "small.h5", tmp_path / "large.json"
    run(problem, Linf(0.03), evidence=proof)
    run(problem, Linf(0.08), reuse=[proof], save_to=file, examples=20)
    more = run(problem, Linf(0.08), reuse=[proof], save_to=file)
    whole = run(problem, Linf(0.08), reuse=[proof])
    assert comparable(more)["examples"] == comparable(whole)["examples"]
    # Without the file, the attacks alone deal with them.
    run(problem, Linf(0.08), reuse=[proof], save_to=tmp_path / "other.json", examples=20)
    without = run(problem, Linf(0.08), save_to=tmp_path / "other.json")
    assert np.array_equal(without.status, whole.status)


def test_it_goes_on_with_evidence_shown_again(problem, comparable, tmp_path: Path) -> None:
    proof, file = tmp_path / "small.h5", tmp_path / "large.json"
    run(problem, Linf(0.03), evidence=proof)

    def stop(evaluation: Evaluation) -> None:
        if evaluation.attacks[1].cost.forwards:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(problem, Linf(0.08), reuse=[proof], save_to=file, on_progress=stop)
    finished = run(problem, Linf(0.08), reuse=[proof], save_to=file)
    assert comparable(finished) == comparable(run(problem, Linf(0.08), reuse=[proof]))


# Processes and ranks: what runs there is defined where they find it.

TASK = """
import sys, torch
sys.path.insert(0, {tests!r})
from evaluation.sharing import main
if __name__ == "__main__":
    main(*sys.argv[1:])
"""


def start(tmp_path: Path, *arguments: object) -> subprocess.Popen:
    script = tmp_path / "task.py"
    script.write_text(TASK.format(tests=str(Path(__file__).parents[1])))
    return subprocess.Popen(
        [sys.executable, script, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> None:
    _, error = process.communicate(timeout=240)
    assert process.returncode == 0, error[-2000:]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Evaluation:
    folder = tmp_path_factory.mktemp("alone")
    finish(start(folder, folder / "alone.json", 1))
    return Evaluation.load(folder / "alone.json")


def same(one: Evaluation, other: Evaluation) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=name == "distance")
        for name in PER_EXAMPLE
    ) and [(a.name, a.broke, a.done, a.cost.forwards) for a in one.attacks] == [
        (a.name, a.broke, a.done, a.cost.forwards) for a in other.attacks
    ]


@pytest.mark.slow
def test_two_processes_give_the_verdicts_of_one(alone: Evaluation, tmp_path: Path) -> None:
    finish(start(tmp_path, tmp_path / "shared.json", 2))
    shared = Evaluation.load(tmp_path / "shared.json")
    assert same(shared, alone)
    evidence = Evidence.load(tmp_path / "shared.h5")
    assert len(evidence.adversarial) == (alone.broken_by >= 0).sum()
    assert {path.name for path in tmp_path.iterdir()} == {"task.py", "shared.json", "shared.h5"}


@pytest.mark.slow
def test_two_ranks_give_the_verdicts_of_one(alone: Evaluation, tmp_path: Path) -> None:
    file, meeting = tmp_path / "ranks.json", tmp_path / "meeting"
    both = [start(tmp_path, file, 1, rank, meeting) for rank in (0, 1)]
    for process in both:
        finish(process)
    assert same(Evaluation.load(file), alone)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_again_and_again_it_ends_the_same(
    alone: Evaluation, tmp_path: Path, processes: int
) -> None:
    file = tmp_path / "killed.json"
    for kill in range(2):
        process = start(tmp_path, file, processes)
        # Kill somewhere in the work: when the next thing was kept.
        count = len(list(tmp_path.rglob("*.*")))
        deadline = time.monotonic() + 60
        while (
            process.poll() is None
            and len(list(tmp_path.rglob("*.*"))) <= count + kill
            and time.monotonic() < deadline
        ):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finish(start(tmp_path, file, processes))
    assert same(Evaluation.load(file), alone)
