"""`brolly obfuscate`."""

from __future__ import annotations

from pathlib import Path

from ._command import command


def obfuscate(
    run: Path,
    *,
    output_dir: Path,
    seed: int = 0,
    data_dir: Path | None = None,
) -> int:
    """Write a run with other weights that compute the same: units permuted, rescaled, rotated.

    Robustness belongs to the function, so brolly evaluate must find the same in both. It hides
    where weights come from, and no secret.

    Parameters
    ----------
    run
        Run folder that `brolly train` made; it is left as it is.
    output_dir
        The new run folder; it must not be there yet, or be empty.
    seed
        Of the permutations, factors and rotations.
    data_dir
        First folder to search for data; then $BROLLY_DATA and the cache.
    """
    from ..recipes import obfuscate_run

    found = obfuscate_run(run, output_dir, seed=seed, data_dir=data_dir)
    again = command("evaluate", str(output_dir), data_dir=data_dir)
    print(
        f"Largest difference of outputs on {found.examples} examples: {found.difference:.2g}\n"
        f"Layers with other weights: {', '.join(found.changed)}\n"
        f"Run: {output_dir}\nNext: {again}"
    )
    return 0
