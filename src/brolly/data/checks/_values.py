"""What inputs hold: numbers out of bounds, nothing at all, or other light than elsewhere."""

from __future__ import annotations

from torch import Tensor

from ._finding import MOST_EXAMPLES, Example, Finding
from ._scan import Scan
from ._whole import Whole

_MANY = 0.01
_SMALL_EFFECT, _ERRORS = 0.2, 4.0  # Cohen's d that is called small; standard errors
_EXTREMES = 4


def check_values(whole: Whole, bounds: tuple[float, float]) -> list[Finding]:
    """Looks for values out of bounds, constant inputs, and splits that are brighter or darker."""
    return [_bounds(whole, bounds), _constant(whole), _light(whole)]


def extremes(whole: Whole) -> list[Example]:
    """The darkest and the brightest images."""
    brightness = whole.all(lambda scan: scan.brightness).nan_to_num(0, 0, 0)
    order = brightness.argsort(stable=True).tolist()
    few = min(_EXTREMES, len(order) // 2)
    return [
        whole.example(row, note=f"mean {float(brightness[row]):.3f}")
        for row in order[:few] + order[len(order) - few :]
    ]


def _bounds(whole: Whole, bounds: tuple[float, float]) -> Finding:
    low, high = whole.all(lambda scan: scan.low), whole.all(lambda scan: scan.high)
    fine = (low >= bounds[0]) & (high <= bounds[1])
    rows = (~fine).nonzero()[:, 0]
    nan = int((low.isnan() | low.isinf() | high.isinf()).sum())
    span = f"[{float(low.nan_to_num().min()):.4g}, {float(high.nan_to_num().max()):.4g}]"
    return Finding(
        "values-in-bounds",
        "fail" if len(rows) else "pass",
        f"{len(rows):,} of {len(low):,} inputs leave [{bounds[0]:g}, {bounds[1]:g}], {nan:,} of "
        f"them with NaN or infinity; finite values span {span}. Pass bounds or rescale."
        if len(rows)
        else f"Values span {span}, within [{bounds[0]:g}, {bounds[1]:g}].",
        "any value that is NaN, infinite or outside the bounds",
        _examples(whole, rows),
    )


def _constant(whole: Whole) -> Finding:
    spread = whole.all(lambda scan: scan.spread)
    rows = (spread == 0).nonzero()[:, 0]
    return Finding(
        "constant-inputs",
        "fail" if len(rows) >= _MANY * len(spread) > 0 else "warn" if len(rows) else "pass",
        f"{len(rows):,} of {len(spread):,} inputs hold one value, or one colour, only."
        if len(rows)
        else "No input holds one value, or one colour, only.",
        f"any input whose values are all equal in each channel; a failure from {_MANY:.0%}",
        _examples(whole, rows),
    )


def _light(whole: Whole) -> Finding:
    train, *others = whole.scans
    found = [(each.split.name, *_effect(train, each)) for each in others if len(each) > 1]
    found = found if len(train) > 1 else []
    shifted = any(abs(d) > _SMALL_EFFECT and abs(d) > _ERRORS * error for _, d, error in found)
    words = ", ".join(f"{d:+.2f} ± {error:.2f} in {name}" for name, d, error in found)
    return Finding(
        "mean-shift",
        "warn" if shifted else "pass",
        f"Means of inputs against train, in standard deviations between inputs: {words}."
        if found
        else "There is nothing to compare.",
        f"more than {_SMALL_EFFECT} (Cohen's d of a small effect) and {_ERRORS:g} standard errors",
    )


def _effect(train: Scan, other: Scan) -> tuple[float, float]:
    one, two = (scan.brightness.nan_to_num(0, 0, 0) for scan in (train, other))
    pooled = ((one.var() + two.var()) / 2).sqrt().clamp(min=1e-12)
    return float((two.mean() - one.mean()) / pooled), (1 / len(one) + 1 / len(two)) ** 0.5


def _examples(whole: Whole, rows: Tensor) -> tuple[Example, ...]:
    return tuple(whole.example(row) for row in rows[:MOST_EXAMPLES].tolist())
