"""`brolly measure`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ._command import command


def measure(
    run: Path,
    *,
    threat: str | None = None,
    examples: int | None = None,
    corruptions: Literal["cifar-10-c", "imagenet-c", "mnist-c"] | None = None,
    no_corruptions: Annotated[bool, Parameter(negative="")] = False,
    ood: str | None = None,
    baseline: Path | None = None,
    batch_size: int = 256,
    seed: int = 0,
    data_dir: Path | None = None,
    device: str | None = None,
) -> int:
    """Measure a trained network beyond its robust accuracy: calibration, detection, corruptions.

    Parameters
    ----------
    run
        Run folder that `brolly train` made.
    threat
        What the adversary may do, such as linf:8/255; the recipe's own if not given.
    examples
        How many test examples, from the first; all if not given.
    corruptions
        Suite to measure accuracy under; if not given, cifar-10-c for images whose shorter side is
        up to 84 pixels, imagenet-c for larger ones.
    no_corruptions
        Leave corruptions out.
    ood
        Data set of foreign inputs, beside uniform noise; mnist for fashion-mnist if not given.
    baseline
        Measures of another run, such as RUN/measures/linf-0.1.json, to relate the corruption
        errors to.
    batch_size
        Examples looked at a time; the result does not depend on it.
    seed
        Of attacks, corruptions and intervals.
    data_dir
        First folder to search for data; then $BROLLY_DATA and the cache.
    device
        Where to compute: cpu, cuda, cuda:1, ...
    """
    from ..data import load_data
    from ..evaluation import Measures, default_ood
    from ..evaluation import measure as take_measures
    from ..recipes import load_run
    from ..report import read_run, write_report
    from ..threats import parse_threat
    from ..training import RunFolder

    parts = ["measure", str(run)]
    parts += ["--threat", threat] if threat else []
    parts += ["--examples", str(examples)] if examples is not None else []
    parts += ["--corruptions", corruptions] if corruptions else []
    parts += ["--no-corruptions"] if no_corruptions else []
    parts += ["--ood", ood] if ood else []
    parts += ["--seed", str(seed)] if seed else []
    again = command(*parts, data_dir=data_dir, device=device)
    if corruptions and no_corruptions:
        raise ValueError(f"--corruptions {corruptions} and --no-corruptions exclude each other")
    folder = RunFolder(run)
    folder.check()
    compared = None if baseline is None else Measures.load(baseline).corruptions
    if baseline is not None and (compared is None or no_corruptions):
        raise ValueError(f"{baseline} is to be compared with, but corruptions were left out")
    with folder.locked():
        recipe, model, data = load_run(run, data_dir)
        ball = parse_threat(threat or recipe.threat, data.bounds)
        found = take_measures(
            model,
            data,
            ball,
            examples=examples,
            seed=seed,
            corruptions=False if no_corruptions else corruptions or True,
            ood=load_data(ood, data_dir=data_dir) if ood else default_ood(data, data_dir),
            batch_size=batch_size,
            device=device,
            name=recipe.name,
            command=again,
            on_progress=lambda stage: print(f"{stage} ...", flush=True),
        )
        stem = str(ball).replace(":", "-")
        stem += f"-n{examples}" if examples is not None else ""
        stem += f"-seed{seed}" if seed else ""
        stem += f"-{corruptions}" if corruptions else ""
        file = run / "measures" / f"{stem}.json"
        found.save(file)
    page = write_report(folder.report, [read_run(run, data.test)])
    print(f"\n{found}\n")
    if compared is not None and found.corruptions is not None:
        relative = found.corruptions.mean_corruption_error(compared)
        print(f"Mean corruption error relative to {baseline}: {relative:.4f}")
    print(f"Saved: {file}\nReport: {page}\nRepeat: {again}")
    return 0
