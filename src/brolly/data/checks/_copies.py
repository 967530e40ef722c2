"""The same input twice, or nearly so."""

from __future__ import annotations

import torch
from torch import Tensor

from ._finding import MOST_EXAMPLES, Example, Finding, Status
from ._similar import NEAR, similar_pairs
from ._whole import Whole

_MOST_COPIES = 6  # of one input that are named
_MANY = 0.01  # part of a split that makes a failure of a warning
_FEW_NEAR = 0.002  # part of a split that chance alone puts near another image
_MOST_ALIKE = 12


def check_copies(whole: Whole) -> list[Finding]:
    """Looks for inputs whose stored bytes are equal."""
    groups = _groups(whole.all(lambda scan: scan.hashes))
    across = [rows for rows in groups if len(whole.split_of[rows].unique()) > 1]
    within = [rows for rows in groups if _repeats(whole, rows)]
    torn = [rows for rows in groups if len(whole.labels[rows].unique()) > 1]
    return [_within(whole, within), _across(whole, across), _conflicts(whole, torn)]


def check_near_copies(
    whole: Whole, generator: torch.Generator
) -> tuple[list[Finding], list[Example]]:
    """Looks for images that differ by a move, light, compression or noise alone.

    Returns:
        The findings, and the most similar pairs that are none.
    """
    spectra = whole.all(lambda scan: scan.spectra)
    if not spectra.shape[1]:
        return [], []
    first = torch.ones(len(spectra), dtype=torch.bool)
    for rows in _groups(whole.all(lambda scan: scan.hashes)):
        first[rows[1:]] = False  # one of each stands for its exact copies
    pairs = similar_pairs(whole.inputs, spectra * first[:, None], generator)
    near = pairs.rows[pairs.distance <= NEAR]
    beyond = [
        whole.example(*rows, note=f"correlation {similar:.3f}, distance {distance:.3f}")
        for rows, similar, distance in zip(
            *(column[len(near) :][:_MOST_ALIKE].tolist() for column in pairs), strict=True
        )
    ]
    apart = whole.split_of[near[:, 0]] != whole.split_of[near[:, 1]]
    return [_near(whole, near, apart), _leaks(whole, near[apart])], beyond


def _groups(hashes: Tensor) -> list[Tensor]:
    """Rows that are equal, of each value that is there more than once."""
    _, value, counts = hashes.unique(dim=0, return_inverse=True, return_counts=True)
    rows = value.argsort(stable=True)
    rows = rows[counts[value[rows]] > 1]
    return list(rows.split(counts[counts > 1].tolist())) if len(rows) else []


def _repeats(whole: Whole, rows: Tensor) -> bool:
    return bool((whole.split_of[rows].bincount() > 1).any())


def _within(whole: Whole, groups: list[Tensor]) -> Finding:
    spare = dict.fromkeys(whole.names, 0)
    for rows in groups:
        for name, count in whole.count(rows).items():
            spare[name] += max(count - 1, 0)
    return Finding(
        "duplicates-within-splits",
        "warn" if groups else "pass",
        f"Inputs that a split holds already: {_listed(spare, whole)}."
        if groups
        else "No split holds an input twice.",
        "any input with the same bytes as another of its split",
        _examples(whole, groups),
    )


def _across(whole: Whole, groups: list[Tensor]) -> Finding:
    known = dict.fromkeys(whole.names[1:], 0)
    for rows in groups:
        counts = whole.count(rows)
        for at, name in enumerate(whole.names[1:], start=1):
            if any(counts[earlier] for earlier in whole.names[:at]):
                known[name] += counts[name]
    status: Status = "warn" if groups else "pass"
    if any(known[s.split.name] >= _MANY * len(s) > 0 for s in whole.scans[1:]):
        status = "fail"
    return Finding(
        "duplicates-across-splits",
        status,
        f"Inputs that another split holds too: {_listed(known, whole)}; accuracy on them is "
        "memory." if groups else "No input is in two splits.",
        f"any input of validation or test with the same bytes as one of an earlier split; a "
        f"failure from {_MANY:.0%} of a split",
        _examples(whole, groups),
    )  # fmt: skip


def _conflicts(whole: Whole, groups: list[Tensor]) -> Finding:
    count, total = sum(map(len, groups)), len(whole.labels)
    return Finding(
        "conflicting-labels",
        "fail" if count >= _MANY * total > 0 else "warn" if groups else "pass",
        f"{count:,} of {total:,} examples share their input with one of another class."
        if groups
        else "No input has two labels.",
        f"any two equal inputs with different labels; a failure from {_MANY:.0%} of all examples",
        _examples(whole, groups),
    )


def _near(whole: Whole, near: Tensor, apart: Tensor) -> Finding:
    images = near[~apart].unique()
    total = len(whole.labels)
    return Finding(
        "near-duplicates-within-splits",
        "warn" if len(images) > _FEW_NEAR * total else "pass",
        f"{len(images):,} of {total:,} images are nearly the same as another of their split, in "
        f"{int((~apart).sum()):,} pairs."
        if len(images)
        else "No split holds an image nearly twice.",
        f"{_NEARNESS}; more than {_FEW_NEAR:.1%} of all images",
        _pairs(whole, near[~apart]),
    )


def _leaks(whole: Whole, near: Tensor) -> Finding:
    later = whole.count(near[:, 1].unique())
    known = {name: later[name] for name in whole.names[1:]}
    many = any(known[s.split.name] > _FEW_NEAR * len(s) for s in whole.scans[1:])
    return Finding(
        "near-duplicates-across-splits",
        "warn" if many else "pass",
        f"Images that are nearly in an earlier split: {_listed(known, whole)}."
        if len(near)
        else "No image of validation or test is nearly one of an earlier split.",
        f"{_NEARNESS}; more than {_FEW_NEAR:.1%} of a split",
        _pairs(whole, near),
    )


_NEARNESS = (
    "the gradients of two images, moved by up to a pixel, correlate so well that what is missing "
    f"to 1 is at most {NEAR:.0%} of what is missing to the sixth nearest of 256 others"
)


def _examples(whole: Whole, groups: list[Tensor]) -> tuple[Example, ...]:
    return tuple(
        whole.example(
            *rows[:_MOST_COPIES].tolist(),
            note=f"and {len(rows) - _MOST_COPIES} more" if len(rows) > _MOST_COPIES else "",
        )
        for rows in groups[:MOST_EXAMPLES]
    )


def _pairs(whole: Whole, pairs: Tensor) -> tuple[Example, ...]:
    return tuple(whole.example(*rows) for rows in pairs[:MOST_EXAMPLES].tolist())


def _listed(counts: dict[str, int], whole: Whole) -> str:
    sizes = {scan.split.name: len(scan) for scan in whole.scans}
    return ", ".join(
        f"{count:,} of {sizes[name]:,} in {name}" for name, count in counts.items() if count
    )
