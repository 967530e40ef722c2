"""Attacks against those of other libraries: same model, same images, one process, one table.

    make peers
    .peers/bin/python benchmarks/attacks.py RUN [--part standard|pgd|minimal|memory|overhead]
        [--examples 500] [--precision bfloat16]

RUN is a folder that `brolly train` made, such as that of fashion-mnist-fast. Robust accuracy of
every attack, ours or theirs, is counted by brolly's evaluator on the inputs that it returns.
"""

from __future__ import annotations

import argparse
import logging
import math
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from brolly import (
    APGD,
    DDN,
    FAB,
    FMN,
    L0,
    L1,
    L2,
    PGD,
    CarliniWagner,
    DeepFool,
    Linf,
    Square,
    evaluate,
    standard,
)
from brolly.data import Split
from brolly.evaluation import Judge
from brolly.evaluation._work import twin_of
from brolly.recipes import load_run
from brolly.threats import Threat

SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--part", default="standard", choices=PARTS)
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--precision", default="bfloat16", choices=["float32", "bfloat16"])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    recipe, model, data = load_run(options.run)
    threat = recipe.build_threat()
    split = data.test.first(options.examples)
    print(
        f"{options.run.name}, {threat}, first {len(split)} test images, seed {SEED}, search in "
        f"{options.precision}\n{platform.machine()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}\n"
    )
    PARTS[options.part](model.eval(), split, threat, options.precision)


def run_standard(model: nn.Module, split: Split, threat: Threat, precision: str) -> None:
    """`standard` against pyautoattack's, attack by attack on what still stands."""
    from pyautoattack import AutoAttack

    x, y = tensors(split)
    start = time.perf_counter()
    result = evaluate(
        model, split, threat, attacks=standard(threat), precision=precision,
        curve_examples=0, certificate=None, checks="", batch_size=500, seed=SEED,
    )  # fmt: skip
    ours = time.perf_counter() - start
    held = Judge(model).predict(x) == y
    rows, theirs, left = [], 0.0, result.clean.hits
    for name, record in zip(("apgd-ce", "apgd-t", "fab-t", "square"), result.attacks, strict=True):
        if not held.any():
            rows.append((name, record.cost.seconds, left - record.broke, 0.0, 0))
            continue
        theirs_alone = AutoAttack(
            model, norm={"linf": "Linf", "l2": "L2", "l1": "L1"}[threat.kind], eps=threat.eps,
            version="standard", seed=SEED,
        )  # fmt: skip
        theirs_alone.attacks_to_run = [name]
        start = time.perf_counter()
        found = theirs_alone.run_standard_evaluation(x[held], y[held], batch_size=500)
        spent = time.perf_counter() - start
        found = found if isinstance(found, Tensor) else found[0]
        held[held.nonzero()[:, 0]] &= ~broken(model, threat, x[held], y[held], found)
        theirs += spent
        left -= record.broke
        rows.append((name, record.cost.seconds, left, spent, int(held.sum())))
    table(
        ("attack", "brolly s", "left", "pyautoattack s", "left", "ratio"),
        [(n, f"{a:.1f}", b, f"{c:.1f}", d, f"{c / a:.1f}" if a else "-") for n, a, b, c, d in rows],
    )
    print(f"\nwhole: brolly {ours:.1f} s, {result.robust}; pyautoattack {theirs:.1f} s, "
          f"{int(held.sum())} hold; ratio {theirs / ours:.2f}")  # fmt: skip


def run_pgd(model: nn.Module, split: Split, threat: Threat, precision: str) -> None:
    """PGD-40 with 5 restarts."""
    import foolbox
    import torchattacks
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    x, y = tensors(split)
    steps, restarts, step = 40, 5, 2.5 * threat.eps / 40

    def torchattacks_pgd() -> Tensor:
        attack = torchattacks.PGD(model, eps=threat.eps, alpha=step, steps=steps)
        return best([attack(x, y) for _ in range(restarts)])

    def foolbox_pgd() -> Tensor:
        attack = foolbox.attacks.LinfPGD(abs_stepsize=step, steps=steps).repeat(restarts)
        return attack(foolbox.PyTorchModel(model, bounds=(0, 1)), x, y, epsilons=threat.eps)[1]

    def art_pgd() -> Tensor:
        classifier = PyTorchClassifier(
            model, nn.CrossEntropyLoss(), tuple(x.shape[1:]), len(split.classes),
            clip_values=(0.0, 1.0),
        )  # fmt: skip
        attack = ProjectedGradientDescentPyTorch(
            classifier, eps=threat.eps, eps_step=step, max_iter=steps, num_random_init=restarts,
            batch_size=256, verbose=False,
        )  # fmt: skip
        return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))

    def best(candidates: list[Tensor]) -> Tensor:
        found = candidates[0].clone()
        for candidate in candidates[1:]:
            hits = broken(model, threat, x, y, candidate)
            found[hits] = candidate[hits]
        return found

    rows = []
    for name, attack in (
        ("torchattacks", torchattacks_pgd), ("foolbox", foolbox_pgd), ("ART", art_pgd)
    ):  # fmt: skip
        torch.manual_seed(SEED)
        start = time.perf_counter()
        found = attack()
        seconds = time.perf_counter() - start
        rows.append((name, seconds, len(y) - int(broken(model, threat, x, y, found).sum())))
    attack = PGD(threat, steps=steps, step_size=step, restarts=restarts)
    start = time.perf_counter()
    result = evaluate(
        model, split, threat, attacks=attack, precision=precision, curve_examples=0,
        certificate=None, checks="", batch_size=500, seed=SEED,
    )  # fmt: skip
    ours = time.perf_counter() - start
    table(
        ("library", "s", "hold", "over brolly"),
        [("brolly", f"{ours:.1f}", result.robust.hits, "1.0")]
        + [(name, f"{s:.1f}", held, f"{s / ours:.1f}") for name, s, held in rows],
    )


def run_minimal(model: nn.Module, split: Split, threat: Threat, precision: str) -> None:
    """Median distance of nearest adversarial inputs, over the examples that are right.

    In float32 and on the model itself: at the boundary, a rounded search finds what is none.
    """
    import foolbox

    x, y = tensors(split)
    right = Judge(model).predict(x) == y
    x, y = x[right], y[right]
    peer = foolbox.PyTorchModel(model, bounds=(0, 1))
    rows = []
    for name, ours, theirs in MINIMAL():
        start = time.perf_counter()
        result = ours(model, x, y, generator=torch.Generator().manual_seed(SEED))
        mine = time.perf_counter() - start
        torch.manual_seed(SEED)
        start = time.perf_counter()
        found = theirs(peer, x, y)
        spent = time.perf_counter() - start
        rows.append(
            (
                name,
                f"{mine:.1f}",
                f"{median(model, ours.threat, x, y, result.x):.4f}",
                f"{spent:.1f}",
                f"{median(model, ours.threat, x, y, found):.4f}",
                f"{spent / mine:.1f}",
            )
        )
    table(("attack", "brolly s", "median", "foolbox s", "median", "ratio"), rows)


def MINIMAL():
    """Pairs of attacks with the same budget."""
    import foolbox.attacks as theirs

    inf = math.inf

    def nearest(attack) -> Callable[[object, Tensor, Tensor], Tensor]:
        return lambda model, x, y: attack(model, x, y, epsilons=None)[0]

    return [
        ("DeepFool L2", DeepFool(L2(inf)), nearest(theirs.L2DeepFoolAttack())),
        ("DeepFool Linf", DeepFool(Linf(inf)), nearest(theirs.LinfDeepFoolAttack())),
        ("DDN L2", DDN(L2(inf), steps=100), nearest(theirs.DDNAttack(steps=100))),
        ("FMN Linf", FMN(Linf(inf), steps=100), nearest(theirs.LInfFMNAttack(steps=100))),
        ("FMN L2", FMN(L2(inf), steps=100), nearest(theirs.L2FMNAttack(steps=100))),
        ("FMN L1", FMN(L1(inf), steps=100), nearest(theirs.L1FMNAttack(steps=100))),
        ("FMN L0", FMN(L0(inf), steps=100), nearest(theirs.L0FMNAttack(steps=100))),
        (
            "C&W L2",
            CarliniWagner(L2(inf), steps=200),
            nearest(theirs.L2CarliniWagnerAttack(steps=200)),
        ),
    ]


def run_memory(model: nn.Module, split: Split, threat: Threat, precision: str) -> None:
    """Peak memory of a process that runs PGD-10 on one batch, in float32."""
    program = (
        "import resource, sys, torch; from brolly import Linf, PGD; import torchattacks;"
        "model, x, y = torch.load(sys.argv[1], weights_only=False); model(x[:2]);"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "before = peak(); {attack}; print((peak() - before) / 1024)"
    )
    eps = threat.eps
    attacks = {
        "brolly": f"PGD(Linf({eps}), steps=10)(model, x, y)",
        "torchattacks": f"torchattacks.PGD(model, eps={eps}, steps=10)(x, y)",
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        saved = str(Path(folder) / "problem.pt")
        torch.save((model, *tensors(split)), saved)
        for name, attack in attacks.items():
            answer = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", program.format(attack=attack), saved],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            rows.append((name, f"{float(answer.stdout.split()[-1]):.0f}"))
    table(("library", "MiB above the loaded model"), rows)


def run_overhead(model: nn.Module, split: Split, threat: Threat, precision: str) -> None:
    """Wall time over the bare time of the forward and backward passes that were done."""
    x, y = tensors(split)
    x, y = x[:256], y[:256]
    twin = twin_of(model, x[:8])
    low = precision == "bfloat16"

    def forward(inputs: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            return twin(inputs).float()

    def plain() -> None:
        with torch.no_grad():
            forward(x)

    def both() -> None:
        leaf = x.clone().requires_grad_()
        torch.autograd.grad(nn.functional.cross_entropy(forward(leaf), y), leaf)

    per_forward, per_both = (median_time(each) / len(x) for each in (plain, both))
    rows = []
    for attack in (
        PGD(threat, steps=40), APGD(threat), FAB(threat.with_eps(math.inf), steps=20),
        Square(threat, queries=500), DDN(L2(math.inf)),
    ):  # fmt: skip
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            cost = attack(twin, x, y, generator=torch.Generator().manual_seed(SEED)).cost
        alone = cost.forwards - cost.backwards
        if alone < 0:  # several backward passes to one forward pass
            bare = cost.forwards * per_forward + cost.backwards * (per_both - per_forward)
        else:
            bare = cost.backwards * per_both + alone * per_forward
        rows.append(
            (attack.name, f"{cost.seconds:.1f}", f"{bare:.1f}", f"{cost.seconds / bare:.2f}")
        )
    table(("attack", "wall s", "bare s", "ratio"), rows)


PARTS = {
    "standard": run_standard,
    "pgd": run_pgd,
    "minimal": run_minimal,
    "memory": run_memory,
    "overhead": run_overhead,
}


def tensors(split: Split) -> tuple[Tensor, Tensor]:
    return split.scaled(split.read()), split.labels


def broken(model: nn.Module, threat: Threat, x: Tensor, y: Tensor, found: Tensor) -> Tensor:
    return Judge(model).breaks(threat, x, y, found)[0]


def median(model: nn.Module, threat: Threat, x: Tensor, y: Tensor, found: Tensor) -> float:
    """Median distance where the model is wrong; where it is not, the distance is infinite."""
    wrong = Judge(model).predict(found) != y
    distance = threat.distance(found, x).masked_fill(~wrong, math.inf)
    return float(distance.median())


def median_time(function: Callable[[], None]) -> float:
    times = []
    for _ in range(15):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def table(head: tuple[str, ...], rows: list[tuple]) -> None:
    widths = [max(len(str(row[k])) for row in [head, *rows]) for k in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(str(cell).rjust(w) for cell, w in zip(row, widths, strict=True)))


if __name__ == "__main__":
    main()
