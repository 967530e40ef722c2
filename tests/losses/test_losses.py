"""Losses against closed forms."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from brolly.losses import cross_entropy, dlr, kl, margin, targeted_dlr


def logits_and_labels(
    rows: int = 64, classes: int = 10, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = 3 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    return z, torch.randint(classes, (rows,), generator=generator)


LOSSES = {
    "cross_entropy": cross_entropy,
    "margin": margin,
    "dlr": dlr,
    "targeted_dlr": lambda z, y: targeted_dlr(z, y, (y + 1) % z.shape[1]),
    "kl": lambda z, y: kl(z, 2 * F.one_hot(y, z.shape[1]).to(z)),
}


def test_cross_entropy_by_hand() -> None:
    z, y = logits_and_labels()
    expected = [
        math.log(sum(math.exp(v) for v in row)) - row[label]
        for row, label in zip(z.tolist(), y.tolist(), strict=True)
    ]
    torch.testing.assert_close(cross_entropy(z, y), torch.tensor(expected, dtype=torch.float64))


def test_margin_by_hand() -> None:
    z, y = logits_and_labels()
    expected = [
        max(v for i, v in enumerate(row) if i != label) - row[label]
        for row, label in zip(z.tolist(), y.tolist(), strict=True)
    ]
    torch.testing.assert_close(margin(z, y), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_margin_is_positive_exactly_where_the_prediction_is_wrong(classes: int) -> None:
    z, y = logits_and_labels(500, classes)
    wrong = z.argmax(1) != y
    assert 0 < wrong.sum() < 500
    assert torch.equal(margin(z, y) > 0, wrong)
    assert torch.equal(dlr(z, y) > 0, wrong)


def test_kl_by_hand() -> None:
    z, _ = logits_and_labels(seed=0)
    reference, _ = logits_and_labels(seed=1)
    p, q = reference.softmax(1), z.softmax(1)
    torch.testing.assert_close(kl(z, reference), (p * (p / q).log()).sum(1))
    torch.testing.assert_close(
        kl(z, reference),
        torch.distributions.kl_divergence(
            torch.distributions.Categorical(logits=reference),
            torch.distributions.Categorical(logits=z),
        ),
    )


def test_kl_is_zero_only_for_equal_distributions() -> None:
    z, _ = logits_and_labels()
    other, _ = logits_and_labels(seed=1)
    torch.testing.assert_close(kl(z, z + 5), torch.zeros(64, dtype=torch.float64))
    assert (kl(z, other) > 0).all()


def test_kl_with_probabilities_that_are_zero() -> None:
    z = torch.tensor([[0.0, 0.0]])
    assert kl(z, torch.tensor([[1000.0, 0.0]])).item() == pytest.approx(math.log(2))
    assert kl(torch.tensor([[1000.0, 0.0]]), z).isfinite().all()


@pytest.mark.parametrize(("classes", "third"), [(3, 2), (4, 2), (10, 2)])
def test_dlr_by_hand(classes: int, third: int) -> None:
    z, y = logits_and_labels(64, classes)
    expected = []
    for row, label in zip(z.tolist(), y.tolist(), strict=True):
        ranked = sorted(row, reverse=True)
        best_other = max(v for i, v in enumerate(row) if i != label)
        expected.append(-(row[label] - best_other) / (ranked[0] - ranked[third]))
    torch.testing.assert_close(dlr(z, y), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("classes", [4, 5, 10])
def test_targeted_dlr_by_hand(classes: int) -> None:
    z, y = logits_and_labels(64, classes)
    target = (y + 2) % classes
    expected = []
    for row, label, goal in zip(z.tolist(), y.tolist(), target.tolist(), strict=True):
        ranked = sorted(row, reverse=True)
        expected.append(-(row[label] - row[goal]) / (ranked[0] - (ranked[2] + ranked[3]) / 2))
    torch.testing.assert_close(
        targeted_dlr(z, y, target), torch.tensor(expected, dtype=torch.float64)
    )


def test_two_classes_fall_back_to_the_margin() -> None:
    z, y = logits_and_labels(64, 2)
    assert torch.equal(dlr(z, y), margin(z, y))
    assert torch.equal(targeted_dlr(z, y, 1 - y), margin(z, y))


def test_three_classes_have_no_fourth_logit() -> None:
    z = torch.tensor([[1.0, 4.0, 2.0], [5.0, 1.0, 0.0]])
    y, target = torch.tensor([1, 2]), torch.tensor([0, 1])
    torch.testing.assert_close(targeted_dlr(z, y, target), torch.tensor([-3.0, 1.0]))


@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_every_target_has_a_gradient(classes: int) -> None:
    """Also the least likely one, whose distance to the first over z_(1) - z_(3) is constant."""
    z = torch.arange(float(classes), requires_grad=True)[None]
    y = torch.tensor([classes - 1])
    for target in range(classes - 1):
        value = targeted_dlr(z, y, torch.tensor([target])).sum()
        (gradient,) = torch.autograd.grad(value, z)
        assert gradient.abs().sum() > 0.1


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    classes=st.integers(4, 12),
    scale=st.floats(1e-2, 1e4),
    shift=st.floats(-1e3, 1e3),
    seed=st.integers(0, 1000),
)
def test_dlr_is_free_of_scale_and_shift(
    classes: int, scale: float, shift: float, seed: int
) -> None:
    z, y = logits_and_labels(8, classes, seed)
    target = (y + 1) % classes
    moved = scale * z + shift
    torch.testing.assert_close(dlr(moved, y), dlr(z, y), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(
        targeted_dlr(moved, y, target), targeted_dlr(z, y, target), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_gradients_are_those_of_the_function(name: str, classes: int) -> None:
    z, y = logits_and_labels(6, classes)
    assert torch.autograd.gradcheck(lambda z: LOSSES[name](z, y), z.requires_grad_())


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("scale", [0.0, 1e-20, 1.0, 1e4])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_values_and_gradients_are_finite(name: str, scale: float, classes: int) -> None:
    z, y = logits_and_labels(20, classes)
    z = (scale * z).float().requires_grad_()
    value = LOSSES[name](z, y)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    assert value.shape == (20,)
    assert value.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_rows_do_not_see_each_other(name: str) -> None:
    z, y = logits_and_labels(6)
    alone = torch.cat([LOSSES[name](z[i : i + 1], y[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(LOSSES[name](z, y), alone)
    assert LOSSES[name](z[:0], y[:0]).shape == (0,)


def test_cross_entropy_is_that_of_torch() -> None:
    z, y = logits_and_labels()
    torch.testing.assert_close(cross_entropy(z, y).mean(), F.cross_entropy(z, y))
