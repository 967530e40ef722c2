"""What regularisers are worth where data is scarce.

    python benchmarks/regularisers.py --output-dir FOLDER [--sizes 1000 5000] [--seeds 0 1 2 3 4]

Plain training on the first images of Fashion-MNIST, the same small network and number of steps for
all; error on the training images and on all 10,000 test images after the last epoch (nothing is
selected), mean and standard deviation over seeds. Trainings that are done are not done again.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from brolly import Batches
from brolly._files import write_json
from brolly.data import Split
from brolly.recipes import Recipe, build_data, build_model
from brolly.training import fit

BASE = [
    "model.width=8", "average=null", "objective={name: plain}", "select_by=clean",
    "data.augment=[]", "optimizer={name: sgd, lr: 0.05, weight_decay: 0}",
    "data.validation=0", "validation.train_examples=0",
]  # fmt: skip
#: In a recipe's words, with the strengths that authors use for small networks.
REGULARISERS = {
    "plain": [],
    "weight decay 5e-4": ["optimizer.weight_decay=5e-4"],
    "L1 1e-4": ["penalties=[{name: l1, weight: 1e-4}]"],
    "L2 1e-3": ["penalties=[{name: l2, weight: 1e-3}]"],
    "shift and flip": ["data.augment=[{name: shift, pixels: 2}, {name: flip}]"],
    "label smoothing 0.1": ["objective.label_smoothing=0.1"],
    "mixup 0.4": ["objective={name: mixup, alpha: 0.4}"],
    "dropout of weights 0.2": ["weights=[{name: dropconnect, p: 0.2}]"],
    "weight noise 0.2": ["weights=[{name: gaussian-noise, std: 0.2}]"],
    "SAM 0.05": ["weights=[{name: sam}]"],
    "AWP 0.01": ["weights=[{name: awp}]"],
    "EMA 0.99": ["average={name: ema, decay: 0.99}"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 5000])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--regularisers", nargs="*", default=list(REGULARISERS))
    options = parser.parse_args()
    print("| images | with | train error | test error | gap | seeds |")
    print("|---|---|---|---|---|---|")
    for size in options.sizes:
        for name in options.regularisers:
            rows = [errors(name, size, seed, options) for seed in options.seeds]
            print(
                f"| {size:,} | {name} | {spread([a for a, _ in rows])} "
                f"| {spread([b for _, b in rows])} | {spread([b - a for a, b in rows])} "
                f"| {len(rows)} |",
                flush=True,
            )


def errors(name: str, size: int, seed: int, options: argparse.Namespace) -> tuple[float, float]:
    """Error on the training and on the test images after the last epoch."""
    words = [*BASE, f"data.examples={size}", f"seed={seed}", "batch_size=100"]
    words += [f"epochs={options.steps * 100 // size}", *REGULARISERS[name]]
    recipe = Recipe.load("fashion-mnist-plain", words)
    file = options.output_dir / f"{recipe.folder}.json"
    if not file.is_file():
        data = build_data(recipe)
        model = build_model(recipe, data)
        fit(
            model, data, objective=recipe.build_objective(), penalty=recipe.build_penalty(),
            weights=recipe.build_weight_search(), epochs=recipe.epochs, threat=None,
            optimizer=recipe.optimizer.build(), schedule=recipe.schedule.build(),
            average=recipe.average and recipe.average.build(), batch_size=recipe.batch_size,
            augment=[entry.build() for entry in recipe.data.augment], select_by="clean",
            precision="bfloat16", seed=seed,
        )  # fmt: skip
        found = {"train": error(model, data.train), "test": error(model, data.test)}
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {"recipe": recipe.model_dump(mode="json"), **found})
    found = json.loads(file.read_text())
    return found["train"], found["test"]


def error(model: nn.Module, split: Split) -> float:
    model.eval()
    with torch.no_grad():
        wrong = sum(int((model(x).argmax(1) != y).sum()) for x, y, _ in Batches(split, 500))
    return wrong / len(split)


def spread(rates: Sequence[float]) -> str:
    """Mean and standard deviation."""
    deviation = f" ± {100 * statistics.stdev(rates):.2f}" if len(rates) > 1 else ""
    return f"{100 * statistics.mean(rates):.2f}{deviation} %"


if __name__ == "__main__":
    main()
