"""Options that say how files are to be read."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from ..data import Reading


@Parameter(name="*", negative_iterable=())
@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """How files are to be read.

    Parameters
    ----------
    data_dir
        First folder to search for data; then $BROLLY_DATA and the cache.
    size
        Side that images are brought to.
    colour
        What images are converted to.
    skip_broken
        Leave out images that cannot be read.
    label
        Column that holds the class, in tables and text files.
    mapping
        What an array is called in the file, such as train/images=x_train; may be given repeatedly.
    bounds
        Lowest and highest value of features.
    """

    data_dir: Path | None = None
    size: int | None = None
    colour: Literal["grey", "rgb"] | None = None
    skip_broken: bool = False
    label: str | None = None
    mapping: list[str] | None = None
    bounds: tuple[float, float] | None = None

    def reading(self) -> Reading:
        """The same for readers."""
        from ..data import Reading

        return Reading(
            data_dir=self.data_dir,
            size=None if self.size is None else (self.size, self.size),
            colour=self.colour,
            skip_broken=self.skip_broken,
            label=self.label,
            mapping=None if self.mapping is None else dict(map(_pair, self.mapping)),
            bounds=self.bounds,
        )


def _pair(text: str) -> tuple[str, str]:
    ours, is_pair, theirs = text.partition("=")
    if not is_pair:
        raise ValueError(f"mapping is {text!r}; expected OURS=THEIRS, such as train/images=x_train")
    return ours, theirs
