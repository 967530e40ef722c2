"""Accuracy under corruptions, and the mean corruption error."""

from __future__ import annotations

import dataclasses

from ._estimate import Estimate
from ._evaluation import Count


@dataclasses.dataclass(frozen=True)
class CorruptionCell:
    """Accuracy under one type of corruption at one severity, 1 to 5."""

    kind: str
    severity: int
    accuracy: Count


@dataclasses.dataclass(frozen=True)
class CorruptionTable:
    """Accuracy by type and severity (Hendrycks & Dietterich 2019, Mu & Gilmer 2019).

    Attributes:
        clean: Accuracy without corruption, on the same examples.
        cells: One for each type and severity; types in the published order, severities rising.
        mean_error: Mean error over all cells.
        suite: Whose types and parameters they are, such as `cifar-10-c` or `mnist-c`.
    """

    clean: Count
    cells: tuple[CorruptionCell, ...]
    mean_error: Estimate
    suite: str = "cifar-10-c"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The types, in order."""
        return tuple(dict.fromkeys(cell.kind for cell in self.cells))

    def accuracy(self, kind: str, severity: int) -> Count:
        """Of one cell."""
        for cell in self.cells:
            if (cell.kind, cell.severity) == (kind, severity):
                return cell.accuracy
        raise ValueError(
            f"there is no {kind!r} of severity {severity}; {self.suite} has "
            + ", ".join(f"{cell.kind} {cell.severity}" for cell in self.cells)
        )

    def error(self, kind: str) -> float:
        """Mean error of a type over its severities."""
        errors = [1 - cell.accuracy.rate for cell in self.cells if cell.kind == kind]
        if not errors:
            raise ValueError(f"there is no {kind!r}; expected one of {', '.join(self.kinds)}")
        return sum(errors) / len(errors)

    def mean_corruption_error(self, baseline: CorruptionTable | None = None) -> float:
        """Mean over types of the error, or of its ratio to the baseline's (mCE).

        Args:
            baseline: That of the model to compare with, AlexNet in the paper; None: the mean of
                the errors themselves.

        Raises:
            ValueError: The baseline is of another suite, lacks a type, or makes no error under one.
        """
        if baseline is not None and baseline.suite != self.suite:
            raise ValueError(
                f"these corruptions are those of {self.suite}, the baseline's those of "
                f"{baseline.suite}; measure both under the same"
            )
        ratios = []
        for kind in self.kinds:
            unit = 1.0 if baseline is None else baseline.error(kind)
            if unit == 0:
                raise ValueError(
                    f"the baseline makes no error under {kind!r}, so the ratio to it is undefined; "
                    "compare with another model, or on more examples"
                )
            ratios.append(self.error(kind) / unit)
        return sum(ratios) / len(ratios)
