"""How files are to be read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

#: What images are converted to: one channel or three.
Colour = Literal["grey", "rgb"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """How files are to be read; what a kind of file has no use for, it refuses.

    Args:
        data_dir: First folder to search for a known data set.
        size: Height and width that images are brought to; None: all must have the same.
        colour: Channels that images are brought to; None: all must have the same.
        skip_broken: Whether images that cannot be read are left out, with a warning that names
            them; else they are an error.
        label: Column that holds the class, in tables and text files with columns.
        mapping: Names of our arrays (`train/images`, `train/labels`, `test/images`, ...) to those
            in a foreign HDF5, `.npz` or `.mat` file.
        bounds: Lowest and highest value of features; None: what they span.
    """

    data_dir: Path | None = None
    size: tuple[int, int] | None = None
    colour: Colour | None = None
    skip_broken: bool = False
    label: str | None = None
    mapping: Mapping[str, str] | None = None
    bounds: tuple[float, float] | None = None

    def refuse(self, kind: str, *names: str) -> None:
        """Raises where one of these options is given, which `kind` has no use for.

        Raises:
            ValueError: One of them is not its default.
        """
        defaults = Reading()
        for name in names:
            if getattr(self, name) != getattr(defaults, name):
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, but {kind} has no use for it; leave it out"
                )
