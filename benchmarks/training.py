"""Steps per second of `fit` against a plain loop in PyTorch that does the same passes.

    python benchmarks/training.py [--steps 40] [--repeats 9] [--batch 128] [--width 32]

Both train the same network from the same weights on the same data, with the same optimiser, and
alternate; the median of the ratios is what counts. `fit` does what it always does: it draws from
generators of its own, keeps track of every loss and looks for NaN; its checks between epochs are
left out, as the loop has none. Ratios above 1 are overhead.

- `plain`, `n-fgsm`, `pgd-10`: the loop is written for speed, with nothing around it.
- `trades-10`: the loop is the authors' way, with the clean logits computed anew at every step.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import brolly
from brolly import NFGSM, PGD, SGD, TRADES, Dataset, Linf, PGDTraining, Plain
from brolly._environment import describe_environment
from brolly.models import SmallCNN
from brolly.objectives import Objective
from brolly.training import Constant

EPS, STEPS, BETA = 0.1, 10, 6.0
LENGTH = 2.5 * EPS / STEPS  # of a step of PGD, as brolly's default

LossOf = Callable[[nn.Module, Tensor, Tensor], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40, help="of the optimiser, 2 or more")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--width", type=int, default=32, help="of SmallCNN")
    options = parser.parse_args()
    torch.manual_seed(0)
    model = SmallCNN(1, 10, width=options.width).to(memory_format=torch.channels_last)
    data = images(options.steps * options.batch)
    threat = Linf(EPS)
    attack = PGD(threat, steps=STEPS)
    cases: dict[str, tuple[Objective, LossOf]] = {
        "plain": (Plain(), plain),
        "n-fgsm": (NFGSM(threat), n_fgsm),
        "pgd-10": (PGDTraining(attack), pgd),
        "trades-10": (TRADES(attack, beta=BETA), trades),
    }
    print(
        f"SmallCNN(width={options.width}), batch {options.batch}, {options.steps} steps, "
        f"{options.repeats} repeats; {describe_environment()}"
    )
    for name, (objective, loss) in cases.items():

        def ours(objective: Objective = objective) -> float:
            return by_fit(model, data, objective, options.batch)

        def theirs(loss: LossOf = loss) -> float:
            return by_hand(model, data, loss, options.batch)

        ours(), theirs()
        pairs = [(ours(), theirs()) for _ in range(options.repeats)]
        ratios = [a / b for a, b in pairs]
        fit, loop = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
        print(
            f"{name:>10}: fit {(options.steps - 1) / fit:7.2f} steps/s, loop "
            f"{(options.steps - 1) / loop:7.2f} steps/s, time of fit as a part of the loop's "
            f"{statistics.median(ratios):.3f} (min {min(ratios):.3f}, max {max(ratios):.3f})",
            flush=True,
        )


def images(count: int) -> Dataset:
    """Random ones; what they show costs no time."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, 1, 28, 28, generator=generator)
    y = torch.arange(count) % 10
    data = Dataset.from_tensors("random", (x, y), (x[:20], y[:20]), validation=0)
    assert len(data.train) == count
    return data


def by_fit(model: nn.Module, data: Dataset, objective: Objective, batch: int) -> float:
    """Seconds of an epoch, from the end of its first step to the end of its last."""
    ends: list[float] = []
    brolly.fit(
        copy.deepcopy(model), data, objective=objective, epochs=1, batch_size=batch, threat=None,
        optimizer=SGD(), schedule=Constant(), select_by="clean", device="cpu",
        on_step=lambda *_: ends.append(time.perf_counter()),
        validation=brolly.training.Validation(examples=1, train_examples=0),
    )  # fmt: skip
    return ends[-1] - ends[0]


def by_hand(model: nn.Module, data: Dataset, loss: LossOf, batch: int) -> float:
    """The same of the loop."""
    model, ends = copy.deepcopy(model).train(), []
    optimizer = torch.optim.SGD(
        model.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    for rows in torch.randperm(len(data.train)).split(batch):
        x, y = data.train.scaled(data.train.read(rows)), data.train.labels[rows]
        optimizer.zero_grad()
        value = loss(model, x, y)
        value.backward()
        optimizer.step()
        float(value.detach())  # every loop shows its loss
        ends.append(time.perf_counter())
    return ends[-1] - ends[0]


def plain(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x), y)


def n_fgsm(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    model.eval()
    noisy = (x + torch.empty_like(x).uniform_(-2 * EPS, 2 * EPS)).requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(noisy), y), noisy)
    model.train()
    return F.cross_entropy(model((noisy + EPS * gradient.sign()).detach().clamp_(0, 1)), y)


def pgd(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    start = x + torch.empty_like(x).uniform_(-EPS, EPS)
    x_adv = climb(model, x, start, lambda x_adv: F.cross_entropy(model(x_adv), y))
    return F.cross_entropy(model(x_adv), y)


def trades(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    def divergence(x_adv: Tensor) -> Tensor:
        clean = model(x)  # at every step, as in the authors' code
        return F.kl_div(F.log_softmax(model(x_adv), 1), F.softmax(clean, 1), reduction="sum")

    x_adv = climb(model, x, x + 0.001 * torch.randn_like(x), divergence)
    logits = model(x)
    robust = F.kl_div(F.log_softmax(model(x_adv), 1), F.softmax(logits, 1), reduction="batchmean")
    return F.cross_entropy(logits, y) + BETA * robust


def climb(model: nn.Module, x: Tensor, start: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Sign steps in eval mode, projected onto the ball and the bounds."""
    model.eval()
    low, high = (x - EPS).clamp(min=0), (x + EPS).clamp(max=1)
    x_adv = torch.clamp(start, low, high)
    for _ in range(STEPS):
        x_adv.requires_grad_()
        (gradient,) = torch.autograd.grad(loss(x_adv), x_adv)
        x_adv = torch.clamp(x_adv.detach() + LENGTH * gradient.sign(), low, high)
    model.train()
    return x_adv


if __name__ == "__main__":
    main()
