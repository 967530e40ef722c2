"""What objectives for few labels share: which examples of a batch are labelled."""

from __future__ import annotations

from torch import Tensor

from ..data import Batch, Split


def is_labelled(batch: Batch, labelled: int | None) -> Tensor:
    """Rows of the batch that are among the first `labelled` examples of the split; None: all."""
    return batch.index < labelled if labelled is not None else batch.index >= 0


def check_labelled(labelled: int | None, split: Split) -> None:
    """Raises ValueError where a split cannot begin with so many labelled examples."""
    if labelled is not None and not 1 <= labelled <= len(split):
        raise ValueError(
            f"labelled is {labelled} of {len(split)} training examples; expected 1 to "
            f"{len(split)}, and the labelled ones first"
        )
