"""The training loop: same bits, left-alone things, the choice of the best epoch, breakdowns."""

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from oracles.networks import Branches
from torch import nn

from brolly import (
    ATTA,
    EMA,
    NFGSM,
    PGD,
    SGD,
    SWA,
    TRADES,
    AdamW,
    Dataset,
    Flip,
    Linf,
    Plain,
    Plateau,
    RunFolder,
    Shift,
    fit,
)
from brolly.objectives import Loss, Objective
from brolly.penalties import Penalty
from brolly.training import Constant, TrainingDiverged, Validation, Warmup
from brolly.training._validation import Accuracies, Checker

QUICK = Validation(examples=20, train_examples=10, steps=2)


@dataclasses.dataclass(frozen=True)
class Lengths(Penalty):
    """One number a parameter, where a sum is expected."""

    def __call__(self, model: nn.Module) -> torch.Tensor:
        return torch.stack([parameter.norm() for parameter in model.parameters()])


def blobs(classes: int = 3, count: int = 96) -> Dataset:
    """Images whose class is where they are bright."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(count) % classes
    x = 0.3 * torch.rand(count, 1, 4, 4, generator=generator)
    x[torch.arange(count), 0, y] += 0.6
    return Dataset.from_tensors("blobs", (x, y), (x[:10], y[:10]), validation=0.25)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2),
        nn.Flatten(), nn.Linear(64, 3),
    )  # fmt: skip


def train(model: nn.Module | None = None, data: Dataset | None = None, **changes):
    model = network() if model is None else model
    arguments = {"objective": NFGSM(Linf(0.1)), "epochs": 3, "batch_size": 16,
                 "validation": QUICK, **changes}  # fmt: skip
    return model, fit(model, data or blobs(), **arguments)


def weights(model: nn.Module) -> list[torch.Tensor]:
    return list(model.state_dict().values())


def same(first: nn.Module, second: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))


EVERYTHING = {
    "average": EMA(decay=0.9),
    "augment": [Shift(1), Flip()],
    "schedule": Plateau(patience=0, gamma=0.5),
    "optimizer": SGD(lr=0.05),
}


def test_same_seed_same_bits_and_another_seed_others() -> None:
    (first, history), (again, _) = (train(seed=4, **EVERYTHING) for _ in range(2))
    other, _ = train(seed=5, **EVERYTHING)
    assert same(first, again)
    assert not same(first, other)
    assert [record.epoch for record in history.epochs] == [1, 2, 3]


def test_global_randomness_neither_matters_nor_moves() -> None:
    first, _ = train()
    model = network()
    torch.manual_seed(99)
    state = torch.get_rng_state()
    train(model)
    assert torch.equal(state, torch.get_rng_state())
    assert same(first, model)


@pytest.mark.parametrize(
    "objective", [Plain(), NFGSM(Linf(0.1)), ATTA(Linf(0.1)), TRADES(PGD(Linf(0.1), steps=2))]
)
def test_it_learns(objective: Objective) -> None:
    _, history = train(objective=objective, epochs=12, optimizer=SGD(lr=0.05), threat=Linf(0.1))
    assert history.best is not None
    assert history.best.validation_clean > 0.9
    assert history.best.validation_robust > 0.7
    assert history.epochs[-1].train_loss < history.epochs[0].train_loss


def test_an_objective_that_remembers_pixels_refuses_augmentation() -> None:
    with pytest.raises(ValueError, match="ATTA remembers a perturbation for each pixel"):
        train(objective=ATTA(Linf(0.1)), augment=[Flip()])


def test_a_memory_starts_anew_with_each_training() -> None:
    objective = ATTA(Linf(0.1))
    first, _ = train(objective=objective)
    again, _ = train(objective=objective)
    assert same(first, again)


def test_what_is_frozen_stays_frozen() -> None:
    model = network().train()
    model[1].eval()
    model[0].requires_grad_(False)
    statistics, kernel = model[1].running_mean.clone(), model[0].weight.clone()
    train(model)
    assert torch.equal(model[1].running_mean, statistics)
    assert torch.equal(model[0].weight, kernel)
    assert [m.training for m in model] == [True, False, True, True, True, True]


def test_a_model_that_comes_in_eval_mode_is_trained_and_goes_in_eval_mode() -> None:
    model = network().eval()
    train(model)
    assert not torch.equal(model[1].running_mean, torch.zeros(4))
    assert not any(module.training for module in model.modules())


def test_a_module_with_branches_and_loops_trains() -> None:
    torch.manual_seed(0)
    model = Branches(16, 3)
    before = [weight.clone() for weight in weights(model)]
    train(model, epochs=1)
    assert any(not torch.equal(a, b) for a, b in zip(weights(model), before, strict=True))


def test_the_test_split_is_never_read() -> None:
    data = blobs()
    poisoned = dataclasses.replace(data.test, inputs=torch.full_like(data.test.inputs, torch.nan))
    clean, _ = train(data=data)
    other, _ = train(data=dataclasses.replace(data, test=poisoned))
    assert same(clean, other)


def test_bfloat16_trains_float32_weights() -> None:
    model, history = train(precision="bfloat16", objective=TRADES(PGD(Linf(0.1), steps=2)))
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert history.epochs[0].logs.keys() == {"natural", "divergence"}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch):
    """Makes the checks find given (clean, robust, single-step) accuracies, epoch by epoch."""

    def script(*values: tuple[float, float, float]) -> None:
        results: Iterator[Accuracies] = (Accuracies(*value) for value in values)
        monkeypatch.setattr(Checker, "validation", lambda self, model: next(results))

    return script


def after(epochs: int) -> nn.Module:
    """A network after some epochs of a longer run, whose rate is constant."""
    kept: list[dict[str, torch.Tensor]] = []
    model = network()

    def keep(record) -> None:
        kept.append({name: tensor.clone() for name, tensor in model.state_dict().items()})

    train(model, epochs=epochs, schedule=Constant(), on_epoch=keep)
    model.load_state_dict(kept[epochs - 1])
    return model


def test_the_best_robust_epoch_is_kept(measured) -> None:
    measured((0.5, 0.1, 0.2), (0.6, 0.3, 0.3), (0.9, 0.2, 0.3), (0.9, 0.3, 0.3))
    expected = after(2)
    measured((0.5, 0.1, 0.2), (0.6, 0.3, 0.3), (0.9, 0.2, 0.3), (0.9, 0.3, 0.3))
    model, history = train(epochs=4, schedule=Constant())
    assert history.best.epoch == 2
    assert same(model, expected)


def test_or_the_best_clean_one(measured) -> None:
    measured((0.5, 0.1, 0.2), (0.6, 0.3, 0.3), (0.9, 0.2, 0.3), (0.8, 0.3, 0.3))
    _, history = train(epochs=4, select_by="clean")
    assert history.best.epoch == 3


@pytest.mark.parametrize(
    ("select_by", "rates"), [("clean", [0.1, 0.1, 0.1, 0.05]), ("robust", [0.1, 0.1, 0.05, 0.05])]
)
def test_plateau_goes_by_the_metric_that_selects(measured, select_by: str, rates) -> None:
    measured((0.5, 0.3, 0.3), (0.6, 0.3, 0.3), (0.6, 0.4, 0.4), (0.6, 0.4, 0.4))
    plateau = Plateau(patience=0, gamma=0.5)
    _, history = train(epochs=4, schedule=plateau, select_by=select_by)
    assert [record.learning_rate for record in history.epochs] == pytest.approx(rates)


def test_plateau_needs_a_validation_split() -> None:
    data = blobs()
    data = dataclasses.replace(data, validation=data.validation.first(0))
    for schedule in (Plateau(), Warmup(length=1, then=Plateau())):
        with pytest.raises(ValueError, match="there is no validation split"):
            train(data=data, schedule=schedule)


def test_the_swa_net_is_what_is_checked_and_kept(monkeypatch) -> None:
    checked: list[nn.Module] = []

    def check(self, model: nn.Module) -> Accuracies:
        checked.append(copy.deepcopy(model))
        return Accuracies(0.5, 0.1 * len(checked), 0.2)

    monkeypatch.setattr(Checker, "validation", check)
    model, _ = train(average=SWA(start=1), schedule=Constant())
    assert same(model, checked[-1])
    plain, _ = train(schedule=Constant())
    ends = checked[-2:]  # of the plain training
    for mean, one, two in zip(model.parameters(), *(e.parameters() for e in ends), strict=True):
        torch.testing.assert_close(mean, (one + two) / 2)
    assert same(plain, ends[1])


def test_patience(measured) -> None:
    measured((0.5, 0.3, 0.3), *[(0.5, 0.2, 0.3)] * 9)
    _, history = train(epochs=9, patience=2)
    assert len(history.epochs) == 3
    assert "early stopping" in history.stopped
    assert history.epochs[-1].note == history.stopped


def test_catastrophic_overfitting_goes_back_and_says_so(measured) -> None:
    script = (0.5, 0.3, 0.4), (0.6, 0.4, 0.5), (0.7, 0.1, 0.9)
    measured(*script)
    expected = after(2)
    measured(*script)
    model, history = train(epochs=9, schedule=Constant())
    assert same(model, expected)
    assert len(history.epochs) == 3
    assert "went back to epoch 2" in history.stopped
    assert "40.0% to 10.0%" in history.epochs[-1].note


@dataclasses.dataclass(frozen=True)
class Diverging(Objective):
    """Plain training whose loss is NaN from a certain call on."""

    healthy: int
    calls: list[int] = dataclasses.field(default_factory=list)

    @property
    def threat(self):
        return None

    def craft(self, model, batch, generator):
        self.calls.append(1)
        loss = Plain().craft(model, batch, generator)
        if len(self.calls) <= self.healthy:
            return loss
        return lambda model: Loss(loss(model).value * torch.nan, {})


@pytest.mark.parametrize(
    "other",
    [
        {"model": nn.Sequential(nn.Flatten(), nn.Linear(16, 3))},
        {"average": EMA()},
        {"optimizer": AdamW()},
    ],
)
def test_the_folder_of_another_training(other: dict, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    train(run=run, epochs=1)
    before = run.state.read_bytes()
    with pytest.raises(ValueError, match=r"run holds the state of a training with another"):
        train(run=run, epochs=2, **other)
    assert run.state.read_bytes() == before


def test_nan_says_where() -> None:
    with pytest.raises(TrainingDiverged, match=r"nan at epoch 2, step 2 of 4.*epoch 1 is kept"):
        train(objective=Diverging(healthy=5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"average": SWA(start=3)}, "SWA starts after 3 epochs of 3, so there is nothing to"),
        ({"batch_size": 1000}, "1000 for 72 training examples; expected 1 to 72"),
        ({"patience": 0}, "patience is 0; expected 1 or more, or None"),
        ({"objective": Plain(), "select_by": "robust"}, "there is no threat"),
        ({"device": "cuda:77"}, "device 'cuda:77' is not on this machine; expected one of"),
        ({"model": nn.Flatten()}, "no parameter"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(16, 2))}, "2 classes; expected 3"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(5, 3))}, "fails on inputs of blobs, of"),
        ({"penalty": Lengths()}, r"Lengths\(\) is a Tensor of shape \(6,\); expected"),
    ],
)
def test_what_raises(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(**changes)


def test_all_that_is_wrong_is_told_at_once() -> None:
    data = blobs()
    data = dataclasses.replace(data, validation=data.validation.first(0))
    with pytest.raises(ValueError, match="epochs is 0") as told:
        train(data=data, epochs=0, clip=-1.0, batch_size=0, accumulate=0, schedule=Plateau(),
              objective=ATTA(Linf(0.1)), augment=[Flip()], patience=0)  # fmt: skip
    for reason in ("clip is -1", "batch_size is 0", "accumulate is 0", "no validation split",
                   "ATTA remembers a perturbation", "patience is 0"):  # fmt: skip
        assert reason in str(told.value)
