"""Adversarial logit pairing against its equation."""

import copy

import pytest
import torch
from oracles.objectives import (
    THREATS,
    batch,
    check_loss_and_gradients,
    generator,
    normed,
    pgd_point,
    slow_cross_entropy,
    smooth,
)

from brolly import ALP, PGD, Linf


def slow_alp(clean, adversarial, y, weight):
    pairing = [
        sum((a - b) ** 2 for a, b in zip(z, z_adv, strict=True)) / len(z)
        for z, z_adv in zip(clean, adversarial, strict=True)
    ]
    mixed = (slow_cross_entropy(clean, y) + slow_cross_entropy(adversarial, y)) / 2
    return mixed + weight * torch.stack(pairing).mean()


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_alp_is_its_equation(threat):
    model, examples = smooth(), batch()
    point = pgd_point(model, threat, examples, steps=4, step=0.4 * threat.eps)
    objective = ALP(PGD(threat, steps=4, step_size=0.4 * threat.eps), weight=0.7)
    check_loss_and_gradients(
        objective,
        model,
        examples,
        lambda: slow_alp(model(examples.x), model(point), examples.y, 0.7),
    )
    loss = objective(model, examples, generator())
    torch.testing.assert_close(loss.value, loss.logs["mixed"] + 0.7 * loss.logs["pairing"])


def test_batchnorm_sees_clean_and_adversarial_inputs_as_one_batch():
    model = normed(dropout=0.0)
    before = copy.deepcopy(model)
    ALP(PGD(Linf(0.1), steps=1))(model, batch(torch.float32), generator())
    assert model[1].num_batches_tracked == before[1].num_batches_tracked + 1


def test_the_docstring_warns():
    assert "broken" in ALP.__doc__
    assert "Engstrom" in ALP.__doc__


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match=r"weight is -0.5; expected 0 or more"):
        ALP(PGD(Linf(0.1)), weight=-0.5)
