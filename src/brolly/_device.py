"""Devices by name."""

from __future__ import annotations

import torch


def pick_device(name: str | None) -> str:
    """The device to compute on: the one named, else CUDA where there is one, else the CPU.

    Raises:
        ValueError: There is no such device.
    """
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    known = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if name not in known and not (name == "cuda" and len(known) > 1):
        raise ValueError(f"device {name!r} is not on this machine; expected one of {known}")
    return name
