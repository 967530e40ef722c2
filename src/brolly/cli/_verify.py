"""`brolly verify`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table


def verify(
    evidence: Path,
    *,
    model: str,
    data: str | None = None,
    data_dir: Path | None = None,
    device: str | None = None,
) -> int:
    """Re-check every claim of an evaluation from its evidence; exits with 1 if one does not hold.

    Nothing is attacked: the clean and adversarial inputs in the file are shown to the model again.

    Parameters
    ----------
    evidence
        File that `brolly evaluate` wrote, such as RUN/evidence/linf-0.1.h5.
    model
        The run it is about, or package.module:factory for a model of your own.
    data
        Data set it is about, where the model is your own.
    data_dir
        First folder to search for data; then $BROLLY_DATA and the cache.
    device
        Where to compute: cpu, cuda, cuda:1, ...
    """
    from ..evaluation import Evidence
    from ..evaluation import verify as check
    from ._model import load_model_and_data

    read = Evidence.load(evidence)
    network, dataset = load_model_and_data(model, data, data_dir)
    splits = {split.name: split for split in (dataset.train, dataset.validation, dataset.test)}
    said = read.evaluation
    if said.data.split not in splits:
        raise ValueError(
            f"{evidence} is about the split {said.data.split!r}; {dataset.name} has "
            f"{', '.join(splits)}"
        )
    claims = check(read, network, splits[said.data.split], device=device)
    table = Table("claim", "", "examined", box=None, title=str(said.threat), title_justify="left")
    for claim in claims:
        mark = "[green]holds[/]" if claim.holds else "[bold red]does not hold[/]"
        table.add_row(claim.text, mark, str(claim.examined))
    Console().print(table)
    for claim in claims:
        if not claim.holds:
            print(f"does not hold: {claim.text}{_where(claim.failing)}"
                  + (f" ({claim.note})" if claim.note else ""))  # fmt: skip
    failed = sum(not claim.holds for claim in claims)
    print(f"{failed} of {len(claims)} claims do not hold" if failed else said.verdict())
    return 1 if failed else 0


def _where(failing: tuple[int, ...], most: int = 10) -> str:
    if failing == (-1,):
        return ""
    some = ", ".join(str(row) for row in failing[:most])
    return f" for {len(failing)} examples: {some}" + (", ..." if len(failing) > most else "")
