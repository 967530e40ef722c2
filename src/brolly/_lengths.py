"""Stretches of training, in epochs or steps."""

from __future__ import annotations

from ._names import parse_number
from ._ranges import check_range

#: A stretch of training: a number of epochs (`10`, `2.5`, `"10 epochs"`), or `"500 steps"`.
Length = int | float | str


def check_length(interval: str, **given: Length) -> None:
    """Whether stretches of training lie in an interval, as `check_range` has it.

    Raises:
        ValueError: One is outside, or neither a number of epochs nor a text such as `"500 steps"`.
    """
    for name, length in given.items():
        number, unit = _parse(length)
        if unit not in ("", "epoch", "epochs", "step", "steps"):
            raise ValueError(
                f"{name} {length!r} has an unknown unit; write a number of epochs, for example 10 "
                "or '2.5 epochs', or a number of steps, for example '500 steps'"
            )
        try:
            count = parse_number(number)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        check_range(interval, **{name: count})


def parse_length(length: Length, steps_per_epoch: int) -> int:
    """Steps in a stretch of training that was checked."""
    number, unit = _parse(length)
    count = parse_number(number)
    return round(count if unit.startswith("step") else count * steps_per_epoch)


def _parse(length: Length) -> tuple[str, str]:
    """Number and unit."""
    number, _, unit = str(length).strip().partition(" ")
    return number, unit.strip()
