"""Every objective with nothing, adversarial weight perturbation, and a moving average.

    python benchmarks/objectives.py --output-dir FOLDER [--objectives NAME ...] [--seeds 0 1 2]
    python benchmarks/objectives.py --output-dir FOLDER --time
    python benchmarks/objectives.py --output-dir FOLDER --table

Fashion-MNIST, Linf 0.1, the same small network and the same budget of passes for all: an
objective whose step is dearer gets fewer epochs. The passes of a step are counted, not believed
(FAT's, which grow, beforehand).
HAT's helper and RST's teacher are the plain network of the same seed; its training and its passes
come on top. RST sees as many images again, without their labels. A search for worse weights around
`free` cannot be. An average changes nothing in the training it follows, so one
training gives both the weights with it and those without. Nothing is selected: the last epoch
counts. `standard` costs several times the training: it comes last, and only for
`--standard-seeds`. Whatever is interrupted goes on where it was. `--time` trains an epoch of each,
on a machine that should have nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
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
    "hat": "{name: hat, attack: {name: pgd, steps: 10}, helper: PLAIN}",
    "rst": "{name: rst, attack: {name: pgd, steps: 10}, teacher: PLAIN, labelled: 10000}",
}
#: FAT ends its search when it has succeeded: at once on an untrained network, late on a trained
#: one. These are means over its training, from the `steps` that it logs.
PASSES = {("fat", "ema"): 16.0, ("fat", "awp"): 18.0}
LABELLED = 10000
EXAMPLES = {"rst": 2 * LABELLED}
TRAININGS = {
    "ema": ["average={name: ema, decay: 0.995}"],
    "awp": ["weights=[{name: awp}]"],
}
#: Which training the weights come from: without an average, from the one that keeps it as well.
VARIANTS = {"none": "ema", "ema": "ema", "awp": "awp"}
#: With a price of their own in the table; that of `ema` is that of `none`.
PRICED = ("none", "awp")
BASE = [
    "model.width=8", "average=null", "precision=bfloat16",
    "optimizer={name: sgd, lr: 0.1, weight_decay: 5e-4}", "validation.every=1000",
    "validation.train_examples=0",
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--objectives", nargs="*", default=list(OBJECTIVES), choices=OBJECTIVES)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--standard-seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--passes", type=int, default=96, help="per labelled example")
    parser.add_argument("--examples", type=int, default=1000, help="of the test split")
    parser.add_argument("--time", action="store_true", help="only time an epoch of each")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    options = parser.parse_args()
    if options.time:
        time_epochs(options)
        return
    entries = [
        (objective, variant, seed)
        for seed in options.seeds
        for variant in options.variants
        for objective in options.objectives
        if goes_together(objective, variant)
    ]
    if not options.table:
        for entry in entries:
            measure(*entry, "pgd-50", options)
        for entry in entries:
            if entry[2] in options.standard_seeds:
                measure(*entry, "standard", options)
    print_table(options)


def goes_together(objective: str, variant: str) -> bool:
    return (objective, variant) != ("free", "awp")


def make_recipe(
    objective: str, variant: str, seed: int, options: argparse.Namespace
) -> tuple[Recipe, float]:
    """The recipe with as many epochs as the budget allows, and its passes per example."""
    training, examples, words = VARIANTS[variant], EXAMPLES.get(objective, LABELLED), [*BASE]
    text = OBJECTIVES[objective]
    if "PLAIN" in text:
        plain, _ = make_recipe("plain", "none", seed, options)
        text = text.replace("PLAIN", str(options.output_dir / plain.folder))
    words += [f"objective={text}", *TRAININGS[training], f"seed={seed}"]
    words += [f"name={objective}-{training}", f"data.examples={examples}"]
    recipe = Recipe.load("fashion-mnist-fast", words)
    passes = PASSES.get((objective, training)) or count_passes(recipe)
    epochs = max(1, round(options.passes * LABELLED / examples / passes))
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


def measure(
    objective: str, variant: str, seed: int, attack: str, options: argparse.Namespace
) -> None:
    """Trains the network where that is not done yet, attacks it and tells how it went."""
    recipe, passes = make_recipe(objective, variant, seed, options)
    run = RunFolder(options.output_dir / recipe.folder)
    with run.locked():
        if not run.finished:
            train_recipe(recipe, run)
        if not (result := read(run, variant, attack)):
            _, model, data = load_run(run.path)
            if variant == "none":
                model.load_state_dict((run.load_state() or {})["model"])
            threat = recipe.build_threat()
            result = evaluate(
                model, data.test, threat, examples=options.examples, checks="",
                attacks=standard(threat) if attack == "standard" else (PGD(threat, steps=50),),
                certificate=None, curve_examples=0, precision="bfloat16",
                name=f"{objective}-{variant}", save_to=place(run, variant, attack),
                seed=recipe.seed,
            )  # fmt: skip
    print(
        f"{objective} {variant} seed {seed}: {passes:g} passes a step, {recipe.epochs} epochs; "
        f"clean {result.clean}, {attack} {result.robust}",
        flush=True,
    )


def place(run: RunFolder, variant: str, attack: str) -> Path:
    return run.evaluations / f"{variant}-{attack}.json"


def read(run: RunFolder, variant: str, attack: str) -> Evaluation | None:
    file = place(run, variant, attack)
    if not file.is_file():
        return None
    result = Evaluation.load(file)
    return result if result.complete else None


def time_epochs(options: argparse.Namespace) -> None:
    """Writes how long an epoch of each training takes: the only one of a training of one."""
    seconds = {}
    for objective in options.objectives:
        for variant in ("ema", "awp"):
            if not goes_together(objective, variant):
                continue
            recipe, _ = make_recipe(objective, variant, 0, options)
            unchecked = recipe.validation.model_copy(update={"examples": 1})
            short = recipe.model_copy(update={"epochs": 1, "validation": unchecked})
            with tempfile.TemporaryDirectory() as folder:
                history = train_recipe(short, RunFolder(Path(folder)))
            seconds[f"{objective} {variant}"] = history.epochs[-1].seconds
            print(f"{objective} {variant}: {history.epochs[-1].seconds:.1f} s an epoch", flush=True)
    (options.output_dir / "seconds.json").write_text(json.dumps(seconds, indent=1))


def print_table(options: argparse.Namespace) -> None:
    """A line for each objective, the most robust first; what is missing is a dash."""
    heads = ["objective"]
    for variant in options.variants:
        price = ["passes, epochs, s an epoch"] if variant in PRICED else []
        heads += [*price, f"{variant}: clean", "PGD-50", "`standard`"]
    file = options.output_dir / "seconds.json"
    seconds = json.loads(file.read_text()) if file.is_file() else {}
    lines = []
    for objective in options.objectives:
        cells, robust = [objective], []
        for variant in options.variants:
            described, mean = describe(objective, variant, seconds, options)
            cells += described if variant in PRICED else described[1:]
            robust.append(mean)
        lines.append((robust[0], f"| {' | '.join(cells)} |"))
    print(f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", sep="\n")
    print(*(line for _, line in sorted(lines, reverse=True)), sep="\n")


def describe(
    objective: str, variant: str, seconds: dict[str, float], options: argparse.Namespace
) -> tuple[tuple[str, str, str, str], float]:
    """Price, clean accuracy and both robust ones of all seeds; and the mean after PGD-50."""
    if not goes_together(objective, variant):
        return ("–", "–", "–", "–"), 0.0
    timed = seconds.get(f"{objective} {VARIANTS[variant]}")
    recipes = [make_recipe(objective, variant, seed, options) for seed in options.seeds]
    runs = [RunFolder(options.output_dir / recipe.folder) for recipe, _ in recipes]
    pgd, strong = (
        [result for run in runs if (result := read(run, variant, attack))]
        for attack in ("pgd-50", "standard")
    )
    recipe, passes = recipes[0]
    return (
        f"{passes:g}, {recipe.epochs}, {f'{timed:.1f}' if timed else '–'}",
        spread([result.clean.rate for result in pgd]),
        spread([result.robust.rate for result in pgd]),
        spread([result.robust.rate for result in strong]),
    ), statistics.mean([result.robust.rate for result in pgd] or [0.0])


def spread(rates: Sequence[float]) -> str:
    """Mean, standard deviation and number of seeds."""
    if not rates:
        return "–"
    deviation = f" ± {100 * statistics.stdev(rates):.1f}" if len(rates) > 1 else ""
    return f"{100 * statistics.mean(rates):.1f}{deviation} ({len(rates)})"


if __name__ == "__main__":
    main()
