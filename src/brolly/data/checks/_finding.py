"""What a check of a data set found."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

Status = Literal["pass", "warn", "fail"]

#: Examples that a finding shows; broken files are all named.
MOST_EXAMPLES = 20


@dataclasses.dataclass(frozen=True)
class Place:
    """One example of a data set, or a file that gave none.

    Attributes:
        split: `train`, `validation` or `test`; empty where it is unknown.
        index: Position in the split; None for a file that cannot be read.
        label: Class name.
        file: Path in the folder or archive, where the examples are files.
    """

    split: str
    index: int | None
    label: str
    file: str = ""

    def __str__(self) -> str:
        where = self.file or f"{self.split} {self.index}"
        return f"{where} ({self.label})" if self.label else where


@dataclasses.dataclass(frozen=True)
class Example:
    """One instance of a fault.

    Attributes:
        places: The examples that share it.
        note: What is wrong, or how alike they are.
    """

    places: tuple[Place, ...]
    note: str = ""

    def __str__(self) -> str:
        text = " and ".join(map(str, self.places))
        return f"{text}: {self.note}" if self.note else text


@dataclasses.dataclass(frozen=True)
class Finding:
    """One way in which data may be wrong, looked for.

    Attributes:
        name: In lower case with hyphens.
        status: `fail`: training or its numbers would be wrong. `warn`: they may be.
        message: What was found, in one sentence with its numbers.
        threshold: What raises the alarm, in words.
        examples: Where, the first 20 of them; of broken files all.
    """

    name: str
    status: Status
    message: str
    threshold: str
    examples: tuple[Example, ...] = ()


@dataclasses.dataclass(frozen=True)
class SplitSummary:
    """Numbers of one split.

    Attributes:
        name: `train`, `validation` or `test`.
        counts: Examples of each class.
        mean, std: Of the values of each channel, in input units.
    """

    name: str
    counts: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def total(self) -> int:
        """Number of examples."""
        return sum(self.counts)


@dataclasses.dataclass(frozen=True)
class DataCheck:
    """What a data set holds and what is wrong with it; its `str` is a table.

    Attributes:
        name: Of the data set.
        classes: Class names.
        shape: Of one input; empty where the data could not be read.
        splits: Numbers of each split.
        findings: What was looked for.
        extremes: The darkest and the brightest images, four each, with their mean.
        alike: The most similar pairs that raised no alarm, for eyes to judge.
    """

    name: str
    classes: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    splits: tuple[SplitSummary, ...] = ()
    findings: tuple[Finding, ...] = ()
    extremes: tuple[Example, ...] = ()
    alike: tuple[Example, ...] = ()

    @property
    def status(self) -> Status:
        """The worst of all findings."""
        found = {finding.status for finding in self.findings}
        return "fail" if "fail" in found else "warn" if "warn" in found else "pass"

    def __getitem__(self, name: str) -> Finding:
        """The finding of that name."""
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(name)

    def __str__(self) -> str:
        return "\n".join(
            f"{finding.status:<5} {finding.name}: {finding.message}" for finding in self.findings
        )

    def to_json(self) -> dict[str, Any]:
        """The same as plain dictionaries and lists."""
        return {"status": self.status, **dataclasses.asdict(self)}
