"""`brolly transfer`."""

from __future__ import annotations

import os
from pathlib import Path

from ._command import command


def transfer(
    *runs: Path,
    threat: str | None = None,
    examples: int | None = None,
    batch_size: int = 256,
    seed: int = 0,
    output: Path | None = None,
    data_dir: Path | None = None,
    device: str | None = None,
) -> int:
    """Attack each of several networks and show what was found to all of them.

    Parameters
    ----------
    runs
        Run folders that `brolly train` made, two or more, of the same data set.
    threat
        What the adversary may do, such as linf:8/255; that of the first recipe if not given.
    examples
        How many test examples, from the first; all if not given.
    batch_size
        Examples attacked at a time; the result does not depend on it.
    seed
        Of the attacks.
    output
        The file to write; transfer/<threat>.json in the first run's folder if not given.
    data_dir
        First folder to search for data; then $BROLLY_DATA and the cache.
    device
        Where to compute: cpu, cuda, cuda:1, ...
    """
    if len(runs) < 2:
        raise ValueError(f"{len(runs)} runs given; expected two or more folders")
    from ..evaluation import transfer_matrix
    from ..recipes import load_run
    from ..threats import parse_threat

    parts = ["transfer", *map(str, runs)]
    parts += ["--threat", threat] if threat else []
    parts += ["--examples", str(examples)] if examples is not None else []
    parts += ["--seed", str(seed)] if seed else []
    parts += ["--output", str(output)] if output else []
    again = command(*parts, data_dir=data_dir, device=device)
    names = _names(runs)
    loaded = [load_run(run, data_dir) for run in runs]
    recipe, _, data = loaded[0]
    for run, (_, _, other) in zip(runs, loaded, strict=True):
        if other.test.sha256 != data.test.sha256:
            raise ValueError(
                f"{run} was trained on {other.name}, {runs[0]} on {data.name}; expected runs of "
                "the same data set"
            )
    ball = parse_threat(threat or recipe.threat, data.bounds)
    found = transfer_matrix(
        {name: model for name, (_, model, _) in zip(names, loaded, strict=True)},
        data.test,
        ball,
        examples=examples,
        seed=seed,
        batch_size=batch_size,
        device=device,
        command=again,
        on_progress=lambda stage: print(f"{stage} ...", flush=True),
    )
    stem = str(ball).replace(":", "-")
    stem += f"-n{examples}" if examples is not None else ""
    stem += f"-seed{seed}" if seed else ""
    file = output or runs[0] / "transfer" / f"{stem}.json"
    found.save(file)
    print(f"\n{found}\n\nSaved: {file}\nRepeat: {again}")
    return 0


def _names(runs: tuple[Path, ...]) -> list[str]:
    """Names of the folders, with those above them where two are alike."""
    resolved = [run.resolve() for run in runs]
    if len(set(resolved)) < len(resolved):
        raise ValueError("a run is given twice; expected different folders")
    names = [run.name for run in resolved]
    if len(set(names)) == len(names):
        return names
    common = os.path.commonpath(resolved)
    return [str(run.relative_to(common)) for run in resolved]
