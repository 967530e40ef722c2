"""`brolly evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ._command import command

if TYPE_CHECKING:
    from torch import nn

    from ..data import Split
    from ..evaluation import Evaluation
    from ..threats import Threat


def evaluate(
    run: Path,
    *,
    threat: str | None = None,
    attack: str | None = None,
    examples: int | None = None,
    batch_size: int = 256,
    seed: int = 0,
    precision: Literal["float32", "bfloat16"] = "float32",
    checks: Literal["cheap", "full", "none"] = "cheap",
    processes: int = 1,
    data_dir: Path | None = None,
    device: str | None = None,
) -> int:
    """Attack a trained network and report how it holds; the same command goes on if interrupted.

    More examples, or attacks that continue the ones before, begin where an earlier command ended;
    what broke the model at a smaller eps is shown to it again at a larger one.

    Parameters
    ----------
    run
        Run folder that `brolly train` made.
    threat
        What the adversary may do, such as linf:8/255; the recipe's own if not given.
    attack
        Names of attacks with commas between, such as standard or pgd,square (`brolly attacks`
        lists them); apgd-ce,apgd-t if not given.
    examples
        At least how many test examples, from the first; all if not given.
    batch_size
        Examples attacked at a time; the result does not depend on it.
    seed
        Of the attacks.
    precision
        Of the search; verdicts are always in float32. bfloat16 is faster on newer hardware.
    checks
        Ways in which the number may be wrong to look for: those that cost little, or all.
    processes
        How many processes share the examples, on a CPU.
    data_dir
        First folder to search for data; then $BROLLY_DATA and the cache.
    device
        Where to compute: cpu, cuda, cuda:1, ...
    """
    parts = ["evaluate", str(run)]
    parts += ["--threat", threat] if threat else []
    parts += ["--attack", attack] if attack else []
    parts += ["--examples", str(examples)] if examples else []
    parts += ["--seed", str(seed)] if seed else []
    parts += ["--precision", precision] if precision != "float32" else []
    parts += ["--checks", checks] if checks != "cheap" else []
    parts += ["--processes", str(processes)] if processes != 1 else []
    again = command(*parts, data_dir=data_dir, device=device)
    try:
        result = evaluate_run(
            run, threat=threat, attack=attack, examples=examples, batch_size=batch_size, seed=seed,
            precision=precision, checks=checks, processes=processes, data_dir=data_dir,
            device=device, command=again,
        )  # fmt: skip
    except KeyboardInterrupt:
        print(f"\nInterrupted; what is done is kept. Go on with: {again}", file=sys.stderr)
        return 130
    from ..recipes import origin_of_weights
    from ..report import write_report
    from ..training import RunFolder
    from ._report import read_results

    if origin := origin_of_weights(RunFolder(run)):
        print(f"note: the weights are {origin}; its recipe trains others", file=sys.stderr)
    page = write_report(run / "report.html", [read_results(run, data_dir)])
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for finding in result.checks:
        if finding.status in ("warn", "fail"):
            print(f"check {finding.status}: {finding.name}: {finding.verdict}", file=sys.stderr)
    print(result.verdict())
    stem = _stem(result.threat, attack, seed, precision)
    proof = RunFolder(run).evidence / f"{stem}.h5"
    check = command("verify", str(proof), "--model", str(run), data_dir=data_dir)
    print(f"Report: {page}\nEvidence: {proof}\nVerify: {check}\nRepeat: {again}")
    return 0


def evaluate_run(
    path: Path,
    *,
    threat: str | None = None,
    attack: str | None = None,
    examples: int | None = None,
    batch_size: int = 256,
    seed: int = 0,
    precision: Literal["float32", "bfloat16"] = "float32",
    checks: Literal["cheap", "full", "none"] = "cheap",
    processes: int = 1,
    data_dir: Path | None = None,
    device: str | None = None,
    command: str = "",
) -> Evaluation:
    """Evaluates a run with a live table; the result is kept in its folder."""
    from ..attacks import attacks_named
    from ..evaluation import evaluate as measure
    from ..recipes import load_run
    from ..threats import parse_threat
    from ..training import RunFolder
    from ._live import EvaluationTable

    run = RunFolder(path)
    run.check()
    with run.locked():
        recipe, model, data = load_run(path, data_dir)
        ball = parse_threat(threat or recipe.threat, data.bounds)
        stem = _stem(ball, attack, seed, precision)
        attacks = attacks_named(attack, ball) if attack else None
        with EvaluationTable(f"Evaluating {recipe.name} against {ball}") as table:
            return measure(
                model,
                data.test,
                ball,
                attacks=attacks,
                examples=examples,
                batch_size=batch_size,
                seed=seed,
                precision=precision,
                device=device,
                name=recipe.name,
                command=command,
                checks="" if checks == "none" else checks,
                processes=processes,
                save_to=run.evaluations / f"{stem}.json",
                evidence=run.evidence / f"{stem}.h5",
                reuse=_at_smaller_eps(run.evidence, ball, model, data.test),
                train=data.train,
                on_progress=table.on_progress,
            )


def _stem(ball: Threat, attack: str | None, seed: int, precision: str) -> str:
    """What the files of an evaluation are called; those that may continue each other share it."""
    from ..attacks import attacks_named
    from ..evaluation import default_attacks

    stem = str(ball).replace(":", "-")
    if attack:
        chosen, default = attacks_named(attack, ball), default_attacks(ball)
        continues = chosen[: len(default)] == default or chosen == default[: len(chosen)]
        stem += "" if continues else f"-{attack.replace(',', '+')}"
    stem += f"-seed{seed}" if seed else ""
    return stem + (f"-{precision}" if precision != "float32" else "")


def _at_smaller_eps(folder: Path, ball: Threat, model: nn.Module, split: Split) -> list[Path]:
    """Evidence of the run that counts against `ball`, too."""
    from ..evaluation import Evidence, model_sha256

    found = []
    for file in sorted(folder.glob("*.h5")):
        try:
            said = Evidence.load(file).evaluation
        except ValueError:  # damaged: it spares no work, and is not asked for
            continue
        if (
            said.threat.with_eps(ball.eps) == ball
            and said.threat.eps < ball.eps
            and said.model.sha256 == model_sha256(model)
            and said.data.sha256 == split.sha256
        ):
            found.append(file)
    return found
