"""What a result was measured with."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

#: The version of brolly.
__version__ = metadata.version("brolly")


def describe_environment() -> dict[str, Any]:
    """Versions and hardware, as JSON values."""
    import numpy
    import torch

    cuda = torch.cuda.is_available()
    return {
        "brolly": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "platform": platform.platform(terse=True),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if cuda else None,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if "model name" in line]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()
