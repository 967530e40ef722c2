"""`brolly evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ._command import command

if TYPE_CHECKING:
    from ..evaluation import Evaluation


def evaluate(
    run: Path,
    *,
    threat: str | None = None,
    attack: str | None = None,
    examples: int | None = None,
    batch_size: int = 256,
    seed: int = 0,
    precision: Literal["float32", "bfloat16"] = "float32",
    data_dir: Path | None = None,
    device: str | None = None,
) -> int:
    """Attack a trained network and report how it holds; the same command goes on if interrupted.

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
        How many test examples, from the first; all if not given.
    batch_size
        Examples attacked at a time; the result does not depend on it.
    seed
        Of the attacks.
    precision
        Of the search; verdicts are always in float32. bfloat16 is faster on newer hardware.
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
    again = command(*parts, data_dir=data_dir, device=device)
    try:
        result = evaluate_run(
            run, threat=threat, attack=attack, examples=examples, batch_size=batch_size, seed=seed,
            precision=precision, data_dir=data_dir, device=device, command=again,
        )  # fmt: skip
    except KeyboardInterrupt:
        print(f"\nInterrupted; what is done is kept. Go on with: {again}", file=sys.stderr)
        return 130
    from ..report import read_run, write_report

    page = write_report(run / "report.html", [read_run(run)])
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(result.verdict())
    print(f"Report: {page}\nRepeat: {again}")
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
        stem = str(ball).replace(":", "-")
        stem += f"-{attack.replace(',', '+')}" if attack else ""
        stem += f"-n{examples}" if examples else ""
        stem += f"-seed{seed}" if seed else ""
        stem += f"-{precision}" if precision != "float32" else ""
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
                save_to=run.evaluations / f"{stem}.json",
                on_progress=table.on_progress,
            )
