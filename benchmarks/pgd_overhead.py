"""One PGD-20 against the bare cost of 20 forward and input-backward passes of the same model.

    python benchmarks/pgd_overhead.py [RUN]

The bare loop is the best that can be done without an attack around it: eval mode, gradient of the
summed cross-entropy in the input, nothing else. Attack and loop alternate; the median of the ratios
is what counts. With a trained run, the attack also shows what stopping on fooled examples saves.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch
import torch.nn.functional as F

from brolly import PGD, Linf
from brolly._environment import describe_environment
from brolly.models import SmallCNN
from brolly.recipes import load_run

STEPS, BATCH, REPEATS = 20, 256, 9


def main() -> None:
    if len(sys.argv) > 1:
        _, model, data = load_run(sys.argv[1])
        x = data.test.scaled(data.test.first(BATCH).read())
        y = data.test.labels[:BATCH]
        what = sys.argv[1]
    else:
        torch.manual_seed(0)
        model = SmallCNN(1, 10).eval().to(memory_format=torch.channels_last)
        x, y = torch.rand(BATCH, 1, 28, 28), torch.randint(10, (BATCH,))
        what = "SmallCNN, untrained"
    with torch.no_grad():
        predicted = model(x).argmax(1)
    print(f"{what}; batch {BATCH}, {STEPS} steps; {describe_environment()}")
    # Nothing is fooled inside a ball of 1e-6 around the model's own predictions: full work.
    cases = {"nothing fooled": (Linf(1e-6), predicted), "eps 0.1": (Linf(0.1), y)}
    for name, (threat, labels) in cases.items():
        attack = PGD(threat, steps=STEPS)
        bare(model, x, labels), attack(model, x, labels)
        pairs = [(timed(attack, model, x, labels), timed(bare, model, x, labels))
                 for _ in range(REPEATS)]  # fmt: skip
        ratio = statistics.median(a / b for a, b in pairs)
        result = attack(model, x, labels)
        print(
            f"{name:>15}: PGD-20 {statistics.median(a for a, _ in pairs):.3f} s, bare "
            f"{statistics.median(b for _, b in pairs):.3f} s, ratio {ratio:.3f} "
            f"(min {min(a / b for a, b in pairs):.3f}, max {max(a / b for a, b in pairs):.3f}); "
            f"fooled {int(result.success.sum())}/{BATCH}, {result.cost.forwards} forwards, "
            f"{result.cost.backwards} backwards"
        )


def bare(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    for _ in range(STEPS):
        x = x.detach().requires_grad_()
        torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), x)


def timed(function, *arguments) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
