"""Measures and transfer matrices as tables of plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._corruption_errors import CorruptionTable
    from ._detection import Detection
    from ._measures import Measures
    from ._transfer import TransferMatrix

Row = Sequence[str]

_MOST_CLASSES = 20  # of more, the table shows those that hold worst


def measures_table(measures: Measures) -> str:
    """All measures, compactly."""
    blocks = [
        f"{measures.model.name} on {measures.data.name}/{measures.data.split} against "
        f"{measures.threat}, n = {measures.data.size}, seed {measures.seed}; "
        f"adversarial inputs by {measures.attack}",
        _aligned(_inputs(measures)),
        _aligned(_classes(measures)),
        _aligned(_detections(measures)),
    ]
    if measures.corruptions is not None:
        blocks.append(_aligned(_corruptions(measures.corruptions)))
    blocks += [f"warning: {warning}" for warning in measures.warnings]
    return "\n\n".join(blocks)


def transfer_table(matrix: TransferMatrix) -> str:
    """Rows: whose inputs; columns: who answers."""
    names = [model.name for model in matrix.models]
    rows = [["accuracy of", *names], ["clean inputs", *map(str, matrix.clean)]]
    rows += [
        [f"made for {name}", *map(str, row)]
        for name, row in zip(names, matrix.accuracy, strict=True)
    ]
    return (
        f"{matrix.data.name}/{matrix.data.split}, {matrix.threat}, n = {matrix.data.size}, "
        f"seed {matrix.seed}\n\n{_aligned(rows)}"
    )


def _inputs(measures: Measures) -> list[Row]:
    found = measures.calibration
    pair, scaled = (found.clean, found.adversarial), (found.scaled_clean, found.scaled_adversarial)
    selective = (measures.selective_clean, measures.selective_adversarial)
    fitted = f"temperature {found.temperature:.3f}, fitted on {found.validation} validation inputs"
    rows: list[Row] = [
        ("", "clean inputs", "adversarial inputs"),
        ("accuracy", str(measures.clean), str(measures.robust)),
        ("mean confidence", *(f"{side.confidence:.2%}" for side in pair)),
        ("calibration error, equal width", *(str(side.ece) for side in pair)),
        ("calibration error, equal mass", *(str(side.ece_mass) for side in pair)),
        ("negative log likelihood", *(str(side.nll) for side in pair)),
        ("Brier score", *(str(side.brier) for side in pair)),
        (fitted,),
        ("  calibration error, equal width", *(str(side.ece) for side in scaled)),
        ("  negative log likelihood", *(str(side.nll) for side in scaled)),
        ("area under risk-coverage", *(str(side.aurc) for side in selective)),
    ]
    points = zip(*(side.coverage_at_risk for side in selective), strict=True)
    rows += [
        (f"coverage at a risk of {clean.risk:.0%}", f"{clean.coverage:.2%}", f"{adv.coverage:.2%}")
        for clean, adv in points
    ]
    return rows


def _classes(measures: Measures) -> list[Row]:
    rows: list[Row] = [("class", "clean", "robust", "most often taken for, under attack")]
    accuracies = measures.classes.accuracies
    shown: Sequence[int] = range(len(accuracies))
    if len(accuracies) > _MOST_CLASSES:
        met = [number for number in shown if accuracies[number].robust.total]
        shown = sorted(met, key=lambda number: accuracies[number].robust.rate)[:_MOST_CLASSES]
    for number in shown:
        accuracy = accuracies[number]
        flow = list(measures.classes.flow[number])
        flow[number] = 0
        most = max(flow)
        names = [*measures.data.classes, "not a number"]
        other = f"{names[flow.index(most)]} ({most})" if most else ""
        rows.append((accuracy.name, str(accuracy.clean), str(accuracy.robust), other))
    return rows


def _detections(measures: Measures) -> list[Row]:
    rows: list[Row] = [("to be found", "score", "AUROC", "AUPR", "FPR at 95 % TPR", "n")]
    for other in measures.out_of_distribution:
        rows += [_detection(other.name, found) for found in other.detections]
    for found in measures.adversarial_detection:
        for name, part in (("unaware", found.unaware), ("aware", found.aware)):
            if part is not None:
                rows.append(_detection(f"adversarial, {name}", part))
    rows += [
        (f"right with the detector by {found.score}, clean: {found.clean}, robust: {found.robust}",)
        for found in measures.adversarial_detection
    ]
    return rows


def _detection(name: str, found: Detection) -> Row:
    size = f"{found.positives} of {found.positives + found.negatives}"
    return name, found.score, str(found.auroc), str(found.aupr), str(found.fpr95), size


def _corruptions(table: CorruptionTable) -> list[Row]:
    severities = sorted({cell.severity for cell in table.cells})
    if len(table.cells) == len(table.kinds):  # one severity each
        rows: list[Row] = [(f"accuracy under {table.suite}", "severity", "")]
        rows += [(cell.kind, str(cell.severity), str(cell.accuracy)) for cell in table.cells]
    else:
        rows = [(f"accuracy under {table.suite} at severity", *map(str, severities), "mean")]
        for kind in table.kinds:
            accuracies = (f"{table.accuracy(kind, severity).rate:.1%}" for severity in severities)
            rows.append((kind, *accuracies, f"{1 - table.error(kind):.1%}"))
    mean = f"mean corruption error {table.mean_error}, clean error {1 - table.clean.rate:.4f}"
    return [*rows, (f"{mean}, n = {table.clean.total}",)]


def _aligned(rows: Sequence[Row]) -> str:
    """Columns side by side; a row of one cell is a sentence, and makes no column wide."""
    columns = max(len(row) for row in rows)
    widths = [
        max((len(row[column]) for row in rows if column < len(row) > 1), default=0)
        for column in range(columns)
    ]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    )
