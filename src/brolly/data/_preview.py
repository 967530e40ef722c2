"""Pictures of what is in a split, and of what augmentation makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ._batches import Augmentation
from ._sheet import write_sheet
from ._split import Split
from .augmentation import augment

#: Rows of a sheet; of more classes than that the first are shown.
ROWS = 50


def preview(
    split: Split,
    path: str | Path,
    *,
    augmentations: Sequence[Augmentation] = (),
    count: int = 8,
    seed: int = 0,
) -> int:
    """Writes a contact sheet (PNG) of some examples of each class, one class a row.

    With augmentations, a row is one example: as it is, then several draws of what becomes of it.

    Args:
        split: Images with values in [0, 1] once scaled, with 1 or 3 channels.
        path: File to write.
        augmentations: Applied in turn.
        count: Examples of each class, or draws for each example.
        seed: Of the choice of examples and of the draws.

    Returns:
        How many classes are shown: 50 at most.

    Raises:
        ValueError: These are no images, or there is nothing to show.

    Example:
        >>> import brolly, tempfile
        >>> data = brolly.load_data("digits")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     brolly.data.preview(
        ...         data.train, f"{folder}/digits.png", augmentations=[brolly.Rotation(15.0)]
        ...     )
        10
    """
    if len(split.shape) != 3 or split.shape[0] not in (1, 3):
        raise ValueError(
            f"inputs of {split.dataset} have shape {split.shape}; expected images "
            "(channels, height, width) with 1 or 3 channels"
        )
    if count < 1:
        raise ValueError(f"count is {count}; expected 1 or more")
    if not len(split):
        raise ValueError(f"{split.dataset}/{split.name} is empty; there is nothing to show")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(split), generator=generator)
    labels = split.labels[order]
    names = split.classes[:ROWS]
    wanted = 1 if augmentations else count
    chosen = [order[labels == label][:wanted] for label in range(len(names))]
    images = split.scaled(split.read(torch.cat(chosen)))
    shown = list(images.split([len(rows) for rows in chosen]))
    title = [f"{split.dataset}/{split.name}, seed {seed}"]
    headings: list[str] = []
    if augmentations:
        shown = [_drawn(image, augmentations, count, generator) for image in shown]
        title += [repr(step) for step in augmentations]
        headings = ["original", *map(str, range(1, count + 1))]
    rows: list[tuple[str, Tensor]] = list(zip(names, shown, strict=True))
    write_sheet(path, rows, title=title, headings=headings)
    return len(names)


def _drawn(
    image: Tensor, augmentations: Sequence[Augmentation], count: int, generator: torch.Generator
) -> Tensor:
    """The image, or none if there is none, and what becomes of it."""
    if not len(image):
        return image
    return torch.cat([image, augment(augmentations, image.repeat(count, 1, 1, 1), generator).x])
