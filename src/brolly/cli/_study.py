"""`brolly study`."""

from __future__ import annotations

from pathlib import Path

from ._command import command


def study(
    run: Path,
    *,
    threat: str | None = None,
    examples: int = 100,
    seed: int = 0,
    data_dir: Path | None = None,
    device: str | None = None,
) -> int:
    """Look closer at a trained network than its verdicts do, for the report to draw.

    Accuracy against steps, restarts and queries, minimal distances, certified accuracy against
    eps, input gradients and the loss surface.

    Parameters
    ----------
    run
        Run folder that `brolly train` made.
    threat
        What the adversary may do, such as linf:8/255; the recipe's own if not given.
    examples
        How many test examples, from the first.
    seed
        Of the attacks.
    data_dir
        First folder to search for data; then $BROLLY_DATA and the cache.
    device
        Where to compute: cpu, cuda, cuda:1, ...
    """
    from ..evaluation import study as look
    from ..recipes import load_run
    from ..report import read_run, write_report
    from ..threats import parse_threat
    from ..training import RunFolder

    folder = RunFolder(run)
    folder.check()
    parts = ["study", str(run)]
    parts += ["--threat", threat] if threat else []
    parts += ["--examples", str(examples)] if examples != 100 else []
    parts += ["--seed", str(seed)] if seed else []
    with folder.locked():
        recipe, model, data = load_run(run, data_dir)
        ball = parse_threat(threat or recipe.threat, data.bounds)
        found = look(
            model,
            data.test,
            ball,
            examples=examples,
            seed=seed,
            device=device,
            name=recipe.name,
            command=command(*parts, data_dir=data_dir, device=device),
            on_progress=lambda stage: print(f"{stage} ...", flush=True),
        )
        path = run / "study" / f"{str(ball).replace(':', '-')}.json"
        found.save(path)
    page = write_report(folder.report, [read_run(run, data.test)])
    print(f"Studied {found.clean.total} examples against {ball} in {found.seconds:.0f} s: {path}")
    print(f"Report: {page}")
    return 0
