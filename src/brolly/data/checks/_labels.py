"""How many examples there are of each class, in each split."""

from __future__ import annotations

import numpy as np

from ._finding import Finding, SplitSummary, Status

_FEWEST = 10  # training examples of a class
_FEWEST_TESTED = 100
_IMBALANCE = 10.0
_CHANCE, _SHIFT = 0.001, 0.05
_LEAST_EXPECTED = 5  # below, chi-square is no good (Cochran 1954)
_NORMAL_95 = 1.959964


def check_labels(splits: tuple[SplitSummary, ...], classes: tuple[str, ...]) -> list[Finding]:
    """Looks at the size of splits, missing classes, imbalance and shifts between splits."""
    return [_sizes(splits), _missing(splits, classes), _balance(splits[0], classes), _shift(splits)]


def half_width(count: int) -> float:
    """Half the 95 % Wilson interval of a rate of one half, the widest there is.

    Example:
        >>> round(half_width(100), 3)
        0.096
    """
    return _NORMAL_95 / (2 * (count + _NORMAL_95**2) ** 0.5)


def _sizes(splits: tuple[SplitSummary, ...]) -> Finding:
    train, test = splits[0], splits[-1]
    sizes = ", ".join(f"{split.total:,} in {split.name}" for split in splits)
    status: Status = "pass"
    if not train.total or not test.total:
        status = "fail"
    elif any(not split.total for split in splits) or test.total < _FEWEST_TESTED:
        status = "warn"
    interval = (
        f"; an accuracy on the test split is known to ±{100 * half_width(test.total):.1f} points "
        f"at 95 %, that of its smallest class (n = {_smallest(test)}) to "
        f"±{100 * half_width(_smallest(test)):.0f}"
        if test.total
        else ""
    )
    return Finding(
        "split-sizes",
        status,
        f"Examples: {sizes}{interval}.",
        f"an empty train or test split; a warning for no validation split or fewer than "
        f"{_FEWEST_TESTED} test examples",
    )


def _smallest(split: SplitSummary) -> int:
    return min((count for count in split.counts if count), default=0)


def _missing(splits: tuple[SplitSummary, ...], classes: tuple[str, ...]) -> Finding:
    missing = {
        split.name: [name for name, count in zip(classes, split.counts, strict=True) if not count]
        for split in splits
        if split.total
    }
    words = "; ".join(f"{split} has no {_some(names)}" for split, names in missing.items() if names)
    return Finding(
        "classes-in-every-split",
        "fail" if missing.get("train") else "warn" if words else "pass",
        f"{words[0].upper()}{words[1:]}." if words else f"All {len(classes)} classes are in all.",
        "a class without examples: a failure in train, a warning elsewhere",
    )


def _some(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:5]))
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


def _balance(train: SplitSummary, classes: tuple[str, ...]) -> Finding:
    counts = {name: count for name, count in zip(classes, train.counts, strict=True) if count}
    if not counts:
        return Finding("class-balance", "fail", "There are no training examples.", "none")
    most, least = max(counts, key=lambda name: counts[name]), min(counts, key=lambda n: counts[n])
    ratio = counts[most] / counts[least]
    warn = ratio > _IMBALANCE or counts[least] < _FEWEST
    return Finding(
        "class-balance",
        "warn" if warn else "pass",
        f"The largest class of train, {most!r}, has {counts[most]:,} examples, the smallest, "
        f"{least!r}, {counts[least]:,}: {ratio:.3g} to 1.",
        f"more than {_IMBALANCE:g} to 1, or fewer than {_FEWEST} examples of a class",
    )


def _shift(splits: tuple[SplitSummary, ...]) -> Finding:
    train, *others = splits
    found = [
        (split.name, *_compare(train, split)) for split in others if split.total and train.total
    ]
    shifted = [each for each in found if each[4]]
    words = "; ".join(
        f"{name}: χ² = {chi:.1f}, {df} df, p = {p:.2g}, n = {n:,}, {distance:.1%} of labels would "
        "have to change"
        for name, chi, df, p, _, n, distance in found
    )
    return Finding(
        "label-shift",
        "warn" if shifted else "pass",
        f"Class frequencies against train: {words}." if found else "There is nothing to compare.",
        f"p < {_CHANCE} and a total variation distance of {_SHIFT:.0%} or more; classes expected "
        f"fewer than {_LEAST_EXPECTED} times are put together",
    )


def _compare(
    train: SplitSummary, other: SplitSummary
) -> tuple[float, int, float, bool, int, float]:
    from scipy.special import chdtrc

    counts = np.array([train.counts, other.counts], dtype=float)
    parts = counts / counts.sum(1, keepdims=True)
    distance = float(np.abs(parts[0] - parts[1]).sum() / 2)
    expected = counts.sum(0) * counts.sum(1).min() / counts.sum()
    rare = expected < _LEAST_EXPECTED
    table = np.column_stack([counts[:, ~rare], counts[:, rare].sum(1)])
    table = table[:, table.sum(0) > 0]
    if table.shape[1] < 2:
        return 0.0, 0, 1.0, False, other.total, distance
    even = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    chi, df = float(((table - even) ** 2 / even).sum()), table.shape[1] - 1
    p = float(chdtrc(df, chi))
    return chi, df, p, p < _CHANCE and distance >= _SHIFT, other.total, distance
