"""`brolly data check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ._command import command
from ._reading import ReadingOptions

if TYPE_CHECKING:
    from ..data import DataCheck, Finding

_NO_OPTIONS = ReadingOptions()
_STYLES = {"pass": "green", "warn": "yellow", "fail": "bold red"}
_SHOWN = 5


def check(
    name: str,
    *,
    output: Path = Path("check.html"),
    json: Path | None = None,
    options: ReadingOptions = _NO_OPTIONS,
) -> int:
    """Look for duplicates, leaks, broken images and skewed classes before training.

    Writes a page with pictures of what was found. Exits with 1 if a check fails.

    Parameters
    ----------
    name
        Name of a data set, or the path of a file or folder.
    output
        The page to write.
    json
        File for the findings as JSON.
    """
    from .._files import write_json
    from ..data import check_path
    from ..report import write_data_check

    reading = options.reading()
    if reading.size is not None and min(reading.size) < 1:
        raise ValueError(f"--size is {reading.size[0]}; expected at least 1 pixel")
    found, data = check_path(name, reading)
    following = _following(name, found, options)
    write_data_check(output, found, data, _repeat(name, output, options), following)
    if json is not None:
        write_json(json, found.to_json())
    console = Console()
    console.print(_table(found))
    for finding in found.findings:
        _name_examples(finding)
    print(f"page: {output}")
    if following:
        print(f"next: {following}")
    elif found.status == "fail":
        print("next: put this right, then check again")
    return 1 if found.status == "fail" else 0


def _table(found: DataCheck) -> Table:
    table = Table("check", "", "finding", box=None, title=f"Check of {found.name}",
                  title_justify="left")  # fmt: skip
    for finding in found.findings:
        style = _STYLES[finding.status]
        table.add_row(finding.name, f"[{style}]{finding.status}[/]", finding.message)
    return table


def _name_examples(finding: Finding) -> None:
    if finding.status == "pass" or not finding.examples:
        return
    print(f"{finding.name}:")
    for example in finding.examples[:_SHOWN]:
        print(f"  {example}")
    if len(finding.examples) > _SHOWN:
        print(f"  and {len(finding.examples) - _SHOWN} more, on the page")


def _following(name: str, found: DataCheck, options: ReadingOptions) -> str:
    """The command that trains on the data, where it is a folder of images that can be read."""
    states = {finding.name: finding.status for finding in found.findings}
    if states.get("class-folders") != "pass" or not found.splits:
        return ""
    broken = states["images-can-be-read"] != "pass"
    words = [f"data.name={name}"]
    words += [f"data.size={options.size}"] if options.size else []
    words += [f"data.colour={options.colour}"] if options.colour else []
    words += ["data.skip_broken=true"] if broken else []
    return command("train", "photos", *words, data_dir=options.data_dir)


def _repeat(name: str, output: Path, options: ReadingOptions) -> str:
    words = ["data", "check", name, "--output", str(output)]
    for option in ("size", "colour", "label"):
        value = getattr(options, option)
        words += [f"--{option}", str(value)] if value is not None else []
    words += ["--skip-broken"] if options.skip_broken else []
    for pair in options.mapping or []:
        words += ["--mapping", pair]
    words += ["--bounds", *map(str, options.bounds)] if options.bounds else []
    return command(*words, data_dir=options.data_dir)
