"""The file that proves an evaluation to a stranger."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._files import replacing
from ..data import Split
from ._evaluation import Evaluation

if TYPE_CHECKING:
    import h5py

SCHEMA = 1

_KIND = "brolly evidence"
_ARRAYS = (
    "examples/index",
    "examples/sha256",
    "examples/label",
    "examples/status",
    "examples/broken_by",
    "examples/tried",
    "examples/queries",
    "examples/clean_logits",
    "adversarial/index",
    "adversarial/inputs",
    "adversarial/logits",
    "adversarial/distance",
)


@dataclasses.dataclass(frozen=True)
class Evidence:
    """An evaluation with everything one needs to check its claims without repeating the search.

    `brolly verify` does so. On disk it is an HDF5 file, gzip-compressed, so that any language
    reads it; `docs/evidence.md` describes the layout.

    Attributes:
        evaluation: Verdicts, threat, hashes, attacks with settings and cost, seed, command.
        input_sha256: SHA-256 of each clean input as stored in the split, `(n, 32)` uint8.
        clean_logits: Logits at the clean inputs, `(n, classes)`.
        adversarial_index: Positions in the split of the broken examples, ascending, `(m,)`.
        adversarial: Their adversarial inputs, float32 and exact, `(m, ...)`.
        adversarial_logits: Logits at those, `(m, classes)`.
    """

    evaluation: Evaluation
    input_sha256: np.ndarray
    clean_logits: np.ndarray
    adversarial_index: np.ndarray
    adversarial: np.ndarray
    adversarial_logits: np.ndarray

    def save(self, path: str | Path) -> None:
        """Writes the file, whole or not at all."""
        import h5py

        arrays = self._arrays()
        text = json.dumps(self.evaluation.to_json(), allow_nan=False)
        with replacing(path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs["kind"], file.attrs["schema"] = _KIND, SCHEMA
            file.attrs["sha256"] = _digest(text, arrays)
            for name, values in arrays.items():
                # Chunks of a quarter megabyte: small enough to read one example cheaply.
                rows = max(1, min(len(values), 2**18 // max(values[:1].nbytes, 1)))
                chunks = (rows, *values.shape[1:]) if values.size else None
                packing = {"compression": "gzip", "shuffle": True} if values.size else {}
                file.create_dataset(name, data=values, chunks=chunks, **packing)
            file.create_dataset("evaluation", data=text)

    @classmethod
    def load(cls, path: str | Path) -> Evidence:
        """Reads what `save` wrote.

        Raises:
            ValueError: The file is no evidence, is damaged or was changed, or has a newer schema.
        """
        with _opened(path) as file:
            text = file["evaluation"][()].decode()  # pyright: ignore
            arrays = {name: np.asarray(file[name]) for name in _ARRAYS}
            written = str(file.attrs["sha256"])
            evaluation = Evaluation.from_json(json.loads(text))
        evidence = cls(
            evaluation=evaluation,
            input_sha256=arrays["examples/sha256"],
            clean_logits=arrays["examples/clean_logits"],
            adversarial_index=arrays["adversarial/index"],
            adversarial=arrays["adversarial/inputs"],
            adversarial_logits=arrays["adversarial/logits"],
        )
        if _digest(text, arrays) != written or not evidence._repeats(arrays):
            raise ValueError(
                f"{path} is not what was written: its content does not have the hash it names. It "
                "was edited or damaged; evaluate again"
            )
        return evidence

    def _arrays(self) -> dict[str, np.ndarray]:
        evaluation = self.evaluation
        broken = np.searchsorted(evaluation.index, self.adversarial_index)
        return {
            "examples/index": evaluation.index,
            "examples/sha256": self.input_sha256,
            "examples/label": evaluation.label,
            "examples/status": evaluation.status.astype("S7"),
            "examples/broken_by": evaluation.broken_by,
            "examples/tried": evaluation.tried,
            "examples/queries": evaluation.queries,
            "examples/clean_logits": self.clean_logits,
            "adversarial/index": self.adversarial_index,
            "adversarial/inputs": self.adversarial,
            "adversarial/logits": self.adversarial_logits,
            "adversarial/distance": evaluation.distance[broken],
        }

    def _repeats(self, arrays: dict[str, np.ndarray]) -> bool:
        """Whether what the file says twice is the same."""
        mine = self._arrays()
        return all(
            np.allclose(mine[name], arrays[name], rtol=1e-8, atol=0)
            if name == "adversarial/distance"
            else np.array_equal(mine[name], arrays[name], equal_nan="logits" in name)
            for name in _ARRAYS
        )


def file_sha256(path: str | Path) -> str:
    """The hash that evidence names itself by.

    Raises:
        ValueError: The file is no evidence, or has a newer schema.
    """
    with _opened(path) as file:
        return str(file.attrs["sha256"])


def input_sha256(split: Split) -> np.ndarray:
    """SHA-256 of each stored input, `(n, 32)`."""
    digests = [
        hashlib.sha256(np.ascontiguousarray(row).tobytes()).digest()
        for part in split.parts()
        for row in part.cpu().numpy()
    ]
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(split), 32)


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[h5py.File]:
    import h5py

    if not Path(path).is_file():
        raise ValueError(f"{path} does not exist; expected evidence such as RUN/evidence/*.h5")
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("kind") != _KIND:
                raise ValueError("it says nothing of being evidence")
            schema: Any = file.attrs["schema"]
            if schema <= SCHEMA:
                yield file
                return
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is no evidence of an evaluation, or is damaged ({type(error).__name__}: "
            f"{error}); expected a file that `brolly evaluate` wrote"
        ) from None
    raise ValueError(
        f"{path} has schema {schema}; this version of brolly reads up to {SCHEMA}. Install a "
        "newer brolly"
    )


def _digest(text: str, arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in _ARRAYS:
        values = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {values.dtype.str} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
