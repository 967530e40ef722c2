"""Every objective with nothing, adversarial weight perturbation, and a moving average.

    python benchmarks/objectives.py --output-dir FOLDER [--objectives NAME ...] [--seeds 0 1 2]

Fashion-MNIST, Linf 0.1, the same small network and the same budget of passes for all: an
objective whose step is dearer gets fewer epochs. The passes of a step are counted, not believed.
HAT and RST, which need another network first, are left out; so is a search for worse weights
around `free`, which cannot be. Each training, PGD-50 and `standard` go on where they were if
interrupted; the table of what is done is printed at the end, and by `--table` alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from brolly import PGD, Batches, Evaluation, RunFolder, evaluate, standard
from brolly.recipes import Recipe, build_data, build_model, load_run, train_recipe

#: Objectives in a recipe's words.
OBJECTIVES = {
    "plain": "{name: plain}",
    "fgsm-rs": "{name: fgsm-rs}",
    "n-fgsm": "{name: n-fgsm}",
    "atta": "{name: atta}",
    "pgd": "{name: pgd, attack: {name: pgd, steps: 10}}",
    "trades": "{name: trades, attack: {name: pgd, steps: 10}}",
    "free": "{name: free, replays: 4}",
    "gradalign": "{name: gradalign}",
    "mart": "{name: mart, attack: {name: pgd, steps: 10}}",
    "score": "{name: score, attack: {name: pgd, steps: 10}}",
    "dkl": "{name: dkl, attack: {name: pgd, steps: 10}}",
    "ikl": "{name: ikl, attack: {name: pgd, steps: 10}}",
    "fat": "{name: fat, attack: {name: pgd, steps: 10}}",
    "alp": "{name: alp, attack: {name: pgd, steps: 10}}",
    "vat": "{name: vat}",
    "input-gradient": "{name: input-gradient}",
    "jacobian": "{name: jacobian}",
}
VARIANTS = {
    "none": [],
    "awp": ["weights=[{name: awp}]"],
    "ema": ["average={name: ema, decay: 0.995}"],
}
BASE = [
    "model.width=8", "data.examples=20000", "average=null", "precision=bfloat16",
    "optimizer={name: sgd, lr: 0.1, weight_decay: 5e-4}", "validation.examples=1000",
    "validation.train_examples=0",
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--objectives", nargs="*", default=list(OBJECTIVES), choices=OBJECTIVES)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--passes", type=int, default=132, help="per training example")
    parser.add_argument("--examples", type=int, default=1000, help="of the test split")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    options = parser.parse_args()
    for seed in options.seeds:
        for objective in options.objectives:
            for variant in variants(objective, options):
                recipe, passes = make_recipe(objective, variant, seed, options.passes)
                run = RunFolder(options.output_dir / recipe.folder)
                if not options.table:
                    measure(recipe, run, options.examples)
                tell(objective, variant, seed, passes, run)
    print_table(options)


def variants(objective: str, options: argparse.Namespace) -> list[str]:
    return [name for name in options.variants if (objective, name) != ("free", "awp")]


def make_recipe(objective: str, variant: str, seed: int, budget: int) -> tuple[Recipe, float]:
    """The recipe with as many epochs as the budget allows, and its passes per example."""
    words = [*BASE, f"objective={OBJECTIVES[objective]}", *VARIANTS[variant], f"seed={seed}"]
    words.append(f"name={objective}-{variant}")
    passes = count_passes(Recipe.load("fashion-mnist-fast", words))
    epochs = max(1, round(budget / passes))
    return Recipe.load("fashion-mnist-fast", [*words, f"epochs={epochs}"]), passes


def count_passes(recipe: Recipe) -> float:
    """Forward and backward passes of the network in a step, per example; no step is taken."""
    data = build_data(recipe)
    model, counted = build_model(recipe, data), [0]

    def forward(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        counted[0] += len(output)
        if output.requires_grad:
            output.register_hook(lambda gradient: counted.__setitem__(0, counted[0] + len(output)))

    model.register_forward_hook(forward)
    objective = recipe.build_objective(data.bounds).begin(data.train, "cpu")
    batch = next(iter(Batches(data.train, 16)))
    loss_of = objective.craft(model, batch, torch.Generator().manual_seed(0))
    search, place = recipe.build_weight_search(), model
    if search is not None:
        place = search(model, lambda model: loss_of(model).value)
    loss_of(place).value.backward()
    return counted[0] / 16 * objective.replays


def measure(recipe: Recipe, run: RunFolder, examples: int) -> None:
    with run.locked():
        if not run.finished:
            train_recipe(recipe, run)
        _, model, data = load_run(run.path)
        threat = recipe.build_threat()
        for name, attacks in {
            "pgd-50": (PGD(threat, steps=50),),
            "standard": standard(threat),
        }.items():
            evaluate(
                model, data.test, threat, attacks=attacks, examples=examples, checks="",
                certificate=None, curve_examples=0, precision="bfloat16", name=recipe.name,
                save_to=run.evaluations / f"{name}.json", seed=recipe.seed,
            )  # fmt: skip


def tell(objective: str, variant: str, seed: int, passes: float, run: RunFolder) -> None:
    if results := read(run):
        pgd, whole = results
        epochs = run.metrics.read_text().splitlines()
        seconds = json.loads(epochs[-1])["seconds"] / len(epochs)
        print(
            f"{objective} {variant} seed {seed}: {passes:g} passes a step, {len(epochs)} epochs of "
            f"{seconds:.1f} s; clean {whole.clean}, pgd-50 {pgd.robust}, "
            f"standard {whole.robust}",
            flush=True,
        )


def read(run: RunFolder) -> tuple[Evaluation, Evaluation] | None:
    files = [run.evaluations / f"{name}.json" for name in ("pgd-50", "standard")]
    if not all(file.is_file() for file in files):
        return None
    pgd, whole = map(Evaluation.load, files)
    return (pgd, whole) if pgd.complete and whole.complete else None


def print_table(options: argparse.Namespace) -> None:
    print("| objective | with | passes a step | clean | PGD-50 | standard | seeds |")
    print("|---|---|---|---|---|---|---|")
    for objective in options.objectives:
        for variant in variants(objective, options):
            results, passes = [], 0.0
            for seed in options.seeds:
                recipe, passes = make_recipe(objective, variant, seed, options.passes)
                if found := read(RunFolder(options.output_dir / recipe.folder)):
                    results.append(found)
            if results:
                print(
                    f"| {objective} | {variant} | {passes:g} "
                    f"| {spread([whole.clean.rate for _, whole in results])} "
                    f"| {spread([pgd.robust.rate for pgd, _ in results])} "
                    f"| {spread([whole.robust.rate for _, whole in results])} | {len(results)} |"
                )


def spread(rates: Sequence[float]) -> str:
    """Mean and standard deviation over seeds."""
    deviation = f" ± {100 * statistics.stdev(rates):.1f}" if len(rates) > 1 else ""
    return f"{100 * statistics.mean(rates):.1f}{deviation} %"


if __name__ == "__main__":
    main()
