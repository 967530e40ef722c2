"""Optimisers, the average of the weights, and how breakdowns are told."""

import copy

import pytest
import torch
from torch import nn

from brolly import EMA, SGD, SWA, Adagrad, Adam, AdamW, Batch, Recipe, RMSprop
from brolly.models import adversarial_statistics, dual_batchnorm
from brolly.training import EpochRecord
from brolly.training._validation import catastrophic_overfitting


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))


def descend(model: nn.Module, optimizer: torch.optim.Optimizer) -> nn.Module:
    x = torch.rand(8, 3, generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
    return model


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            SGD(lr=0.1, momentum=0.8, weight_decay=0.01, decays="all"),
            lambda p: torch.optim.SGD(p, 0.1, 0.8, weight_decay=0.01, nesterov=True),
        ),
        (
            SGD(lr=0.1, momentum=0.0, weight_decay=0.0),
            lambda p: torch.optim.SGD(p, 0.1),
        ),
        (
            AdamW(lr=0.1, weight_decay=0.3, decays="all"),
            lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.3),
        ),
        (
            Adam(lr=0.1, betas=(0.8, 0.9), weight_decay=0.3, decays="all"),
            lambda p: torch.optim.Adam(p, 0.1, (0.8, 0.9), weight_decay=0.3),
        ),
        (
            RMSprop(alpha=0.9, momentum=0.5, weight_decay=0.3, decays="all"),
            lambda p: torch.optim.RMSprop(p, alpha=0.9, momentum=0.5, weight_decay=0.3),
        ),
        (
            Adagrad(lr=0.1, weight_decay=0.3, decays="all"),
            lambda p: torch.optim.Adagrad(p, 0.1, weight_decay=0.3),
        ),
    ],
)
def test_optimizers_are_torchs(ours, theirs) -> None:
    mine, other = network(), network()
    descend(mine, ours.build(mine))
    descend(other, theirs(other.parameters()))
    for a, b in zip(mine.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_decay_spares_biases_and_norms() -> None:
    model = network()
    decayed, spared = SGD(weight_decay=0.1, decays="weights").build(model).param_groups
    assert [p.ndim for p in decayed["params"]] == [2, 2]
    assert {p.ndim for p in spared["params"]} == {1}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert len(SGD(decays="all").build(model).param_groups) == 1


def test_frozen_parameters_are_left_out() -> None:
    model = network()
    model[0].requires_grad_(False)
    groups = SGD().build(model).param_groups
    assert sum(len(group["params"]) for group in groups) == 4
    with pytest.raises(ValueError, match="no parameter of the model requires gradients"):
        SGD().build(model.requires_grad_(False))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SGD(lr=0.0), "lr is 0.0; expected more than 0"),
        (lambda: AdamW(lr=-1.0), "lr is -1.0"),
        (lambda: SGD(lr=float("nan")), "lr is nan"),
        (lambda: SGD(momentum=1.0), r"momentum is 1.0; expected a number in \[0, 1\)"),
        (lambda: Adam(betas=(0.9, 1.0)), r"betas is \(0.9, 1.0\); expected a number in \[0, 1\)"),
        (lambda: AdamW(betas=(-0.1, 0.9)), "betas is"),
        (lambda: RMSprop(alpha=2.0, momentum=-1.0), "alpha is 2.0, momentum is -1.0"),
        *[
            (lambda kind=kind: kind(weight_decay=-1.0), "weight_decay is -1.0; expected 0 or more")
            for kind in (SGD, Adam, AdamW, RMSprop, Adagrad)
        ],
    ],
)
def test_numbers_out_of_range_are_refused(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("override", "key", "message"),
    [
        ("optimizer.weight_decay=-1", "optimizer", "weight_decay is -1.0"),
        ("optimizer={name: adam, betas: [2, 1]}", "optimizer", r"betas is \(2.0, 1.0\)"),
        ("schedule={name: plateau, gamma: 3}", "schedule", "gamma is 3.0"),
        ("objective={name: fgsm-rs, label_smoothing: 5}", "objective", "label_smoothing is 5"),
    ],
)
def test_a_recipe_tells_them_with_their_key(override: str, key: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"{key}\S*: {message}"):
        Recipe.load("digits-robust", [override])


def test_ema_in_closed_form() -> None:
    model = network()
    average = copy.deepcopy(model)
    expected = {name: t.clone() for name, t in average.state_dict().items()}
    for step in range(6):
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor.add_(1 + step)
        EMA(decay=0.6).after_step(average, model, step)
        weight = 1 - min(0.6, (1 + step) / (10 + step))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                expected[name] += weight * (tensor - expected[name])
            else:
                expected[name] = tensor.clone()
    for name, tensor in average.state_dict().items():
        torch.testing.assert_close(tensor, expected[name])
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        EMA(decay=1.0)


def epoch_end(model: nn.Module, epoch: int) -> None:
    """Other weights and statistics, as after an epoch of training."""
    generator = torch.Generator().manual_seed(epoch)
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator))


def batches() -> list[Batch]:
    x = torch.rand(24, 3, generator=torch.Generator().manual_seed(7))
    return [Batch(part, torch.zeros(8).long(), torch.arange(8)) for part in x.split(8)]


def test_swa_is_the_mean_of_epoch_ends_and_newest_before() -> None:
    model = network()
    average = copy.deepcopy(model)
    ends: list[list[torch.Tensor]] = []
    for epoch in range(1, 6):
        epoch_end(model, epoch)
        ends.append([p.detach().clone() for p in model.parameters()])
        SWA(start=2).after_epoch(average, model, epoch, batches())
        counted = ends[2:] or ends[-1:]
        for index, parameter in enumerate(average.parameters()):
            mean = torch.stack([end[index] for end in counted]).mean(0)
            torch.testing.assert_close(parameter.detach(), mean)
        if epoch <= 2:
            assert torch.equal(average[1].running_mean, model[1].running_mean)
    assert average.training
    assert average[1].momentum == model[1].momentum


def test_swa_computes_batchnorm_statistics_anew() -> None:
    model = network()
    average = copy.deepcopy(model)
    epoch_end(model, 1)
    SWA(start=0).after_epoch(average, model, 1, batches())
    hidden = [average[0](batch.x).detach() for batch in batches()]
    mean = torch.stack([h.mean(0) for h in hidden]).mean(0)
    variance = torch.stack([h.var(0) for h in hidden]).mean(0)
    torch.testing.assert_close(average[1].running_mean, mean)
    torch.testing.assert_close(average[1].running_var, variance)


def test_swa_leaves_statistics_that_its_batches_do_not_reach() -> None:
    frozen, dual = network(), dual_batchnorm(network())
    frozen[1].eval()
    for model, norm in ((frozen, frozen[1]), (dual, dual[1].adversarial)):
        average = copy.deepcopy(model)
        epoch_end(model, 1)
        SWA(start=0).after_epoch(average, model, 1, batches())
        kept = average[1] if model is frozen else average[1].adversarial
        assert torch.equal(kept.running_mean, norm.running_mean)
    with adversarial_statistics(average):
        assert torch.isfinite(average.eval()(batches()[0].x)).all()
    with pytest.raises(ValueError, match="start is -1; expected 0 or more"):
        SWA(start=-1)


def record(robust: float, single: float) -> EpochRecord:
    return EpochRecord(1, 0.0, 0.1, 1.0, validation_robust=robust, validation_single_step=single)


@pytest.mark.parametrize(
    ("before", "now", "broke"),
    [
        ((0.5, 0.6), (0.29, 0.7), True),
        ((0.5, 0.6), (0.31, 0.7), False),  # it fell too little
        ((0.5, 0.6), (0.0, 0.5), False),  # everything fell: training is unstable, not overfitted
    ],
)
def test_catastrophic_overfitting(before, now, broke: bool) -> None:
    assert catastrophic_overfitting(record(*before), record(*now)) is broke
    assert not catastrophic_overfitting(None, record(*now))
