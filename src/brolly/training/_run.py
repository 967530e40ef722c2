"""The folder a training run leaves behind."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from .._files import replacing, write_json, write_text
from ._history import EpochRecord, History

SCHEMA = 1


class RunFolder:
    """Recipe, environment, metrics, weights and state of one run; each file whole or absent.

    ```
    recipe.yaml         what was asked for
    environment.json    versions and hardware, and the schema of the folder
    metrics.jsonl       one line an epoch
    diverged.txt        where the loss became no number, if it did
    state.pt            everything needed to go on, after the last epoch done
    diagnosis.json      what was found wrong with the training
    model.safetensors   the weights of the best epoch; there once training has ended
    evaluation/*.json   results
    evidence/*.h5       what anyone can check them by
    study/*.json        closer looks, for the report
    report.html         the page
    ```
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.recipe = self.path / "recipe.yaml"
        self.environment = self.path / "environment.json"
        self.metrics = self.path / "metrics.jsonl"
        self.diverged = self.path / "diverged.txt"
        self.state = self.path / "state.pt"
        self.model = self.path / "model.safetensors"
        self.evaluations = self.path / "evaluation"
        self.evidence = self.path / "evidence"
        self.diagnosis = self.path / "diagnosis.json"
        self.report = self.path / "report.html"

    @property
    def finished(self) -> bool:
        """Whether training has ended."""
        return self.model.is_file()

    def check(self) -> None:
        """Raises ValueError where this is no run folder, or one of a newer brolly."""
        if not self.recipe.is_file():
            raise ValueError(
                f"{self.path} is not a run: it has no recipe.yaml. Expected a folder that "
                "`brolly train RECIPE` made, such as runs/digits-robust-1a2b3c4d"
            )
        if not self.environment.is_file():
            return
        try:
            schema = json.loads(self.environment.read_text(encoding="utf-8"))["schema"]
        except (json.JSONDecodeError, KeyError, TypeError):
            raise ValueError(
                f"{self.environment} is damaged; expected JSON with a schema"
            ) from None
        if schema > SCHEMA:
            raise ValueError(
                f"{self.path} has schema {schema}; this version of brolly reads up to {SCHEMA}. "
                "Install a newer brolly"
            )

    def create(self, recipe: str, environment: Mapping[str, Any]) -> None:
        """Writes what is known before training; does nothing to a folder that has it."""
        if not self.recipe.is_file():
            write_json(self.environment, {"schema": SCHEMA, **environment})
            write_text(self.recipe, recipe)
        self.check()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder for this process; the lock ends with the process, however it ends.

        A folder that was made for a training that is then refused (`ValueError`) is removed.

        Raises:
            ValueError: Another process holds it.
        """
        new = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (self.path / ".lock").stat()  # who held it may have removed the folder
            except OSError:
                file.seek(0)
                raise ValueError(
                    f"{self.path} is in use by process {file.read().strip() or 'unknown'}; wait "
                    "for it to end, or stop it and run the command again"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            for leftover in self.path.rglob(".*.tmp"):  # of a process that was killed
                leftover.unlink()
            try:
                yield
            except ValueError:
                if new and not self.state.is_file():
                    shutil.rmtree(self.path)
                raise

    def save_state(self, state: Mapping[str, Any], epochs: Sequence[EpochRecord]) -> None:
        """Keeps the metrics up to an epoch, then the state after it.

        In this order, because an epoch that is done again writes its metrics again.
        """
        lines = (json.dumps(record.to_json(), allow_nan=False) for record in epochs)
        write_text(self.metrics, "".join(f"{line}\n" for line in lines))
        buffer = io.BytesIO()  # torch's own writer does not say when the disk is full
        torch.save({"schema": SCHEMA, **state}, buffer)
        with replacing(self.state) as temporary:
            temporary.write_bytes(buffer.getbuffer())
        self.diverged.unlink(missing_ok=True)

    def save_divergence(self, reason: str) -> None:
        """Keeps the reason why there is no epoch after the last one."""
        write_text(self.diverged, f"{reason}\n")

    def history(self) -> History:
        """What happened so far, from the metrics.

        Raises:
            ValueError: A line is damaged.
        """
        rows = []
        lines = self.metrics.read_text(encoding="utf-8") if self.metrics.is_file() else ""
        for number, line in enumerate(lines.splitlines(), start=1):
            try:
                rows.append(dict(json.loads(line)))
            except (ValueError, TypeError):
                raise ValueError(
                    f"{self.metrics}, line {number} is damaged; expected a JSON object. Remove "
                    f"{self.path} to train it again"
                ) from None
        diverged = self.diverged.read_text(encoding="utf-8") if self.diverged.is_file() else ""
        return History.of_rows(rows, diverged.strip() or None)

    def load_state(self) -> dict[str, Any] | None:
        """The last state kept, or None before the first; nothing in it is executed.

        Raises:
            ValueError: The file is damaged, foreign, or of a newer schema.
        """
        if not self.state.is_file():
            return None
        try:
            state = torch.load(self.state, map_location="cpu", weights_only=True)
            schema = int(state["schema"])
        except Exception as error:  # torch.load raises many kinds on bad files
            raise ValueError(
                f"{self.state} is damaged or no state of brolly ({type(error).__name__}); it was "
                "left as it is. Remove it to train from the start"
            ) from None
        if schema > SCHEMA:
            raise ValueError(
                f"{self.state} has schema {schema}; this version of brolly reads up to {SCHEMA}"
            )
        return state

    def finish(self, model: nn.Module, metadata: Mapping[str, str]) -> None:
        """Writes the weights, which marks the run as finished."""
        with replacing(self.model) as temporary:
            try:
                safetensors.torch.save_model(model, str(temporary), metadata=dict(metadata))
            except safetensors.SafetensorError as error:
                raise OSError(f"{self.model} could not be written: {error}") from error
            temporary.write_bytes(_in_order(temporary.read_bytes()))

    def load_weights(self, model: nn.Module) -> None:
        """Fills `model` with the weights of the run.

        Raises:
            ValueError: There are none yet, or the file is damaged or of another network.
        """
        if not self.finished:
            raise ValueError(
                f"{self.path} is not trained to the end yet; go on with "
                f"`brolly train {self.recipe}`"
            )
        try:
            safetensors.torch.load_model(model, str(self.model))
        except (safetensors.SafetensorError, RuntimeError) as error:
            raise ValueError(
                f"{self.model} is damaged or holds another network than its recipe names: {error}"
            ) from None


def _in_order(file: bytes) -> bytes:
    """A safetensors file with sorted metadata, so that the same run gives the same bytes.

    The library writes metadata in an order of chance.
    """
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + file[end:]
