"""The network of another run, as part of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator
from torch import Tensor, nn

from ..data import Dataset
from ._component import components


class TrainedRun(nn.Module):
    """The network of a finished run, in eval mode; loaded when it is first needed.

    So a recipe that names a run can be read where that run is not, for example to evaluate what
    was trained with its help.

    Args:
        path: Folder of the run.
        data_dir: First folder to search for its data, whose statistics its network needs.
    """

    def __init__(self, path: str, data_dir: str | Path | None = None) -> None:
        super().__init__()
        self.path, self.data_dir = path, data_dir
        self.network: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Logits.

        Raises:
            ValueError: The folder holds no finished run.
        """
        if self.network is None:
            self.load()
        assert self.network is not None
        return self.network.to(x.device)(x)

    def load(self) -> Dataset:
        """Loads the network; returns the data that it was trained on.

        Raises:
            ValueError: The folder holds no finished run.
        """
        from ._run import load_run  # which reads recipes, and they may name a run

        _, self.network, data = load_run(self.path, self.data_dir)
        return data


def _as_component(entry: Any) -> Any:
    return {"path": entry} if isinstance(entry, str) else entry


#: What to write for a network: the folder of a run.
Trained = Annotated[
    components({"run": TrainedRun}, given=("data_dir",)), BeforeValidator(_as_component)
]
