"""The table of the zoo: which check fires for which model.

python tests/broken_defences/table.py [--seeds 0 1 2] [--write docs/checks.md]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from broken_defences.zoo import BROKEN, EXAMPLES, SOUND, examined

from brolly.evaluation.checks import NAMES

_BEGIN, _END = "<!-- zoo -->", "<!-- /zoo -->"
_MARKS = {"fail": "F", "warn": "w"}

#: A letter for each check and seed: F, w, or a dot.
Letters = dict[str, str]


def letters(model: str, seeds: Sequence[int]) -> Letters:
    """What every check says about a model, one letter a seed."""
    found: Letters = dict.fromkeys(NAMES, "")
    for seed in seeds:
        said = {check.name: _MARKS.get(check.status, "·") for check in examined(model, seed).checks}
        found = {name: found[name] + said.get(name, "·") for name in NAMES}
        print(f"{model}, seed {seed}: {said}", file=sys.stderr)
    return found


def cell(marks: str, named: bool) -> str:
    """One letter where all seeds agree; in bold where it is the check that names the defence."""
    if set(marks) == {"·"}:
        return "**·**" if named else ""
    short = marks[0] if len(set(marks)) == 1 else marks
    return f"**{short}**" if named else short


def table(found: Mapping[str, Letters], seeds: Sequence[int]) -> str:
    """The summary in a sentence, and the table in Markdown."""
    columns = [name for name in NAMES if any(set(row[name]) != {"·"} for row in found.values())]
    everything = BROKEN | SOUND
    caught = sum("·" not in found[name][BROKEN[name].caught_by] for name in BROKEN)
    alarms = sum(any(set(marks) != {"·"} for marks in found[name].values()) for name in SOUND)
    rows = [
        f"| {name} | "
        + " | ".join(cell(found[name][c], c == everything[name].caught_by) for c in columns)
        + " |"
        for name in everything
    ]
    lines = [
        f"{caught} of {len(BROKEN)} caught by the check that names them (bold), {alarms} of "
        f"{len(SOUND)} false alarms, on seed{'s' if len(seeds) > 1 else ''} "
        f"{' '.join(map(str, seeds))}: the first {EXAMPLES} test digits, all checks. F fails, w "
        "warns; where seeds differ there is a letter for each.",
        "",
        "| model | " + " | ".join(f"[{name}](#{name})" for name in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
        *rows,
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="The table of the zoo.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--write", type=Path, help="page to put the table into")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: letters(name, arguments.seeds) for name in BROKEN | SOUND}
    text = table(found, arguments.seeds)
    print(text)
    if arguments.write is not None:
        page = arguments.write.read_text()
        before, rest = page.split(_BEGIN)
        after = rest.split(_END)[1]
        arguments.write.write_text(f"{before}{_BEGIN}\n{text}\n{_END}{after}")


if __name__ == "__main__":
    main()
