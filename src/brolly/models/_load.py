"""A user's own model, by name."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from torch import nn


def load_model(reference: str) -> nn.Module:
    """Calls `package.module:factory`, importing from the current folder too.

    Args:
        reference: Importable module, a colon, and a callable in it that takes no arguments and
            returns an `nn.Module` (or a module itself).

    Raises:
        ValueError: The reference has another form, cannot be imported, or yields no module.

    Example:
        >>> from brolly.models import load_model
        >>> load_model("torch.nn:Identity")
        Identity()
    """
    module_name, colon, attribute = reference.partition(":")
    if not (module_name and colon and attribute):
        raise ValueError(
            f"{reference!r} names no model; expected package.module:factory, for example "
            "mynets.lenet:build"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
        model = factory if isinstance(factory, nn.Module) else factory()
    except Exception as error:  # the user's code may raise anything
        raise ValueError(f"{reference} failed with {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"{reference} returned a {type(model).__name__}; expected a torch.nn.Module"
        )
    return model
