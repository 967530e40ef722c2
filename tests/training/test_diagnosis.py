"""Trainings with a fault made on purpose, sound ones, and the numbers that tell them apart."""

import dataclasses
import functools
import inspect
import itertools
import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

import brolly
from brolly import NFGSM, PGD, SGD, AdamW, Dataset, Linf, PGDTraining, RunFolder
from brolly.models import MLP
from brolly.recipes import _rate_range, range_of_recipe
from brolly.training import (
    Constant,
    EpochRecord,
    Finding,
    History,
    LearningRateRange,
    TrainingDiverged,
    Validation,
    load_findings,
    save_findings,
)
from brolly.training.diagnosis._fitting import sampling_error
from brolly.training.diagnosis._steps import first_half, steadiness

CHECKED = Validation(examples=400, train_examples=400, steps=1, every=2)
PGD_TRAINING = PGDTraining(PGD(Linf(0.1), steps=2))
NAMES = (
    "underfitting", "overfitting", "robust overfitting", "catastrophic overfitting",
    "unstable training", "learning rate too high", "learning rate too low", "dead units",
    "BatchNorm mismatch",
)  # fmt: skip


@functools.cache
def digits() -> Dataset:
    return brolly.load_data("digits", validation=0.4)


def few(count: int, wrong: float = 0.0) -> Dataset:
    """The first training digits, some of whose labels are drawn at random."""
    data = digits()
    train = data.train.first(count)
    labels, changed = train.labels.clone(), int(count * wrong)
    labels[:changed] = torch.randint(10, (changed,), generator=torch.Generator().manual_seed(0))
    return dataclasses.replace(data, train=dataclasses.replace(train, labels=labels))


def mlp(*hidden: int) -> nn.Module:
    torch.manual_seed(0)
    return MLP(64, classes=10, hidden=hidden or (64,), normalize=digits().statistics)


def train(model: nn.Module, data: Dataset | None = None, **changes) -> History:
    arguments = {"epochs": 10, "batch_size": 64, "validation": CHECKED, **changes}
    return brolly.fit(model, data or digits(), **arguments)


def found(findings: tuple[Finding, ...]) -> set[str]:
    assert tuple(finding.name for finding in findings) == NAMES
    return {finding.name for finding in findings if finding.state == "found"}


SOUND = {
    "sgd": {},
    "adamw": {"optimizer": AdamW(lr=5e-3)},
    "constant rate": {"optimizer": SGD(lr=0.02), "schedule": Constant()},
    "n-fgsm": {"objective": NFGSM(Linf(0.1))},
}


@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_found_in_a_sound_training(name: str) -> None:
    model = mlp()
    findings = brolly.diagnose(train(model, **SOUND[name]), model, digits())
    assert found(findings) == set()
    robust = {"robust overfitting", "catastrophic overfitting"}
    unmeasured = {f.name for f in findings if f.state == "not measured"}
    assert unmeasured == {"BatchNorm mismatch"} | (robust if name != "n-fgsm" else set())


CONSTANT = Constant()
FAULTS = {
    "two hidden units": ((2,), None, {}, {"underfitting"}),
    "heavy decay": ((64,), None, {"optimizer": SGD(weight_decay=0.3)}, {"underfitting"}),
    "few examples": ((128,), (50, 0.0), {"epochs": 20, "batch_size": 25}, {"overfitting"}),
    "wrong labels": ((128,), (200, 0.3), {"epochs": 25, "batch_size": 50}, {"overfitting"}),
    "robust, wrong labels": (
        (128,), (100, 0.3),
        {"epochs": 30, "batch_size": 50, "objective": PGD_TRAINING, "schedule": CONSTANT,
         "optimizer": SGD(lr=0.1)},
        {"robust overfitting"},
    ),
    "rate 1e-3": (
        (64,), None, {"optimizer": SGD(lr=1e-3), "schedule": CONSTANT},
        {"underfitting", "learning rate too low"},
    ),
    "rate 1e-7": (
        (64,), None, {"optimizer": SGD(lr=1e-7)}, {"underfitting", "learning rate too low"},
    ),
    "rate 3": (
        (64,), None, {"optimizer": SGD(lr=3.0), "schedule": CONSTANT},
        {"underfitting", "learning rate too high", "unstable training", "dead units"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_made_on_purpose_is_named(name: str) -> None:
    hidden, part, changes, expected = FAULTS[name]
    model, data = mlp(*hidden), few(*part) if part else digits()
    findings = brolly.diagnose(train(model, data, **changes), model, data)
    assert found(findings) == expected
    for finding in findings:
        if finding.state == "found":
            assert finding.evidence
            assert all(math.isfinite(each.value) for each in finding.evidence)
            assert finding.threshold in str(finding)
            assert finding.advice in str(finding)


def test_a_loss_that_leaps_up_is_unstable() -> None:
    history = train(mlp(), schedule=CONSTANT, optimizer=SGD(lr=0.02), epochs=5)
    assert found(brolly.diagnose(history)) == set()
    leapt = [*history.epochs]
    leapt[3] = dataclasses.replace(leapt[3], train_loss=leapt[2].train_loss + 0.5)
    assert found(brolly.diagnose(History(tuple(leapt)))) == {"unstable training"}
    spiked = [*history.epochs]
    largest = 11 * max(record.gradient_norm for record in spiked)
    spiked[2] = dataclasses.replace(spiked[2], largest_gradient_norm=largest)
    (finding,) = (f for f in brolly.diagnose(History(tuple(spiked))) if f.state == "found")
    assert finding.verdict == "A gradient 11 times the typical one came at epoch 3."


def test_divergence_is_kept_in_the_run_folder_and_named(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with pytest.raises(TrainingDiverged):
        train(mlp(), optimizer=SGD(lr=1e5), schedule=CONSTANT, run=run)
    history = run.history()
    assert "the loss became" in history.diverged
    assert {"unstable training", "learning rate too high"} <= found(brolly.diagnose(history))
    train(mlp(), epochs=1, run=RunFolder(tmp_path / "other"))
    run.save_state({}, [EpochRecord(1, 1.0, 0.1, 2.0)])  # it went on after all
    assert run.history().diverged is None


def record(epoch: int, robust: float, single: float) -> EpochRecord:
    return EpochRecord(
        epoch, 1.0 * epoch, 0.1, 1 / epoch, 0.99, 0.9, 0.98, robust, single, epoch == 1
    )


@pytest.mark.parametrize(
    ("course", "expected"),
    [
        ([(0.5, 0.6), (0.6, 0.7), (0.1, 0.9)], True),
        ([(0.5, 0.6), (0.38, 0.7), (0.26, 0.8)], True),  # by and by
        ([(0.5, 0.6), (0.6, 0.7), (0.45, 0.9)], False),
        ([(0.5, 0.6), (0.6, 0.7), (0.1, 0.2)], False),  # all is lost, the single step too
    ],
)
def test_catastrophic_overfitting(course: list[tuple[float, float]], expected: bool) -> None:
    history = History(tuple(record(k, *each) for k, each in enumerate(course, start=1)))
    assert ("catastrophic overfitting" in found(brolly.diagnose(history))) is expected


def test_batchnorm_whose_running_statistics_lag_behind() -> None:
    def network(momentum: float) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32, momentum=momentum), nn.ReLU(),
            nn.Dropout(0.1), nn.Linear(32, 10),
        )  # fmt: skip

    for momentum, state in ((0.1, "not found"), (1e-4, "found")):
        model = network(momentum)
        history = train(model, epochs=4)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        modes = [module.training for module in model.modules()]
        (*_, finding) = brolly.diagnose(history, model, digits())
        assert finding.state == state
        assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
        assert [module.training for module in model.modules()] == modes


def test_dead_units_are_counted_in_functions_and_modules() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.act = nn.Conv2d(1, 4, 1), nn.ReLU(inplace=True)
            self.last = nn.Linear(4, 10)
            with torch.no_grad():
                self.first.weight.fill_(1.0)
                self.first.bias.copy_(torch.tensor([0.0, -9.0, 0.0, -9.0]))  # inputs are in [0, 1]
                self.last.bias.fill_(100.0)

        def forward(self, x):
            pooled = self.act(self.first(x)).mean((2, 3))
            return torch.relu(self.last(pooled))

    finding = brolly.diagnose(History(), Network(), digits())[7]
    assert finding.state == "found"
    assert finding.verdict.startswith("In ReLU layer 1 of 2, 2 of 4 units fire on none of 512")
    assert [(each.what, each.value) for each in finding.evidence] == [("dead in ReLU layer 1", 0.5)]


def test_the_test_split_is_never_read() -> None:
    data = digits()
    poisoned = dataclasses.replace(data.test, inputs=torch.full_like(data.test.inputs, 255))
    poison = dataclasses.replace(data, test=poisoned)
    model = mlp()
    history = train(model, epochs=3)
    assert brolly.diagnose(history, model, data) == brolly.diagnose(history, model, poison)
    expected = brolly.learning_rate_range(mlp(), data, batch_size=64)
    assert brolly.learning_rate_range(mlp(), poison, batch_size=64) == expected


def test_what_was_not_recorded_is_not_measured() -> None:
    assert {finding.state for finding in brolly.diagnose(History())} == {"not measured"}
    with pytest.raises(ValueError, match="expected both or neither"):
        brolly.diagnose(History(), mlp())


def test_metrics_of_older_and_newer_versions_are_read(tmp_path: Path) -> None:
    old = {"epoch": 1, "seconds": 1.0, "learning_rate": 0.1, "train_loss": 2.0, "best": True}
    new = {**old, "epoch": 2, "note": "early stopping", "not_known_yet": 3}
    run = RunFolder(tmp_path)
    assert run.history() == History()
    run.metrics.write_text(f"{json.dumps(old)}\n{json.dumps(new)}\n")
    history = run.history()
    assert [r.epoch for r in history.epochs] == [1, 2]
    assert history.stopped == "early stopping"
    assert history.epochs[0].gradient_norm is None
    run.metrics.write_text("[1]\n")
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 1 is damaged"):
        run.history()


def test_findings_come_back_from_their_file(tmp_path: Path) -> None:
    findings = brolly.diagnose(train(mlp(), epochs=3))
    save_findings(tmp_path / "diagnosis.json", findings)
    assert load_findings(tmp_path / "diagnosis.json") == findings
    (tmp_path / "diagnosis.json").write_text('{"schema": 99}')
    with pytest.raises(ValueError, match="brolly diagnose"):
        load_findings(tmp_path / "diagnosis.json")


@pytest.mark.parametrize("constants", [0.5, 1.0, 3.0])
def test_how_straight_an_exponential_is(constants: float) -> None:
    losses = [math.exp(-constants * k / 100) for k in range(101)]
    expected = 1 / (1 + math.exp(-constants / 2))
    assert first_half(losses, [0.1] * 101) == pytest.approx(expected, rel=1e-6)
    assert steadiness(losses) == pytest.approx(1)
    # The summed learning rate is the clock: half the rate takes twice the steps.
    assert first_half([3.0, 2.0, 1.0], [1.0, 3.0, 1.0]) == pytest.approx(1 / 3)
    assert steadiness([1.0, 2.0, 1.0, 0.5]) == pytest.approx(0.2)


def test_sampling_error_of_a_difference() -> None:
    assert sampling_error(0.5, 0.5, 100, 100) == pytest.approx(1.96 * math.sqrt(0.5 / 100))
    assert sampling_error(0.5, 0.5, None, 100) == 0


def test_gradients_and_steps_are_measured() -> None:
    """Against one step of plain gradient descent by hand, on a batch that is the whole split."""
    data, twin = few(40), mlp()
    x, y = data.train.scaled(data.train.inputs), data.train.labels
    nn.functional.cross_entropy(twin(x), y).backward()
    gradient = math.sqrt(sum(float((p.grad**2).sum()) for p in twin.parameters()))
    weight = math.sqrt(sum(float((p.detach() ** 2).sum()) for p in twin.parameters()))
    plain = SGD(lr=0.1, momentum=0.0, weight_decay=0.0)
    history = train(mlp(), data, epochs=1, batch_size=40, optimizer=plain, schedule=CONSTANT)
    (epoch,) = history.epochs
    assert epoch.gradient_norm == pytest.approx(gradient, rel=1e-4)
    assert epoch.largest_gradient_norm == epoch.gradient_norm
    assert epoch.update_ratio == pytest.approx(0.1 * gradient / weight, rel=1e-4)
    assert (epoch.train_examples, epoch.validation_examples) == (40, 400)


def test_the_range_test_leaves_everything_as_it_was() -> None:
    model = mlp().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    first, again = (brolly.learning_rate_range(model, digits(), steps=40) for _ in range(2))
    assert first == again
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert not model.training
    ratios = [b / a for a, b in itertools.pairwise(first.rates)]
    assert ratios == pytest.approx([1e6 ** (1 / 39)] * len(ratios))


def test_the_rate_that_it_suggests_trains_better_than_far_smaller_and_larger_ones() -> None:
    suggested = brolly.learning_rate_range(mlp(), digits(), batch_size=64).suggested
    losses = {
        factor: train(
            mlp(), epochs=5, schedule=CONSTANT, optimizer=SGD(lr=factor * suggested)
        ).epochs[-1].train_loss
        for factor in (0.01, 1.0, 100.0)
    }  # fmt: skip
    assert losses[1.0] < 0.5
    assert losses[1.0] < 0.5 * min(losses[0.01], losses[100.0])


def test_the_range_test_with_everything_on() -> None:
    found = brolly.learning_rate_range(
        mlp(), few(200), objective=NFGSM(Linf(0.1)), weights=brolly.SAM(), optimizer=AdamW(),
        clip=1.0, augment=[brolly.Shift(1)], batch_size=50, steps=30,
    )  # fmt: skip
    assert len(found.rates) == len(found.losses)
    assert found.rates[0] == pytest.approx(1e-5)


def test_the_range_test_refuses_what_fit_refuses() -> None:
    atta = brolly.ATTA(Linf(0.1))
    with pytest.raises(ValueError, match="ATTA remembers a perturbation") as told:
        brolly.learning_rate_range(
            mlp(), few(200), objective=atta, augment=[brolly.Shift(1)], balanced=True, clip=0.0
        )
    assert "ATTA tells examples apart" in str(told.value)
    assert "clip is 0.0" in str(told.value)
    with pytest.raises(ValueError, match="batch_size is 0 for 200 training examples"):
        brolly.learning_rate_range(mlp(), few(200), batch_size=0)
    with pytest.raises(ValueError, match="AdvProp"):
        brolly.learning_rate_range(mlp(), few(200), objective=brolly.AdvProp(brolly.PGD(Linf(0.1))))


def test_the_range_test_can_balance(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"steps": 10, "batch_size": 50, "lowest": 1e-3}
    plain, balanced = (
        brolly.learning_rate_range(mlp(), few(200), balanced=b, **settings) for b in (False, True)
    )
    assert plain.losses != balanced.losses
    monkeypatch.setattr(_rate_range, "learning_rate_range", lambda *_, **options: options)
    for balanced in (False, True):
        recipe = brolly.Recipe.load("digits-plain", [f"data.balanced={balanced}"])
        found = inspect.unwrap(range_of_recipe)(recipe, device="cpu")
        assert found["balanced"] is balanced


def test_smoothing_has_no_bias() -> None:
    found = LearningRateRange((0.1, 1.0, 10.0), (2.0, 2.0, 2.0))
    assert found.smoothed == pytest.approx((2, 2, 2))
    falling = LearningRateRange((0.1, 1.0, 10.0), (2.0, 1.0, 9.0))
    assert falling.smoothed[1] == pytest.approx((0.9 * 2 + 1) / 1.9)
    assert (falling.highest, falling.suggested, falling.turned) == (1.0, 0.1, True)


def test_a_range_test_that_shows_nothing_says_so() -> None:
    with pytest.raises(ValueError, match="the loss never fell"):
        brolly.learning_rate_range(mlp(), digits(), lowest=50.0, highest=100.0, steps=10)
    with pytest.raises(ValueError, match="0 < lowest < highest"):
        brolly.learning_rate_range(mlp(), digits(), lowest=1.0, highest=0.1)
