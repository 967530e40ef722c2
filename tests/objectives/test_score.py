"""SCORE against its equation."""

import pytest
import torch
from oracles.objectives import (
    THREATS,
    batch,
    check_loss_and_gradients,
    draws,
    generator,
    noise,
    slow_climb,
    smooth,
)

from brolly import PGD, SCORE, Linf


def probabilities(row):
    return row.exp() / row.exp().sum()


def slow_distance(z, z_adv):
    return sum((p - q) ** 2 for p, q in zip(probabilities(z), probabilities(z_adv), strict=True))


def slow_score(clean, adversarial, y, beta, margin):
    each = []
    for z, z_adv, label in zip(clean, adversarial, y.tolist(), strict=True):
        natural = sum((p - int(k == label)) ** 2 for k, p in enumerate(probabilities(z)))
        excess = slow_distance(z, z_adv) - margin
        each.append(natural + beta * (excess if excess > 0 else 0 * excess))
    return torch.stack(each).mean()


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("margin", [0.0, 0.002])
def test_score_is_its_equation(threat, margin):
    model, examples = smooth(), batch()
    x, clean = examples.x, model(examples.x).detach()
    start = (x + noise(threat, x, draws(examples), threat.eps)).clamp(0, 1)

    def farther(logits, k):
        return slow_distance(clean[k], logits[0])

    point = slow_climb(model, threat, farther, start, x, steps=4, step=0.4 * threat.eps)
    distances = torch.stack(
        [slow_distance(*pair) for pair in zip(clean, model(point), strict=True)]
    )
    assert (distances > 0.002).any()
    assert (distances < 0.002).any()  # so the margin cuts some examples, and not all

    attack = PGD(threat, steps=4, step_size=0.4 * threat.eps)
    objective = SCORE(attack, beta=3.0, margin=margin)
    check_loss_and_gradients(
        objective,
        model,
        examples,
        lambda: slow_score(model(x), model(point), examples.y, 3.0, margin),
    )
    logs = objective(model, examples, generator()).logs
    torch.testing.assert_close(logs["distance"], distances.mean().detach())  # before the margin


def test_distances_inside_the_margin_ask_for_nothing():
    model, examples = smooth(), batch()
    loss = SCORE(PGD(Linf(0.1), steps=2), margin=2.0)(model, examples, generator())
    assert loss.value == loss.logs["natural"]


def test_published_choices():
    attack = PGD(Linf(8 / 255), steps=10)
    assert SCORE.as_published(attack) == SCORE(attack, beta=4.0, margin=0.0, mode="train")
    assert SCORE.as_published(attack, beta=3.0).beta == 3.0


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"beta is -1.0, margin is -2.0; expected 0 or more"):
        SCORE(PGD(Linf(0.1)), beta=-1.0, margin=-2.0)
    with pytest.raises(ValueError, match="no gradient at the clean input; write random_start=True"):
        SCORE(PGD(Linf(0.1), random_start=False))
