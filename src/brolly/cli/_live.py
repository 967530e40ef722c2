"""Tables that grow while one waits; plain lines where the output is no terminal."""

from __future__ import annotations

import abc
import time
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ..evaluation import Evaluation
    from ..training import EpochRecord

_COLUMNS = ("epoch", "time", "lr", "train loss", "train clean", "train robust", "val clean",
            "val robust", "")  # fmt: skip

T = TypeVar("T", bound="LiveTable")


class LiveTable(abc.ABC):
    """Shows `render()` while in its `with` block, if there is a terminal to show it on."""

    def __init__(self) -> None:
        self._console = Console()
        self._live: Live | None = None
        self._started = time.monotonic()

    def __enter__(self: T) -> T:
        if self._console.is_terminal:
            self._live = Live(
                console=self._console, get_renderable=self.render, refresh_per_second=4
            )
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()

    @abc.abstractmethod
    def render(self) -> RenderableType:
        """What to show now."""

    def line(self, text: str) -> None:
        """A plain line for outputs that are no terminal."""
        if not self._console.is_terminal:
            print(text, flush=True)


class TrainingTable(LiveTable):
    """One row an epoch, and how far the run is."""

    def __init__(self, name: str, epochs: int) -> None:
        super().__init__()
        self._name, self._epochs = name, epochs
        self._records: list[EpochRecord] = []
        self._first_step: int | None = None
        self._done = self._steps = 0

    def on_step(self, done: int, steps: int, loss: float) -> None:
        if self._first_step is None:
            self._first_step, self._started = done - 1, time.monotonic()
        self._done, self._steps = done, steps

    def on_epoch(self, record: EpochRecord) -> None:
        self._records.append(record)
        self.line(
            f"epoch {record.epoch}/{self._epochs}  {clock(record.seconds)}  "
            f"lr {record.learning_rate:.4g}  loss {record.train_loss:.4f}  "
            f"train {_percent(record.train_clean)} clean {_percent(record.train_robust)} robust  "
            f"val {_percent(record.validation_clean)} clean "
            f"{_percent(record.validation_robust)} robust  ETA {clock(self._eta())}"
            f"{'  best' if record.best else ''}"
        )

    def render(self) -> RenderableType:
        table = Table(*_COLUMNS, title=f"Training {self._name}", title_justify="left", box=None)
        for column in table.columns:
            column.justify = "right"
        for record in self._records[-visible_rows() :]:
            table.add_row(
                str(record.epoch),
                clock(record.seconds),
                f"{record.learning_rate:.4g}",
                f"{record.train_loss:.4f}",
                _percent(record.train_clean),
                _percent(record.train_robust),
                _percent(record.validation_clean),
                _percent(record.validation_robust),
                Text("best", style="bold green") if record.best else "",
            )
        part = self._done / self._steps if self._steps else 0.0
        return Group(table, f"{_bar(part)} {part:4.0%}  ETA {clock(self._eta())}")

    def _eta(self) -> float | None:
        if self._first_step is None or self._done == self._first_step:
            return None
        rate = (time.monotonic() - self._started) / (self._done - self._first_step)
        return rate * (self._steps - self._done)


class EvaluationTable(LiveTable):
    """One row an attack, with running counts and interval."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title
        self._now: Evaluation | None = None
        self._reported = 0
        self._begun: tuple[int, int] | None = (
            None  # attack and examples done when it was first seen
        )

    def on_progress(self, evaluation: Evaluation) -> None:
        self._now = evaluation
        total = len(evaluation.index)
        while self._reported < len(evaluation.attacks):
            record = evaluation.attacks[self._reported]
            if record.done < total:
                break
            self._reported += 1
            self.line(
                f"{record.name}  broke {record.broke}  "
                f"robust {_rate(evaluation, self._reported)}  {clock(record.cost.seconds)}"
            )
        current = min(self._reported, len(evaluation.attacks) - 1)
        if self._begun is None or self._begun[0] != current:
            self._begun = (current, evaluation.attacks[current].done)
            self._started = time.monotonic()

    def render(self) -> RenderableType:
        table = Table("attack", "done", "broke", "robust, 95 % interval", "time", "ETA",
                      title=self._title, title_justify="left", box=None)  # fmt: skip
        evaluation = self._now
        if evaluation is None:
            return table
        total = len(evaluation.index)
        table.add_row("clean", f"{total}/{total}", "", str(evaluation.clean), "", "")
        for number, record in enumerate(evaluation.attacks):
            begun = number <= self._reported
            table.add_row(
                record.name,
                f"{record.done}/{total}",
                str(record.broke) if begun else "",
                _rate(evaluation, number + 1) if begun else "",
                clock(record.cost.seconds) if begun else "",
                clock(self._eta()) if number == self._reported else "",
            )
        if self._reported == len(evaluation.attacks) and not evaluation.complete:
            return Group(table, "drawing robust accuracy against eps ...")
        return table

    def _eta(self) -> float | None:
        if self._now is None or self._begun is None:
            return None
        number, first = self._begun
        done, total = self._now.attacks[number].done, len(self._now.index)
        if done == first:
            return None
        return (time.monotonic() - self._started) / (done - first) * (total - done)


def clock(seconds: float | None) -> str:
    """Seconds as `1:02:03`, `2:03` or `3.4 s`."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _rate(evaluation: Evaluation, attacks: int) -> str:
    """Robust accuracy after the first attacks; of all examples, so it only falls."""
    from ..evaluation import Count

    broke = sum(record.broke for record in evaluation.attacks[:attacks])
    return str(Count(evaluation.clean.hits - broke, len(evaluation.index)))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _bar(part: float, width: int = 30) -> str:
    full = round(part * width)
    return "━" * full + "╌" * (width - full)


def visible_rows() -> int:
    """How many fit on the terminal."""
    return max(Console().height - 6, 5)
