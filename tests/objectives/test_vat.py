"""Virtual adversarial training against its equation, and with few labels."""

import dataclasses

import pytest
import torch
from oracles.objectives import (
    BRIEF,
    THREATS,
    Watched,
    ascent,
    batch,
    check_loss_and_gradients,
    draws,
    generator,
    slow_cross_entropy,
    slow_gradient,
    slow_kl,
    smooth,
)

import brolly
from brolly import L2, VAT, Linf, Masked


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("labelled", [None, 121])
def test_vat_is_its_equation(threat, iterations, labelled):
    model, examples = smooth(), batch()
    x, y = examples.x, examples.y
    clean = model(x).detach()
    d = draws(examples).normal(x)
    for _ in range(iterations):
        u = d / d.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
        d = slow_gradient(model, lambda z, k: slow_kl(clean[k : k + 1], z), x + 0.2 * u)
    x_adv = threat.project(x + threat.eps * ascent(threat, d), x)
    rows = torch.arange(16) if labelled is None else torch.arange(7)  # indices 100, 103, ... 118

    def expected():
        natural = slow_cross_entropy(model(x)[rows], y[rows])
        return natural + 0.5 * slow_kl(clean, model(x_adv))

    objective = VAT(threat, weight=0.5, iterations=iterations, xi=0.2, labelled=labelled)
    check_loss_and_gradients(objective, model, examples, expected)


def test_the_power_method_finds_the_steepest_direction():
    """The quadratic form of the divergence next to x, by its Hessian."""
    model, examples = smooth(), batch(count=4)
    watched = Watched(model)
    VAT(L2(0.01), iterations=50, xi=1e-4)(
        watched, examples._replace(x=examples.x * 0.5 + 0.2), generator()
    )
    for k, (x_adv, x) in enumerate(zip(watched.inputs[-1], watched.inputs[-2], strict=True)):
        clean = model(x[None]).detach()
        hessian = torch.autograd.functional.hessian(
            lambda r, x=x, clean=clean: slow_kl(clean, model(x[None] + r.reshape(1, 1, 3, 4))),
            torch.zeros(12, dtype=torch.float64),
        )
        steepest = torch.linalg.eigh(hessian).eigenvectors[:, -1]
        cosine = (steepest * (x_adv - x).flatten() / 0.01).sum()
        assert abs(float(cosine)) > 0.999, k


def test_labels_beyond_the_first_are_never_read():
    examples = batch()
    objective = VAT(Linf(0.1), labelled=121)
    values = []
    for wrong in (0, 1):
        y = torch.where(examples.index < 121, examples.y, (examples.y + wrong) % 4)
        values.append(objective(smooth(), examples._replace(y=y), generator()).value)
    assert values[0] == values[1]


def test_a_batch_without_labels_still_smooths():
    loss = VAT(Linf(0.1), labelled=5)(smooth(), batch(), generator())
    assert loss.logs["natural"] == 0
    assert loss.value == loss.logs["divergence"] > 0


def test_a_mask_is_kept_to():
    mask = torch.zeros(3, 4, dtype=torch.bool)
    mask[1] = True
    threat, watched, examples = Masked(L2(0.5), mask), Watched(smooth()), batch()
    VAT(threat)(watched, examples, generator())
    probe, x_adv = watched.inputs[1], watched.inputs[-1]
    assert torch.equal(probe[:, :, ~mask], examples.x[:, :, ~mask])
    assert threat.contains(x_adv, examples.x).all()
    assert (threat.distance(x_adv, examples.x) > 0.1).all()


def test_training_with_it_makes_the_network_smooth() -> None:
    data, divergence = brolly.load_data("digits"), {}
    labelled = data.train.first(64)
    train = brolly.data.join(labelled, labelled, data.train.first(256))
    for weight in (0.0, 10.0):
        torch.manual_seed(0)
        model = brolly.models.MLP(64, classes=10, hidden=[16], normalize=data.statistics)
        history = brolly.fit(
            model, dataclasses.replace(data, train=train), epochs=3, batch_size=64,
            objective=VAT(L2(0.8), labelled=128, weight=weight), validation=BRIEF,
        )  # fmt: skip
        divergence[weight] = history.epochs[-1].logs["divergence"]
        assert history.epochs[-1].logs["natural"] < history.epochs[0].logs["natural"]
    assert divergence[10.0] < 0.8 * divergence[0.0]


def test_what_it_refuses():
    for options, told in (
        ({"weight": -1.0}, "weight is -1"),
        ({"iterations": 0}, "iterations is 0"),
        ({"xi": 0.0}, "xi is 0"),
    ):
        with pytest.raises(ValueError, match=told):
            VAT(L2(0.5), **options)
    data = brolly.load_data("digits")
    with pytest.raises(ValueError, match="labelled is 9999 of 1260 training examples"):
        VAT(L2(0.5), labelled=9999).begin(data.train, "cpu")


def test_as_published() -> None:
    published = VAT(L2(8.0), weight=1.0, iterations=1, xi=1e-6, labelled=None, mode="train")
    assert VAT.as_published(L2(8.0)) == published
    assert VAT.as_published(L2(8.0), labelled=100).labelled == 100
