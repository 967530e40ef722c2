"""`brolly attacks`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


def attacks() -> int:
    """List every attack: what it searches, what it asks of the model, what it costs, its paper."""
    from ..attacks import CATALOGUE, ENSEMBLES, FROM_PYTHON
    from ..threats import Linf

    console = Console()
    table = Table("name", "threats", "needs", "cost per example", "paper", "use it", box=None)
    for name, entry in CATALOGUE.items():
        table.add_row(
            name, " ".join(entry.attack.kinds), entry.needs, entry.cost, entry.paper, entry.use
        )
    console.print(table)
    rows = Table("ensemble", "attacks, one after the other", box=None)
    for name, ensemble in ENSEMBLES.items():
        rows.add_row(name, ", ".join(attack.name for attack in ensemble(Linf(0.1)).attacks))
    console.print()
    console.print(rows)
    calls = Table("from Python", "paper", "use it", box=None)
    for call in FROM_PYTHON:
        calls.add_row(*call)
    console.print()
    console.print(calls)
    return 0
