"""Schedules against torch's own, step by step."""

import pytest
import torch
from torch.optim import lr_scheduler

from brolly.training import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    MultiStep,
    OneCycle,
    Plateau,
    Polynomial,
    Progress,
    Schedule,
    Step,
    WarmRestarts,
    Warmup,
)

PER_EPOCH, STEPS = 7, 70


def torchs(make) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    scheduler = make(optimizer)
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def ours(schedule: Schedule) -> list[float]:
    return [schedule.factor(Progress(step, STEPS, PER_EPOCH)) for step in range(STEPS)]


def one_cycle(optimizer, strategy: str):
    return lr_scheduler.OneCycleLR(
        optimizer, 1.0, total_steps=STEPS, pct_start=0.3, anneal_strategy=strategy,
        div_factor=25, final_div_factor=1e4, cycle_momentum=False,
    )  # fmt: skip


def warmed(optimizer, steps: int, then):
    rise = lr_scheduler.LinearLR(optimizer, 1 / steps, 1.0, steps - 1)
    return lr_scheduler.SequentialLR(optimizer, [rise, then], [steps])


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        (Constant(), lambda o: lr_scheduler.ConstantLR(o, 1.0)),
        (Step(every=3, gamma=0.5), lambda o: lr_scheduler.StepLR(o, 21, 0.5)),
        (Step(every="5 steps"), lambda o: lr_scheduler.StepLR(o, 5)),
        (MultiStep(at=[2, "30 steps", 8.0]), lambda o: lr_scheduler.MultiStepLR(o, [14, 30, 56])),
        (Cosine(end=0.1), lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, 0.1)),
        (Exponential(gamma=0.9, every="1 steps"), lambda o: lr_scheduler.ExponentialLR(o, 0.9)),
        (Linear(start=0.5, end=0.1), lambda o: lr_scheduler.LinearLR(o, 0.5, 0.1, STEPS)),
        (Polynomial(), lambda o: lr_scheduler.PolynomialLR(o, STEPS, 0.9)),
        (
            WarmRestarts(period=2, end=0.1),
            lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 14, 1, 0.1),
        ),
        (
            WarmRestarts(period="5 steps", growth=2),
            lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 5, 2),
        ),
        (Warmup(length=2, then=Step(every=3)), lambda o: warmed(o, 14, lr_scheduler.StepLR(o, 21))),
        (
            Warmup(length="6 steps", then=Polynomial(power=2.0)),
            lambda o: warmed(o, 6, lr_scheduler.PolynomialLR(o, STEPS - 6, 2.0)),
        ),
        (Cosine(warmup=1), lambda o: warmed(o, 7, lr_scheduler.CosineAnnealingLR(o, STEPS - 7))),
        (OneCycle(), lambda o: one_cycle(o, "cos")),
        (OneCycle(linear=True), lambda o: one_cycle(o, "linear")),
    ],
)
def test_as_torchs(schedule: Schedule, make) -> None:
    assert ours(schedule) == pytest.approx(torchs(make), rel=1e-6, abs=1e-9)


def test_plateau_as_torchs() -> None:
    scores = [0.1, 0.2, 0.2, 0.15, 0.1, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.1, 0.1]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.5, patience=2, threshold=0, threshold_mode="abs"
    )
    for count in range(1, len(scores) + 1):
        theirs.step(scores[count - 1])
        factor = Plateau(patience=2, gamma=0.5).factor(Progress(0, 1, 1, scores[:count]))
        assert factor == pytest.approx(optimizer.param_groups[0]["lr"])


def test_exponential_is_where_torchs_is_after_whole_epochs() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = lr_scheduler.ExponentialLR(optimizer, 0.8)
    rates = ours(Exponential(gamma=0.8))
    for epoch in range(STEPS // PER_EPOCH):
        assert rates[epoch * PER_EPOCH] == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    assert rates == sorted(rates, reverse=True)


def test_plateau_goes_on_under_a_warmup() -> None:
    schedule = Warmup(length="4 steps", then=Plateau(patience=0, gamma=0.5))
    factors = [schedule.factor(Progress(step, STEPS, 2, [0.1, 0.1])) for step in (0, 3, 4, 9)]
    assert factors == pytest.approx([0.125, 0.5, 0.5, 0.5])
    assert schedule.watches


def test_warmup_rises_in_a_line_to_the_full_rate() -> None:
    rates = ours(Cosine(warmup="10 steps"))
    assert rates[:11] == pytest.approx([k / 10 for k in range(1, 11)] + [1.0])
    assert rates == pytest.approx(rates[:10] + sorted(rates[10:], reverse=True))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Step(every="3 weeks"), "unknown unit.*'500 steps'"),
        (lambda: MultiStep(at=["soon"]), "not a number"),
        (lambda: Cosine(warmup=-1), "expected 0 or more"),
        (lambda: Warmup(length="a while", then=Constant()), "unknown unit"),
        (lambda: Warmup(length=1, then=Warmup(length=1, then=Constant())), "add its length"),
        (lambda: WarmRestarts(period=1, growth=0), "growth is 0; expected 1 or more"),
        (lambda: Polynomial(power=0.0), "power is 0.0; expected more than 0"),
        (lambda: OneCycle(warmup=1.0), r"warmup is 1.0; expected a number in \(0, 1\)"),
        (lambda: OneCycle(start=5.0), r"start is 5.0; expected a number in \[0, 1\]"),
        (lambda: OneCycle(end=-0.1), "end is -0.1"),
        (lambda: Linear(start=-1.0), "start is -1.0"),
        (lambda: Linear(end=1.1), "end is 1.1"),
        (lambda: Cosine(end=-2.0), "end is -2.0"),
        (lambda: WarmRestarts(period=1, end=2.0), "end is 2.0"),
        (lambda: WarmRestarts(period=0), "period is 0.0; expected more than 0"),
        (lambda: Step(every=0), "every is 0.0; expected more than 0"),
        (lambda: Step(every=1, gamma=-1.0), r"gamma is -1.0; expected a number in \(0, 1\]"),
        (lambda: MultiStep(at=[1], gamma=2.0), "gamma is 2.0"),
        (lambda: MultiStep(at=[]), "at is empty"),
        (lambda: MultiStep(at=[float("inf")]), "at is inf"),
        (lambda: Exponential(gamma=0.0), "gamma is 0.0"),
        (lambda: Exponential(every="0 steps"), "every is 0.0"),
        (lambda: Plateau(gamma=1.0), r"gamma is 1.0; expected a number in \(0, 1\)"),
        (lambda: Plateau(patience=-1), "patience is -1; expected 0 or more"),
    ],
)
def test_what_raises(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
