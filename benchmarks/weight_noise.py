"""Noise on weights at test time: on, off and averaged, against the same training without it.

    python benchmarks/weight_noise.py --output-dir FOLDER [--seeds 0 1 2] [--examples 500]

Fashion-MNIST, Linf 0.1, the small network and budget of `benchmarks/objectives.py`, trained by
N-FGSM without noise, with Gaussian noise and with learned noise (PNI), which stay on at test time.
Each network is attacked by the same two APGDs of 100 steps: with the noise on through EOT of 20
passes and judged by the mean of 20; with the noise off; and as the mean of 10 fixed draws, which is
a deterministic network. "Naive" is how such defences were first reported: plain PGD-50 that meets
another draw at each step, judged by one more draw. Networks and results that are there are kept.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from objectives import BASE
from torch import Tensor, nn

from brolly import APGD, PGD, Attack, RunFolder, evaluate
from brolly.data import Split
from brolly.recipes import Recipe, load_run, train_recipe
from brolly.weights import one_draw, without_noise

NOISES = {
    "none": "[]",
    "Gaussian, std 0.2": "[{name: gaussian-noise, std: 0.2, when: always}]",
    "learned (PNI)": "[{name: learned-noise, when: always}]",
}


class MeanOfDraws(nn.Module):
    """The mean prediction of some fixed draws of a network's noise, as log-probabilities."""

    def __init__(self, model: nn.Module, draws: int = 10) -> None:
        super().__init__()
        self.model, self.draws = model, draws

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for draw in range(self.draws):
            with one_draw(self.model, torch.Generator().manual_seed(draw)):
                outputs.append(self.model(x).softmax(1))
        return torch.stack(outputs).mean(0).clamp(min=1e-30).log()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--examples", type=int, default=500, help="of the test split")
    options = parser.parse_args()
    rows = {noise: [measure(noise, seed, options) for seed in options.seeds] for noise in NOISES}
    print("| noise | judged | clean | robust |")
    print("|---|---|---|---|")
    for noise, seeds in rows.items():
        for how in seeds[0]:
            clean, robust = ([row[how][k] for row in seeds] for k in (0, 1))
            print(f"| {noise} | {how} | {spread(clean)} | {spread(robust)} |")


def measure(noise: str, seed: int, options: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Clean and robust accuracy in each way of looking at the network."""
    words = [*BASE, "objective={name: n-fgsm}", f"weights={NOISES[noise]}", "epochs=24"]
    recipe = Recipe.load("fashion-mnist-fast", [*words, "name=noise", f"seed={seed}"])
    run = RunFolder(options.output_dir / recipe.folder)
    with run.locked():
        if not run.finished:
            train_recipe(recipe, run)
    _, model, data = load_run(run.path)
    threat, split = recipe.build_threat(), data.test.first(options.examples)

    def judge(model: nn.Module, how: str) -> tuple[float, float]:
        result = evaluate(
            model, split, threat, attacks=(APGD(threat), APGD(threat, loss="dlr")), checks="",
            certificate=None, curve_examples=0, precision="bfloat16", name=recipe.name, seed=seed,
            save_to=run.evaluations / f"{how}.json",
        )  # fmt: skip
        print(
            f"{noise} seed {seed} {how}: clean {result.clean}, robust {result.robust}", flush=True
        )
        return result.clean.rate, result.robust.rate

    if noise == "none":
        return {"as it is": judge(model, "plain")}
    with without_noise(model):
        off = judge(model, "off")
    return {
        "on, naive": naively(model, split, PGD(threat, steps=50), seed),
        "on, EOT": judge(model, "on"),
        "off": off,
        "mean of 10 draws": judge(MeanOfDraws(model), "mean"),
    }  # fmt: skip


def naively(model: nn.Module, split: Split, attack: Attack, seed: int) -> tuple[float, float]:
    model.eval()
    torch.manual_seed(seed)
    x, y = split.scaled(split.read()), split.labels
    found = attack(model, x, y, generator=torch.Generator().manual_seed(seed)).x
    with torch.no_grad():
        clean, robust = (model(at).argmax(1) == y for at in (x, found))
    return clean.float().mean().item(), (clean & robust).float().mean().item()


def spread(rates: Sequence[float]) -> str:
    """Mean and standard deviation over seeds."""
    deviation = f" ± {100 * statistics.stdev(rates):.1f}" if len(rates) > 1 else ""
    return f"{100 * statistics.mean(rates):.1f}{deviation} %"


if __name__ == "__main__":
    main()
