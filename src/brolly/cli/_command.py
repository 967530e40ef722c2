"""Commands for the user to copy."""

from __future__ import annotations

import shlex
from pathlib import Path


def command(*words: str, data_dir: Path | None = None, device: str | None = None) -> str:
    """A `brolly` command line, with the options that hold for this machine."""
    words += ("--data-dir", str(data_dir)) if data_dir else ()
    words += ("--device", device) if device else ()
    return shlex.join(("brolly", *words))
