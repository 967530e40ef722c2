"""All checks of a data set."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from .._archive import open_tar, open_zip
from .._dataset import Dataset
from .._folder import read_folder, read_tar, read_zip
from .._load import DATASETS, find_path, read_source, reader_of
from .._members import Members, open_folder
from .._reading import Reading
from ._copies import check_copies, check_near_copies
from ._finding import DataCheck, SplitSummary
from ._labels import check_labels
from ._scan import Scan, scan
from ._survey import survey
from ._values import check_values, extremes
from ._whole import Whole

_OPENERS: dict[object, Callable[[Path], Members]] = {
    read_folder: open_folder,
    read_zip: open_zip,
    read_tar: open_tar,
}


def check_data(data: Dataset, *, seed: int = 0) -> DataCheck:
    """Looks for what would spoil training on a data set, or the numbers measured on it.

    Inputs are read a few megabytes at a time; of each, about 700 bytes are kept. `docs/data.md`
    lists what is looked for, with thresholds.

    Args:
        data: The data set; inputs may stay where they are stored.
        seed: Of the choice of images that near-duplicates are measured against.

    Raises:
        ValueError: All splits are empty.

    Example:
        >>> import brolly
        >>> from brolly.data import check_data
        >>> check = check_data(brolly.load_data("digits"))
        >>> check.status, check["duplicates-across-splits"].message
        ('pass', 'No input is in two splits.')
    """
    if not any(len(split) for split in (data.train, data.validation, data.test)):
        raise ValueError(f"{data.name} has no examples; expected some to look at")
    whole = Whole(tuple(scan(split) for split in (data.train, data.validation, data.test)))
    splits = tuple(_summary(each) for each in whole.scans)
    near, alike = check_near_copies(whole, torch.Generator().manual_seed(seed))
    return DataCheck(
        data.name,
        data.classes,
        data.shape,
        splits,
        (
            *check_labels(splits, data.classes),
            *check_values(whole, data.bounds),
            *check_copies(whole),
            *near,
        ),
        tuple(extremes(whole)) if len(data.shape) == 3 else (),
        tuple(alike),
    )


def check_path(
    name: str | Path, reading: Reading, *, validation: float = 0.1, test: float = 0.2
) -> tuple[DataCheck, Dataset | None]:
    """Looks at a data set by name or path, as far as it can be read.

    Broken images, mixed sizes and wrong class folders become findings; what is left is checked.

    Args:
        name: As in `load_data`.
        reading: As in `load_data`.
        validation, test: Parts that are set aside, where the files set none aside.

    Returns:
        What was found, and the data, where it could be read.

    Raises:
        ValueError: There is no such data set, or it is a file that cannot be read at all.

    Example:
        >>> from brolly.data import Reading, check_path
        >>> check, data = check_path("digits", Reading())
        >>> check.status, len(data.test)
        ('pass', 397)
    """
    path = None if str(name) in DATASETS else find_path(name, reading.data_dir)
    opener = _OPENERS.get(reader_of(path)) if path else None
    if path is None or opener is None:
        source = read_source(name, reading)
        data = source.dataset(validation=validation, test=test, bounded=False)
        return check_data(data), data
    reading.refuse("a folder of images", "label", "mapping", "bounds")
    findings, wanted = survey(opener(path), reading)
    if wanted is None:
        return DataCheck(path.name, findings=tuple(findings)), None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that images are left out is a finding
        data = read_source(name, wanted).dataset(validation=validation, test=test)
    check = check_data(data)
    return dataclasses.replace(check, findings=(*findings, *check.findings)), data


def _summary(each: Scan) -> SplitSummary:
    split = each.split
    counts = split.labels.bincount(minlength=len(split.classes)).tolist()
    return SplitSummary(split.name, tuple(counts), each.mean, each.std)
