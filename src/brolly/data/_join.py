"""Splits, one after the other."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ._split import Split
from ._stored import Joined


def join(first: Split, *others: Split) -> Split:
    """The examples of several splits in one, in their order; name and data set are the first's.

    Objectives that learn from few labels want the labelled examples first. A split that is given
    several times weighs more.

    Raises:
        ValueError: The splits do not hold inputs of the same kind and the same classes.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> labelled = data.train.first(100)
        >>> len(brolly.data.join(labelled, labelled, data.train))
        1460
    """
    for other in others:
        for name in ("shape", "scale", "classes"):
            mine, theirs = getattr(first, name), getattr(other, name)
            if mine != theirs:
                raise ValueError(
                    f"{name} of {first.dataset}/{first.name} is {mine}, of "
                    f"{other.dataset}/{other.name} {theirs}; expected the same to join them"
                )
        if first.dtype != other.dtype:
            raise ValueError(
                f"inputs of {first.dataset}/{first.name} are {first.dtype}, of "
                f"{other.dataset}/{other.name} {other.dtype}; convert one of them"
            )
    inputs = tuple(split.inputs for split in (first, *others))
    tensors = [part for part in inputs if isinstance(part, Tensor)]
    return dataclasses.replace(
        first,
        inputs=torch.cat(tensors) if len(tensors) == len(inputs) else Joined(inputs),
        labels=torch.cat([split.labels for split in (first, *others)]),
    )
