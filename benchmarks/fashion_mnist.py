"""Fashion-MNIST at Linf 0.1: minutes to train, clean accuracy, robust accuracy on the test set.

    python benchmarks/fashion_mnist.py [--recipe fashion-mnist-fast] [--examples 10000]
        [--precision bfloat16] [key.path=value ...]

Trains the recipe unless its run is there already, then runs two evaluations with the same model:
PGD-50 with 5 restarts, and APGD-CE followed by APGD-T. Both go on where they were if interrupted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from brolly import APGD, PGD, APGDTargeted, Evaluation, RunFolder, evaluate
from brolly.recipes import Recipe, load_run, train_recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="fashion-mnist-fast")
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    recipe = Recipe.load(options.recipe, options.overrides)
    run = RunFolder(Path("runs") / recipe.folder)
    with run.locked():
        if not run.finished:
            print(train_recipe(recipe, run, on_epoch=print))
        _, model, data = load_run(run.path)
        threat = recipe.build_threat()
        ensembles = {
            "pgd-50x5": (PGD(threat, steps=50, restarts=5),),
            "apgd": (APGD(threat), APGDTargeted(threat)),
        }
        for name, attacks in ensembles.items():
            result = evaluate(
                model,
                data.test,
                threat,
                attacks=attacks,
                examples=options.examples,
                precision=options.precision,
                name=recipe.name,
                command=f"python benchmarks/fashion_mnist.py --recipe {options.recipe} "
                f"--examples {options.examples} --precision {options.precision} "
                + " ".join(options.overrides),
                save_to=run.evaluations / f"{name}-{options.examples}-{options.precision}.json",
                on_progress=_tell,
            )
            print(result, flush=True)


def _tell(evaluation: Evaluation) -> None:
    done = ", ".join(f"{attack.name} {attack.done}" for attack in evaluation.attacks)
    print(f"  {evaluation.robust}  ({done})", flush=True)


if __name__ == "__main__":
    main()
