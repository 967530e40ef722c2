"""`brolly curve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ._command import command

if TYPE_CHECKING:
    from ..recipes import Configuration, Sweep, Trial


def curve(
    recipe: str,
    *grid: str,
    seeds: int = 3,
    final: Annotated[bool, Parameter(negative="")] = False,
    workers: int = 1,
    output_dir: Path | None = None,
    data_dir: Path | None = None,
    device: str | None = None,
) -> int:
    """Compare training and validation error over training sets, or networks, of several sizes.

    For example brolly curve digits-plain data.examples=100,300,1000, or model.width=4,8,16. Writes
    curve.json and curve.html; the same command trains only what is not done yet.

    Parameters
    ----------
    recipe
        Name of a shipped recipe or a YAML file.
    grid
        One key with several numbers, or one of the model with any values such as
        model.hidden=[8],[16]; and changes to the recipe such as epochs=5.
    seeds
        Networks of each size.
    final
        Evaluate each network on the test split, too: once, when everything is decided.
    workers
        Processes to share the trainings.
    output_dir
        Folder of the networks and the page; sweeps/RECIPE-HASH if not given.
    data_dir
        First folder to search for data; then $BROLLY_DATA and the cache.
    device
        Where to compute: cpu, cuda, cuda:1, ...
    """
    from ..recipes import learning_curve
    from ..report import write_curve

    parts = ["curve", recipe, *grid]
    parts += ["--seeds", str(seeds)] if seeds != 3 else []
    parts += ["--final"] if final else []
    parts += ["--workers", str(workers)] if workers != 1 else []
    parts += ["--output-dir", str(output_dir)] if output_dir else []
    again = command(*parts, data_dir=data_dir, device=device)
    found = learning_curve(
        recipe, list(grid), seeds=seeds, final=final, workers=workers, output_dir=output_dir,
        data_dir=data_dir, device=device, on_trial=_tell,
    )  # fmt: skip
    page = write_curve(found.folder / "curve.html", found.to_json(), again)
    print(
        f"{found}\n\nMean ± standard deviation over seeds; clean errors on whole splits.\n"
        f"Page: {page}\nData: {found.folder / 'curve.json'}\nRepeat: {again}"
    )
    return 0


def _tell(sweep: Sweep, configuration: Configuration, trial: Trial) -> None:
    print(f"{configuration}, seed {trial.seed}: {trial.status}", file=sys.stderr)
