"""Linear classifiers: attacks succeed just above the exact minimal perturbation, never below."""

import pytest
import torch
from oracles import linear

from brolly import APGD, FGSM, L2, PGD, APGDTargeted, Linf

KINDS = {"linf": Linf, "l2": L2}
ATTACKS = {
    "fgsm": FGSM,
    "pgd": lambda threat: PGD(threat, steps=100),
    "pgd-from-clean": lambda threat: PGD(threat, steps=10, random_start=False),
    "mim": lambda threat: PGD(threat, steps=100, momentum=1.0),
    "apgd-ce": lambda threat: APGD(threat, steps=25),
    "apgd-dlr": lambda threat: APGD(threat, loss="dlr", steps=25),
    "apgd-t": lambda threat: APGDTargeted(threat, steps=25),
}


def attack_at(name: str, kind: str, problem, ratio: float, eps: torch.Tensor) -> list[bool]:
    """Success of each example at `ratio` times its own `eps`."""
    weight, bias, x, y = problem
    model = linear.classifier(weight, bias)
    success = []
    for row in range(len(x)):
        threat = KINDS[kind](ratio * eps[row].item(), linear.WIDE)
        result = ATTACKS[name](threat)(model, x[row : row + 1], y[row : row + 1])
        assert threat.contains(result.x, x[row : row + 1]).all()
        success.append(result.success.item())
    return success


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("name", ATTACKS)
def test_the_boundary_is_found_where_it_is(name: str, classes: int, kind: str) -> None:
    problem = linear.simplex(classes)
    exact = linear.distances(*problem, kind).amin(1)
    assert (exact > 0.01).all()
    assert attack_at(name, kind, problem, 0.99, exact) == [False] * 4
    assert attack_at(name, kind, problem, 1.02, exact) == [True] * 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_is_found_below_the_boundary(name: str, classes: int, kind: str) -> None:
    problem = linear.anywhere(classes)
    exact = linear.distances(*problem, kind).amin(1)
    assert attack_at(name, kind, problem, 0.999, exact) == [False] * 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_trying_every_target_finds_the_nearest_one(classes: int, kind: str) -> None:
    """Where logits and distances disagree, a single run may climb to the wrong class."""
    problem = linear.anywhere(classes)
    exact = linear.distances(*problem, kind).amin(1)
    assert attack_at("apgd-t", kind, problem, 1.01, exact) == [True] * 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["pgd", "apgd-ce", "apgd-dlr", "apgd-t"])
def test_a_target_is_reached_where_its_region_begins(name: str, kind: str) -> None:
    """With two classes the region of the target begins where that of the label ends."""
    weight, bias, x, y = linear.anywhere(2)
    model, target = linear.classifier(weight, bias), 1 - y
    exact = linear.distances(weight, bias, x, y, kind).amin(1)
    for row in range(4):
        for ratio in (0.99, 1.02):
            threat = KINDS[kind](ratio * exact[row].item(), linear.WIDE)
            one = slice(row, row + 1)
            result = ATTACKS[name](threat)(model, x[one], y[one], target=target[one])
            assert result.success.item() == (ratio > 1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_fgsm_step_is_the_exact_one(kind: str) -> None:
    """For two classes it goes along the dual vector of w_1 - w_0, with all of eps."""
    weight, bias, x, y = linear.anywhere(2)
    result = FGSM(KINDS[kind](0.001, linear.WIDE))(linear.classifier(weight, bias), x, y)
    away = weight[1 - y] - weight[y]
    unit = away.sign() if kind == "linf" else away / away.norm(dim=1, keepdim=True)
    assert not result.success.any()
    torch.testing.assert_close(result.x, x + 0.001 * unit, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["pgd-from-clean", "apgd-ce", "apgd-dlr"])
def test_the_box_is_used_to_the_full(name: str, kind: str) -> None:
    """Next to a bound the worst point is the end of the ball that is left."""
    weight = torch.tensor([[0.0, 0, 0, 0], [0.3, 1, -1, 0.5]], dtype=torch.float64)
    model = linear.classifier(weight, torch.tensor([0.0, -20.0], dtype=torch.float64))
    x, y = torch.tensor([[1.0, 0.95, 0.5, 0.5]], dtype=torch.float64), torch.tensor([0])
    result = ATTACKS[name](KINDS[kind](0.2))(model, x, y)
    if kind == "linf":
        expected = torch.tensor([[1.0, 1.0, 0.3, 0.7]])
    else:  # 0.05 on the second, the rest of the length shared out as 1 : 0.5
        rest = (0.2**2 - 0.05**2) ** 0.5 / 1.25**0.5
        expected = torch.tensor([[1.0, 1.0, 0.5 - rest, 0.5 + 0.5 * rest]])
    torch.testing.assert_close(result.x, expected.double(), rtol=0, atol=2e-3)
