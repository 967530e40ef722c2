import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets that the variable BROLLY_DATA names."""
    folder = os.environ.get("BROLLY_DATA")
    if not folder:
        pytest.skip("BROLLY_DATA names no folder with MNIST and Fashion-MNIST")
    return Path(folder)
