"""AdvProp on digits: what each side of `DualBatchNorm` is worth, beside training without it.

    python benchmarks/advprop.py [--seeds 0 1 2]

Prints clean accuracy and accuracy after PGD-50 at Linf 0.2 on the whole test split: mean ± standard
deviation over the seeds.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics

import torch

from brolly import PGD, AdvProp, Linf, Objective, PGDTraining, Plain, evaluate, fit, load_data
from brolly.models import SmallCNN, adversarial_statistics

THREAT = Linf(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    seeds = parser.parse_args().seeds
    inner = PGD(THREAT, steps=3)
    print("| objective | side | clean | after PGD-50 |\n|---|---|---|---|")
    for objective, sides in (
        (Plain(), ["clean"]),
        (PGDTraining(inner), ["clean"]),
        (AdvProp(inner), ["clean", "adversarial"]),
    ):
        models = {seed: trained(objective, seed) for seed in seeds}
        for side in sides:
            scores = [accuracies(model, side, seed) for seed, model in models.items()]
            cells = " | ".join(describe(column) for column in zip(*scores, strict=True))
            print(f"| `{type(objective).__name__}` | {side} | {cells} |")


def trained(objective: Objective, seed: int) -> SmallCNN:
    data = load_data("digits")
    torch.manual_seed(seed)
    model = SmallCNN(
        1, 10, width=4, hidden=32, grid=2, normalize=data.statistics, dual=True
    )  # fmt: skip
    fit(model, data, objective=objective, epochs=8, select_by="clean", seed=seed)
    return model


def accuracies(model: SmallCNN, side: str, seed: int) -> tuple[float, float]:
    with adversarial_statistics(model) if side == "adversarial" else contextlib.nullcontext():
        result = evaluate(
            model, load_data("digits").test, THREAT, attacks=[PGD(THREAT, steps=50)],
            certificate=None, checks="", seed=seed,
        )  # fmt: skip
    return result.clean.rate, result.robust.rate


def describe(rates: tuple[float, ...]) -> str:
    spread = statistics.stdev(rates) if len(rates) > 1 else 0.0
    return f"{100 * statistics.mean(rates):.1f} ± {100 * spread:.1f} %"


if __name__ == "__main__":
    main()
