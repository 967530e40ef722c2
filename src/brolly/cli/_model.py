"""Models named on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from ..data import Dataset


def load_model_and_data(
    model: str, data: str | None, data_dir: Path | None
) -> tuple[nn.Module, Dataset]:
    """The network of a run with its data, or a factory's with the data set named.

    Raises:
        ValueError: There is no such run or factory, or a factory comes without data.
    """
    if ":" not in model:
        from ..recipes import load_run

        _, network, dataset = load_run(model, data_dir)
        return network, dataset
    from ..data import load_data
    from ..models import load_model

    if data is None:
        raise ValueError(f"{model} needs a data set to be tried on; add for example --data digits")
    return load_model(model), load_data(data, data_dir=data_dir)
