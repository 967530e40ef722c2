"""`brolly data preview`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ._reading import ReadingOptions

_NO_OPTIONS = ReadingOptions()


def preview(
    name: str,
    *,
    augment: Annotated[list[str] | None, Parameter(negative="")] = None,
    output: Path = Path("preview.png"),
    count: int = 8,
    seed: int = 0,
    options: ReadingOptions = _NO_OPTIONS,
) -> int:
    """Write a contact sheet (PNG) of training examples of each class.

    With --augment, each row is one example: as it is, then as it comes out of augmentation.

    Parameters
    ----------
    name
        A known data set, or the path of a file or folder.
    augment
        What is applied, as in recipes: flip, or '{name: rotation, degrees: 15}'. Repeat it for
        several in turn.
    output
        File to write.
    count
        Examples of each class, or draws of each example.
    seed
        Of the choice of examples and of the draws.
    """
    from ..data import preview as write_preview
    from ..data import read_source
    from ..recipes import Data

    tree = {"name": name, "augment": [_entry(text) for text in augment or []]}
    entry = Data.from_tree(tree, "the command")
    augmentations = [component.build() for component in entry.augment]
    data = read_source(name, options.reading()).dataset()
    shown = write_preview(data.train, output, augmentations=augmentations, count=count, seed=seed)
    classes = f"{shown} of {len(data.classes)}" if shown < len(data.classes) else f"{shown}"
    what = f"{count} draws of an example" if augmentations else f"up to {count} examples"
    print(f"{output}: {classes} classes, {what} each")
    return 0


def _entry(text: str) -> Any:
    """What a recipe's list of augmentations would hold."""
    import yaml

    try:
        entry = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"--augment {text!r} is not YAML: {error}") from None
    return {"name": entry} if isinstance(entry, str) else entry
