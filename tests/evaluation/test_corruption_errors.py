import dataclasses

import pytest

from brolly.evaluation import CorruptionCell, CorruptionTable, Count, Estimate


def table(fog: tuple[int, ...], jpeg: tuple[int, ...]) -> CorruptionTable:
    """Of 100 examples, how many are right at each severity."""
    cells = [
        CorruptionCell(kind, severity, Count(hits, 100))
        for kind, row in (("fog", fog), ("jpeg", jpeg))
        for severity, hits in enumerate(row, start=1)
    ]
    return CorruptionTable(Count(95, 100), tuple(cells), Estimate(0.0, 0.0, 0.0))


MINE = table((90, 80, 70, 60, 50), (94, 93, 92, 91, 90))
OTHER = table((80, 60, 40, 20, 0), (98, 96, 94, 92, 90))


def test_errors_by_hand() -> None:
    assert MINE.kinds == ("fog", "jpeg")
    assert MINE.accuracy("fog", 4) == Count(60, 100)
    assert MINE.error("fog") == pytest.approx(0.3)
    assert MINE.error("jpeg") == pytest.approx(0.08)
    assert MINE.mean_corruption_error() == pytest.approx(0.19)


def test_errors_relative_to_a_baseline() -> None:
    # Errors of the baseline: 0.6 under fog, 0.06 under JPEG.
    assert MINE.mean_corruption_error(OTHER) == pytest.approx((0.3 / 0.6 + 0.08 / 0.06) / 2)
    assert MINE.mean_corruption_error(MINE) == pytest.approx(1)


def test_mistakes() -> None:
    perfect = table((100,) * 5, (90,) * 5)
    with pytest.raises(ValueError, match="no error under 'fog'"):
        MINE.mean_corruption_error(perfect)
    with pytest.raises(ValueError, match="no 'snow' of severity 1; cifar-10-c has fog 1, fog 2"):
        MINE.accuracy("snow", 1)
    with pytest.raises(ValueError, match="there is no 'snow'"):
        MINE.error("snow")


def test_a_baseline_of_another_suite_is_refused() -> None:
    other = dataclasses.replace(OTHER, suite="mnist-c")
    with pytest.raises(ValueError, match="those of cifar-10-c, the baseline's those of mnist-c"):
        MINE.mean_corruption_error(other)
