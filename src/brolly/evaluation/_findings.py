"""What an evaluation found, kept as it goes on: adversarial inputs and clean logits."""

from __future__ import annotations

import dataclasses
import io
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .._files import replacing


@dataclasses.dataclass(frozen=True)
class Found:
    """Some examples: positions in the split `(m,)`, inputs `(m, ...)`, logits `(m, classes)`.

    Of clean looks, which keep no inputs, `inputs` is `(m, 0)`.
    """

    index: np.ndarray
    inputs: np.ndarray
    logits: np.ndarray

    def where(self, chosen: np.ndarray) -> Found:
        return Found(self.index[chosen], self.inputs[chosen], self.logits[chosen])

    @classmethod
    def joined(cls, parts: list[Found]) -> Found | None:
        """All parts in the order of their positions, each position once; None without any."""
        if not parts:
            return None
        whole = cls(
            np.concatenate([part.index for part in parts]),
            np.concatenate([part.inputs for part in parts]),
            np.concatenate([part.logits for part in parts]),
        )
        return whole.where(np.unique(whole.index, return_index=True)[1])


class Findings:
    """A folder of parts, one a batch, each whole or absent; several processes may add to it.

    Args:
        folder: Where to keep them; None: in memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._memory: dict[str, list[Found]] = {}

    def add(self, kind: str, found: Found) -> None:
        """Keeps a part of a kind: `clean`, or the number of an attack."""
        if len(found.index) == 0:
            return
        if self.folder is None:
            self._memory.setdefault(kind, []).append(found)
            return
        buffer = io.BytesIO()
        np.savez(buffer, index=found.index, inputs=found.inputs, logits=found.logits)
        with replacing(self.folder / f"{kind}-{uuid.uuid4().hex}.npz") as temporary:
            temporary.write_bytes(buffer.getbuffer())

    def of(self, kind: str) -> list[Found]:
        """The parts of a kind."""
        if self.folder is None:
            return self._memory.get(kind, [])
        return [_read(file) for file in sorted(self.folder.glob(f"{kind}-*.npz"))]

    def in_memory(self) -> dict[str, list[Found]]:
        """The parts that are in no folder, by their kind."""
        return self._memory

    def keep_only(self, kind: str, true: Callable[[Found], np.ndarray]) -> None:
        """Drops, of a kind, what is not `true` any more, as after a process was killed."""
        if self.folder is None:
            parts = self._memory.get(kind, [])
            self._memory[kind] = [part.where(true(part)) for part in parts]
            return
        for file in self.folder.glob(f"{kind}-*.npz"):
            part = _read(file)
            kept = true(part)
            if not kept.all():
                self.add(kind, part.where(kept))
                file.unlink()

    def remove(self) -> None:
        """Removes the folder."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def _read(file: Path) -> Found:
    with np.load(file, allow_pickle=False) as part:
        return Found(part["index"], part["inputs"], part["logits"])
