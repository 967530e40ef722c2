"""MART against its equation."""

import pytest
import torch
from oracles.objectives import (
    THREATS,
    batch,
    check_loss_and_gradients,
    generator,
    pgd_point,
    smooth,
)

from brolly import MART, PGD, Linf
from brolly.objectives._mart import boosted_cross_entropy


def slow_mart(clean, adversarial, y, beta):
    each = []
    for z, z_adv, label in zip(clean, adversarial, y.tolist(), strict=True):
        p, q = z.exp() / z.exp().sum(), z_adv.exp() / z_adv.exp().sum()
        rival = max((k for k in range(len(q)) if k != label), key=q.tolist().__getitem__)
        boosted = -q[label].log() - (1 - q[rival]).log()
        each.append(boosted + beta * (p * (p / q).log()).sum() * (1 - p[label]))
    return torch.stack(each).mean()


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_mart_is_its_equation(threat):
    model, examples = smooth(), batch()
    point = pgd_point(model, threat, examples, steps=4, step=0.4 * threat.eps)
    objective = MART(PGD(threat, steps=4, step_size=0.4 * threat.eps), beta=3.0)

    def expected():
        return slow_mart(model(examples.x), model(point), examples.y, 3.0)

    check_loss_and_gradients(objective, model, examples, expected)
    loss = objective(model, examples, generator())
    torch.testing.assert_close(loss.value, loss.logs["boosted"] + 3 * loss.logs["divergence"])
    assert float(loss.logs["divergence"]) > 0.001


def test_a_wrong_class_that_is_certain_gives_a_finite_loss_and_gradient():
    """The naive `log(1 - p)` is minus infinity here."""
    logits = torch.tensor([[0.0, 200.0, -5.0]], requires_grad=True)
    loss = boosted_cross_entropy(logits, torch.tensor([0]))
    assert float(loss.detach()) == pytest.approx(400, abs=0.01)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    torch.testing.assert_close(gradient[0, :2], torch.tensor([-2.0, 2.0]), atol=0.01, rtol=0)
    assert gradient.isfinite().all()


def test_published_choices():
    attack = PGD(Linf(8 / 255), steps=10)
    published = MART.as_published(attack)
    assert published == MART(PGD(Linf(8 / 255), steps=10, random_start=False), beta=6.0)
    assert MART.as_published(attack, beta=5.0).beta == 5.0


@pytest.mark.parametrize("beta", [-1.0, float("nan")])
def test_a_negative_weight_is_refused(beta):
    with pytest.raises(ValueError, match=f"beta is {beta}; expected 0 or more"):
        MART(PGD(Linf(0.1)), beta=beta)
