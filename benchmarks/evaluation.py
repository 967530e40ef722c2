"""What the evaluation promises, measured on a trained run.

    python benchmarks/evaluation.py RUN --part kill|processes|evidence|checks [--examples N]

kill: SIGKILL at 20 random moments; does each end the same? processes: two processes against one,
all of one thread. evidence: its size, and the time to verify it. checks: what the cheap ones cost
beside a `standard` evaluation.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from brolly import PGD, Evaluation, evaluate, standard, verify
from brolly.recipes import load_run

SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--part", choices=PARTS, required=True)
    parser.add_argument("--examples", type=int, default=300)
    options = parser.parse_args()
    print(f"{options.run.name}, {options.examples} examples, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        PARTS[options.part](options.run.resolve(), options.examples, Path(folder))


def run_kill(run: Path, examples: int, folder: Path) -> None:
    """Kills `brolly evaluate` at 20 moments drawn from the time it takes, and lets it end."""
    whole, seconds = _command(_copy(run, folder / "whole"), examples)
    moments = random.Random(SEED)
    same = 0
    for number in range(20):
        copy = _copy(run, folder / str(number))
        moment = moments.uniform(0.1, 1.0) * seconds
        process = subprocess.Popen(_words(copy, examples), stdout=subprocess.DEVNULL)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        ended, _ = _command(copy, examples)
        equal = _comparable(ended) == _comparable(whole)
        same += equal
        print(
            f"killed after {moment:.1f} s: {'the same' if equal else 'ANOTHER'} result", flush=True
        )
    print(f"{same} of 20 identical; one run takes {seconds:.1f} s; seed {SEED}")


def run_processes(run: Path, examples: int, folder: Path) -> None:
    """One process of one thread against two."""
    os.environ["OMP_NUM_THREADS"] = "1"
    times, results = {}, {}
    for processes in (1, 2, 1, 2):
        copy = _copy(run, folder / f"{processes}-{len(times)}-{time.monotonic()}")
        result, seconds = _command(copy, examples, "--processes", str(processes))
        times.setdefault(processes, []).append(seconds)
        results[processes] = result
    equal = _comparable(results[1])["examples"] == _comparable(results[2])["examples"]
    print(f"one process {min(times[1]):.1f} s, two {min(times[2]):.1f} s (best of 2 each, start-up "
          f"included), ratio {min(times[1]) / min(times[2]):.2f}; per-example verdicts "
          f"{'the same' if equal else 'DIFFER'}")  # fmt: skip


def run_evidence(run: Path, examples: int, folder: Path) -> None:
    recipe, model, data = load_run(run)
    file = folder / "evidence.h5"
    threat = recipe.build_threat()
    result = evaluate(
        model, data.test, threat, attacks=PGD(threat, steps=10), examples=examples,
        precision="bfloat16", checks="", curve_examples=0, evidence=file, seed=SEED,
    )  # fmt: skip
    print(result.verdict())
    start = time.perf_counter()
    claims = verify(file, model, data.test)
    seconds, size = time.perf_counter() - start, file.stat().st_size / 2**20
    print(f"{size:.1f} MiB, verified in {seconds:.1f} s; "
          f"{sum(claim.holds for claim in claims)} of {len(claims)} claims hold")  # fmt: skip
    for claim in claims:
        if not claim.holds:
            print(claim)


def run_checks(run: Path, examples: int, folder: Path) -> None:
    recipe, model, data = load_run(run)
    threat = recipe.build_threat()
    file = folder / "result.json"
    start = time.perf_counter()
    result = evaluate(
        model, data.test, threat, attacks=standard(threat), examples=examples, checks="",
        precision="bfloat16", curve_examples=0, save_to=file, seed=SEED,
    )  # fmt: skip
    attacked = time.perf_counter() - start
    start = time.perf_counter()
    result = evaluate(
        model, data.test, threat, attacks=standard(threat), examples=examples, checks="cheap",
        precision="bfloat16", curve_examples=0, save_to=file, seed=SEED, train=data.train,
    )  # fmt: skip
    checked = time.perf_counter() - start
    print(f"standard {attacked:.1f} s, cheap checks {checked:.1f} s: {checked / attacked:.1%}")
    print(result)


def _words(run: Path, examples: int, *more: str) -> list[str]:
    return [sys.executable, "-m", "brolly", "evaluate", str(run), "--examples", str(examples),
            "--checks", "none", "--batch-size", "32", *more]  # fmt: skip


def _command(run: Path, examples: int, *more: str) -> tuple[Evaluation, float]:
    start = time.perf_counter()
    subprocess.run(_words(run, examples, *more), check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    (file,) = (run / "evaluation").glob("*.json")
    return Evaluation.load(file), seconds


def _copy(run: Path, to: Path) -> Path:
    ignored = shutil.ignore_patterns("eval*", "evid*", "*.pt")
    return Path(shutil.copytree(run, to, ignore=ignored))


def _comparable(evaluation: Evaluation) -> dict[str, Any]:
    """Everything but what another hour changes."""
    records = tuple(
        dataclasses.replace(r, cost=dataclasses.replace(r.cost, seconds=0.0))
        for r in evaluation.attacks
    )
    value = dataclasses.replace(evaluation, attacks=records, created="", command="").to_json()
    return json.loads(json.dumps(value, default=np.ndarray.tolist))


PARTS = {
    "kill": run_kill,
    "processes": run_processes,
    "evidence": run_evidence,
    "checks": run_checks,
}


if __name__ == "__main__":
    main()
