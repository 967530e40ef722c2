"""A data set on one page: what is in it, and what is wrong with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from .._files import write_text
from ..data import DataCheck, Dataset, Example, Finding
from ._pictures import LARGEST, data_uri, is_image
from ._write import environment

_CLASSES, _EACH = 24, 10
_GROUPS = 12  # of copies that are drawn for a finding
_ROW, _BAR, _NAME = 20, 240, 110  # of the histogram, in its own units


@dataclasses.dataclass(frozen=True)
class Drawn:
    """An image and the words below it."""

    uri: str
    text: str


@dataclasses.dataclass(frozen=True)
class Group:
    """Images that are shown side by side."""

    images: tuple[Drawn, ...]
    note: str


@dataclasses.dataclass(frozen=True)
class Panel:
    """The images of a finding."""

    finding: Finding
    groups: tuple[Group, ...]


@dataclasses.dataclass(frozen=True)
class Bar:
    """One class in the histogram: its row, and start, width and count of each split's part."""

    name: str
    y: int
    parts: tuple[tuple[str, float, float, int], ...]
    total: int


@dataclasses.dataclass(frozen=True)
class DataPage:
    """A check of a data set, arranged for the page."""

    check: DataCheck
    trust: str
    verdict: str
    alarms: tuple[Finding, ...]
    quiet: tuple[Finding, ...]
    bars: tuple[Bar, ...]
    hidden: int
    strips: tuple[Group, ...]
    panels: tuple[Panel, ...]
    alike: tuple[Group, ...]
    extremes: tuple[Drawn, ...]
    command: str
    following: str


def write_data_check(
    path: str | Path, check: DataCheck, data: Dataset | None, command: str = "", following: str = ""
) -> Path:
    """Writes a check of a data set as one self-contained page.

    Args:
        path: The file to write; it is replaced whole or not at all.
        check: What was found.
        data: The data set, for its pictures; None where it could not be read.
        command: What made the page, for others to repeat.
        following: What to type next.

    Returns:
        The path.

    Example:
        >>> import tempfile, brolly
        >>> from pathlib import Path
        >>> from brolly.data import check_data
        >>> from brolly.report import write_data_check
        >>> data = brolly.load_data("digits")
        >>> write_data_check(Path(tempfile.mkdtemp()) / "data.html", check_data(data), data).name
        'data.html'
    """
    page = _page(check, data, command, following)
    write_text(path, environment().get_template("data.html").render(page=page, bar=_BAR, row=_ROW,
                                                                    margin=_NAME))  # fmt: skip
    return Path(path)


def _page(check: DataCheck, data: Dataset | None, command: str, following: str) -> DataPage:
    pictures = data if data is not None and is_image(data.shape) else None
    alarms = tuple(sorted((f for f in check.findings if f.status != "pass"), key=_gravity))
    bars = _bars(check)
    return DataPage(
        check=check,
        trust={"pass": "trusted", "warn": "doubtful", "fail": "broken"}[check.status],
        verdict=_verdict(check),
        alarms=alarms,
        quiet=tuple(finding for finding in check.findings if finding.status == "pass"),
        bars=bars,
        hidden=len(check.classes) - len(bars),
        strips=_strips(pictures) if pictures else (),
        panels=tuple(_panels(check.findings, pictures)) if pictures else (),
        alike=tuple(_group(example, pictures) for example in check.alike) if pictures else (),
        extremes=tuple(
            dataclasses.replace(_group(example, pictures).images[0], text=_place(example))
            for example in check.extremes
        ) if pictures else (),
        command=command,
        following=following,
    )  # fmt: skip


def _gravity(finding: Finding) -> int:
    return ("fail", "warn", "pass").index(finding.status)


def _verdict(check: DataCheck) -> str:
    counts = {
        status: sum(finding.status == status for finding in check.findings)
        for status in ("fail", "warn", "pass")
    }
    words = [f"{count} {word}" for count, word in zip(
        counts.values(), ("failed", "warned", "passed"), strict=True
    ) if count]  # fmt: skip
    return f"Of {len(check.findings)} checks, {', '.join(words)}."


def _bars(check: DataCheck) -> tuple[Bar, ...]:
    """Counts of the first classes, one part for each split."""
    largest = max((sum(counts) for counts in zip(*(s.counts for s in check.splits), strict=True)),
                  default=0)  # fmt: skip
    found: list[Bar] = []
    for number, name in enumerate(check.classes[: 2 * _CLASSES] if largest else ()):
        parts, start = [], 0.0
        for split in check.splits:
            width = _BAR * split.counts[number] / largest
            parts.append((split.name, round(start, 2), round(width, 2), split.counts[number]))
            start += width
        total = sum(split.counts[number] for split in check.splits)
        found.append(Bar(name, _ROW * number, tuple(parts), total))
    return tuple(found)


def _strips(data: Dataset) -> tuple[Group, ...]:
    """The first training images of each class."""
    found: list[Group] = []
    for label, name in enumerate(data.classes[:_CLASSES]):
        rows = (data.train.labels == label).nonzero()[:_EACH, 0]
        uris = _draw(data, "train", rows.tolist())
        images = tuple(Drawn(uri, f"{name}, train {row}")
                       for uri, row in zip(uris, rows.tolist(), strict=True))  # fmt: skip
        found.append(Group(images, name))
    return tuple(found)


def _panels(findings: Sequence[Finding], data: Dataset) -> list[Panel]:
    return [
        Panel(finding, tuple(_group(example, data) for example in drawable[:_GROUPS]))
        for finding in findings
        if (drawable := [e for e in finding.examples if all(p.index is not None for p in e.places)])
    ]


def _group(example: Example, data: Dataset) -> Group:
    images = [
        Drawn(_draw(data, place.split, [place.index])[0], str(place))
        for place in example.places
        if place.index is not None
    ]
    return Group(tuple(images), example.note)


def _place(example: Example) -> str:
    return f"{example.places[0]}, {example.note}"


def _draw(data: Dataset, split: str, rows: list[int]) -> list[str]:
    """Images of a split as addresses, no larger than the page shows them."""
    part = getattr(data, split)
    if not rows:
        return []
    low, high = data.bounds
    images = (part.scaled(part.read(torch.tensor(rows))) - low) / (high - low)
    factor = LARGEST / max(images.shape[2:])
    if factor < 1:
        size = [max(1, round(side * factor)) for side in images.shape[2:]]
        images = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
    return [data_uri(np.asarray(image)) for image in images.cpu()]
