"""Sizes of layers."""

from __future__ import annotations


def check_sizes(**sizes: int) -> None:
    """Raises ValueError where a size is below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}; expected 1 or more")
