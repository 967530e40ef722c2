"""The global randomness that dropout and other layers draw from, on the CPU and on a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def global_randomness(device: str) -> dict[str, Any]:
    """States of the generators that a model on `device` draws from."""
    on_gpu = torch.device(device).type == "cuda"
    return {
        "global": torch.get_rng_state(),
        "global_cuda": torch.cuda.get_rng_state(device) if on_gpu else None,
    }


def restore_global_randomness(state: Mapping[str, Any], device: str) -> None:
    """Takes up what `global_randomness` returned.

    The state of a GPU is left alone where it was not kept, as by earlier versions and on CPUs.
    """
    torch.set_rng_state(state["global"])
    on_gpu = state.get("global_cuda")
    if on_gpu is not None and torch.device(device).type == "cuda":
        torch.cuda.set_rng_state(on_gpu, device)
