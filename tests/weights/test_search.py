"""Searches for worse weights: their shifts by hand, and what they leave untouched."""

import copy

import pytest
import torch
from torch import nn

import brolly
from brolly import ASAM, AWP, NFGSM, PGD, SAM, TRADES, Batch, Linf, PGDTraining, Plain


def network(dtype=torch.float64):
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(),
        nn.Linear(48, 5), nn.Tanh(), nn.Linear(5, 3),
    ).to(dtype)  # fmt: skip


def batch(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(12, 1, 3, 4, generator=generator, dtype=dtype)
    return Batch(x, torch.arange(12) % 3, torch.arange(12))


def by_hand(search, model, loss):
    """Weights moved in place on a copy, layer by layer, and the gradient there."""
    moved = copy.deepcopy(model)
    parameters = list(moved.parameters())
    probe = copy.deepcopy(model)
    gradients = torch.autograd.grad(loss(probe), list(probe.parameters()))
    with torch.no_grad():
        if isinstance(search, AWP):
            for w, g in zip(parameters, gradients, strict=True):
                if w.ndim > 1:
                    w += search.gamma * w.norm() * g / g.norm()
        elif isinstance(search, SAM):
            whole = torch.cat([g.flatten() for g in gradients]).norm()
            for w, g in zip(parameters, gradients, strict=True):
                w += search.rho * g / whole
        else:
            scales = [
                w.abs() + search.eta if w.ndim > 1 else torch.ones_like(w) for w in parameters
            ]
            whole = torch.cat(
                [(t * g).flatten() for t, g in zip(scales, gradients, strict=True)]
            ).norm()
            for w, t, g in zip(parameters, scales, gradients, strict=True):
                w += search.rho * t * t * g / whole
    value = loss(moved)
    return value, torch.autograd.grad(value, parameters)


@pytest.mark.parametrize("search", [AWP(gamma=0.02), SAM(rho=0.1), ASAM(rho=0.3)], ids=str)
def test_the_gradient_is_that_at_the_worse_weights(search) -> None:
    model, examples = network(), batch()
    before = copy.deepcopy(model.state_dict())
    loss_of = Plain().craft(model, examples, torch.Generator())
    value, gradients = by_hand(search, model, lambda model: loss_of(model).value)
    worse = search(model, lambda model: loss_of(model).value)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    loss = loss_of(worse).value
    torch.testing.assert_close(loss, value)
    assert loss > loss_of(copy.deepcopy(model)).value
    mine = torch.autograd.grad(loss, list(model.parameters()))
    for left, right in zip(mine, gradients, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-8, atol=1e-11)


def test_batchnorm_sees_the_batch_once() -> None:
    model, examples = network(), batch()
    once = copy.deepcopy(model)
    once(examples.x)
    loss_of = Plain().craft(model, examples, torch.Generator())
    loss_of(SAM()(model, lambda model: loss_of(model).value))
    assert int(model[1].num_batches_tracked) == 1
    assert torch.allclose(model[1].running_mean, once[1].running_mean, atol=0.1)


@pytest.mark.parametrize(
    "objective",
    [NFGSM(Linf(0.1)), TRADES(PGD(Linf(0.1), steps=2), beta=2)],
    ids=["n-fgsm", "trades"],
)
def test_adversarial_inputs_are_crafted_against_the_weights_themselves(objective) -> None:
    model, examples = network(), batch()
    seen: list[torch.Tensor] = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    loss_of = objective.craft(model, examples, torch.Generator().manual_seed(0))
    crafted = len(seen)
    worse = AWP()(model, lambda model: loss_of(model).value)
    first = seen[crafted:]
    loss_of(worse)
    second = seen[crafted + len(first) :]
    assert len(first) == len(second) >= 1
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_frozen_parameters_stay_out_of_it() -> None:
    model, examples = network(), batch()
    model[0].requires_grad_(False)
    loss_of = Plain().craft(model, examples, torch.Generator())
    worse = SAM()(model, lambda model: loss_of(model).value)
    loss_of(worse).value.backward()
    assert model[0].weight.grad is None
    assert model[4].weight.grad is not None


@pytest.fixture(scope="module")
def data():
    return brolly.load_data("digits")


def train(data, **options):
    torch.manual_seed(0)
    model = brolly.models.MLP(64, classes=10, hidden=[16], normalize=data.statistics)
    history = brolly.fit(model, data, objective=NFGSM(Linf(0.02)), epochs=5, **options)
    return model, history


@pytest.mark.parametrize("search", [AWP(), SAM(), ASAM()], ids=str)
def test_fit_descends_at_the_worse_weights(data, search) -> None:
    (plain, _), (other, history) = train(data), train(data, weights=search)
    assert history.epochs[-1].validation_clean > 0.5
    assert not torch.equal(next(plain.parameters()), next(other.parameters()))


def test_warmup_puts_it_off(data) -> None:
    (plain, _), (other, _) = train(data), train(data, weights=AWP(warmup=5))
    assert all(map(torch.equal, plain.parameters(), other.parameters()))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: AWP(gamma=0), "gamma is 0"),
        (lambda: SAM(rho=-1), "rho is -1"),
        (lambda: ASAM(eta=-1), "eta is -1"),
        (lambda: AWP(warmup="3 weeks"), "warmup '3 weeks' has an unknown unit"),
        (lambda: SAM(warmup="soon"), "warmup: 'soon' is not a number"),
        (lambda: ASAM(warmup=-1), "warmup is -1"),
    ],
)
def test_arguments_out_of_range_are_refused(make, told) -> None:
    with pytest.raises(ValueError, match=told):
        make()


def test_combinations_that_cannot_be_are_refused_with_all_reasons(data) -> None:
    with pytest.raises(ValueError, match="accumulate is 2") as caught:
        train(data, weights=AWP(), accumulate=2, clip=-1.0)
    for reason in ("AWP would search", "clip is -1.0"):
        assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("objective", "more"),
    [(PGDTraining(PGD(Linf(0.1), steps=2)), 1), (TRADES(PGD(Linf(0.1), steps=2)), 2)],
    ids=["pgd", "trades"],
)
def test_it_costs_the_passes_of_the_loss_once_more(objective, more) -> None:
    model, examples, passes = network(), batch(), []
    model.register_forward_hook(lambda *_: passes.append(1))
    loss_of = objective.craft(model, examples, torch.Generator())
    passes.clear()
    worse = AWP()(model, lambda model: loss_of(model).value)
    assert len(passes) == more
    loss_of(worse)
    assert len(passes) == 2 * more
