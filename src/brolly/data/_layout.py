"""Which split and class each image of a folder belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ._members import SUFFIXES, Members

_SPLITS = {
    "train": "train",
    "test": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}

_EXPECTED = "expected class/name.jpg, or train/class/name.jpg beside test/class/name.jpg"

#: Names of images by split and class.
_Found = dict[str, dict[str, list[str]]]


class Layout(NamedTuple):
    """Class names in order, and for each split its images, sorted by class, and their labels."""

    classes: tuple[str, ...]
    parts: Mapping[str, list[tuple[str, int]]]


def arrange(members: Members) -> Layout:
    """Reads split and class of each image off the folders that it lies in.

    One folder around all others is passed over. If there is but one split folder, it holds the
    whole set, and comes as `train`.

    Raises:
        ValueError: There are no images; one lies in no class folder; a class has none; or splits
            have different classes.
    """
    if not members.names:
        raise ValueError(f"{members.place} holds no images ({' '.join(SUFFIXES)}); {_EXPECTED}")
    found = _find(members)
    if len(found) > 1 and "train" not in found:
        raise ValueError(f"{members.place} holds {' and '.join(found)}, but no train; {_EXPECTED}")
    classes = _common_classes(members, found)
    parts = {
        split: [(name, label) for label, kind in enumerate(classes) for name in images[kind]]
        for split, images in found.items()
    }
    return Layout(classes, parts if len(parts) > 1 else {"train": next(iter(parts.values()))})


def _find(members: Members) -> _Found:
    images = [name.split("/") for name in sorted(members.names)]
    folders = [name.split("/") for name in members.folders]
    base, tops = 0, _folders_at(0, images, folders)
    if len(tops) == 1 and not _split_names(tops) and min(map(len, images)) > 2:
        base, tops = 1, _folders_at(1, images, folders)
    splits = _split_names(tops)
    if len(splits) > 1 and splits != tops:
        raise ValueError(
            f"{members.place} holds {', '.join(sorted(splits))}, but beside them "
            f"{', '.join(sorted(tops - splits))}; {_EXPECTED}"
        )
    if not splits or splits != tops:
        return {"train": _classes_at(base, members, images, folders)}
    found: _Found = {}
    for top in sorted(tops):
        inside = [[path for path in paths if path[base : base + 1] == [top]]
                  for paths in (images, folders)]  # fmt: skip
        split = _SPLITS[top.lower()]
        if split in found:
            raise ValueError(f"{members.place} holds {split} twice, the second time as {top}")
        found[split] = _classes_at(base + 1, members, *inside)
    return found


def _folders_at(level: int, images: Sequence[list[str]], folders: Sequence[list[str]]) -> set[str]:
    return {path[level] for path in folders if len(path) > level} | {
        path[level] for path in images if len(path) > level + 1
    }


def _split_names(folders: set[str]) -> set[str]:
    return {folder for folder in folders if folder.lower() in _SPLITS}


def _classes_at(
    level: int, members: Members, images: Sequence[list[str]], folders: Sequence[list[str]]
) -> dict[str, list[str]]:
    """Images of each class, where folders at this level are classes."""
    found: dict[str, list[str]] = {path[level]: [] for path in folders if len(path) > level}
    for path in images:
        if len(path) < level + 2:
            name = "/".join(path)
            raise ValueError(f"{members.place}: {name} lies in no class folder; {_EXPECTED}")
        found.setdefault(path[level], []).append("/".join(path))
    return found


def _common_classes(members: Members, found: _Found) -> tuple[str, ...]:
    classes = tuple(sorted({kind for images in found.values() for kind in images}))
    for split, images in found.items():
        missing = [kind for kind in classes if kind not in images]
        if missing:
            raise ValueError(
                f"{members.place}: {split} has no class folder {', '.join(map(repr, missing))}; "
                f"expected the same classes in all of {', '.join(found)}"
            )
        empty = [kind for kind in classes if not images[kind]]
        if empty:
            raise ValueError(
                f"{members.place}: class {', '.join(map(repr, empty))} of {split} has no images "
                f"({' '.join(SUFFIXES)}); add some, or remove the folder"
            )
    return classes
