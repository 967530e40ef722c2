"""How long `brolly --help` and `import brolly` take, beside `import torch`.

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

REPEATS = 7
COMMANDS = {
    "brolly --help": [str(Path(sys.executable).with_name("brolly")), "--help"],
    "import torch": [sys.executable, "-c", "import torch"],
    "import brolly": [sys.executable, "-c", "import brolly"],
    "import brolly; brolly.PGD, brolly.fit": [
        sys.executable, "-c", "import brolly; brolly.PGD, brolly.fit, brolly.evaluate",
    ],
}  # fmt: skip


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(REPEATS):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - start)
    for name, seconds in times.items():
        print(
            f"{name:40s} median {statistics.median(seconds):.3f} s  "
            f"(min {min(seconds):.3f}, max {max(seconds):.3f}, n = {REPEATS})"
        )


if __name__ == "__main__":
    main()
