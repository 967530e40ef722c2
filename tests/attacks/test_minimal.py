"""Attacks that look for the nearest input: exact distances of linear models, and their parts."""

import math

import numpy as np
import pytest
import torch
from oracles import linear
from oracles.networks import Function, inputs, mlp, predictions
from scipy.optimize import minimize

from brolly import (
    DDN,
    EAD,
    FMN,
    L0,
    L1,
    L2,
    BrendelBethge,
    CarliniWagner,
    DeepFool,
    Linf,
    SigmaZero,
)
from brolly.attacks._adam import adam
from brolly.attacks._brendel_bethge import step_along
from brolly.attacks._fmn import shrink

INF = math.inf
THREATS = {"linf": Linf(INF), "l2": L2(INF), "l1": L1(INF), "l0": L0(INF)}
# Enough steps to come within 1 % of the exact distance.
ATTACKS = {
    "deepfool": (DeepFool, {}),
    "ddn": (DDN, {"steps": 300}),
    "fmn": (FMN, {}),
    "cw": (CarliniWagner, {"steps": 200, "c": 0.1, "rounds": 8}),
    "ead": (EAD, {"steps": 200, "beta": 0.05, "c": 0.1, "rounds": 6}),
    "sigma-zero": (SigmaZero, {"steps": 200}),
    "brendel-bethge": (BrendelBethge, {"steps": 100}),
}
PAIRS = [(name, kind) for name, (attack, _) in ATTACKS.items() for kind in attack.kinds]
# EAD is after the elastic net, of which L1 is a part.
NEAR = {"ead": 1.06}
every_pair = pytest.mark.parametrize(("name", "kind"), PAIRS)
every_attack = pytest.mark.parametrize("name", ATTACKS)


def make(name: str, kind: str, **more):
    attack, options = ATTACKS[name]
    return attack(THREATS[kind], **{**options, **more})


def exact(weight, bias, x, y, kind: str) -> torch.Tensor:
    if kind == "l0":
        return linear.counts(weight, bias, x, y, 0.0, 1.0)
    return linear.distances(weight, bias, x, y, kind)


def by_brute_force(weight, bias, x, label: int) -> int:
    """Fewest values whose corners of [0, 1] change the class, over all subsets."""
    best = 99
    for code in np.ndindex(*[3] * len(x)):  # stay, down, up
        moved = torch.where(torch.tensor(code) == 0, x, (torch.tensor(code) == 2).double())
        if (weight @ moved + bias).argmax() != label:
            best = min(best, sum(part > 0 for part in code))
    return best


def test_the_count_of_the_oracle_is_the_smallest() -> None:
    weight, bias, x, _ = linear.anywhere(3, seed=1)
    x, bias = x.sigmoid(), torch.tensor([3.0, 0.0, -1.0], dtype=torch.float64)
    y = (x @ weight.T + bias).argmax(1)
    counted = linear.counts(weight, bias, x, y, 0.0, 1.0).amin(1)
    for row in range(len(x)):
        least = by_brute_force(weight, bias, x[row], int(y[row]))
        assert counted[row] == (least if least < 99 else INF)
    assert counted[counted.isfinite()].max() > 1


@pytest.mark.parametrize("classes", [2, 3, 10])
@every_pair
def test_linear_models_are_left_by_the_shortest_way(name: str, kind: str, classes: int) -> None:
    weight, bias, x, y = linear.inside(classes)
    shortest, nearest = exact(weight, bias, x, y, kind).min(1)
    result = make(name, kind)(linear.classifier(weight, bias), x, y)
    assert result.success.all()
    assert (result.distance >= shortest * (1 - 1e-9)).all()
    assert (result.distance <= NEAR.get(name, 1.01) * shortest).all()
    if kind in ("linf", "l2"):
        assert torch.equal(predictions(linear.classifier(weight, bias), result.x), nearest)


@every_pair
def test_a_target_is_reached_by_the_shortest_way(name: str, kind: str) -> None:
    weight, bias, x, y = linear.inside(2)
    shortest = exact(weight, bias, x, y, kind).amin(1)
    model = linear.classifier(weight, bias)
    result = make(name, kind)(model, x, y, target=1 - y)
    assert result.success.all()
    assert (result.distance <= NEAR.get(name, 1.01) * shortest).all()


@every_pair
def test_a_target_is_reached_among_many(name: str, kind: str) -> None:
    model, x = mlp(), inputs(12)
    y = predictions(model, x)
    target = (y + 2) % 4
    result = make(name, kind)(model, x, y, target=target)
    assert torch.equal(result.success, predictions(model, result.x) == target)
    assert result.success.sum() >= 10


@pytest.mark.parametrize("bounds", [(-3.0, 5.0), (0.0, 255.0)])
@every_pair
def test_units_do_not_matter(name: str, kind: str, bounds: tuple[float, float]) -> None:
    """In other bounds the same inputs are found, and all lengths scale."""
    model, x = mlp(), inputs(6)
    y, width = predictions(model, x), bounds[1] - bounds[0]
    attack, options = ATTACKS[name]
    options = {**options, "steps": 40}
    wide = attack(type(THREATS[kind])(INF, bounds), **options)(
        Function(lambda x: model((x - bounds[0]) / width)), bounds[0] + width * x, y
    )
    unit = attack(THREATS[kind], **options)(model, x, y)
    assert torch.equal(wide.success, unit.success)
    # Long walks magnify rounding.
    scale = 1 if kind == "l0" else width
    torch.testing.assert_close(wide.distance / scale, unit.distance, rtol=1e-3, atol=1e-6)


@every_pair
def test_bounds_hold_where_they_are_in_the_way(name: str, kind: str) -> None:
    """Inputs in corners: the heaviest values have no room, others have to move."""
    weight = torch.tensor([[0.0, 0, 0, 0], [4.0, 2, 1.5, 1]], dtype=torch.float64)
    bias = torch.tensor([0.0, -5.2], dtype=torch.float64)
    x, y = torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=torch.float64), torch.tensor([0])
    # The gap is 1.2, and the first value cannot rise.
    shortest = {"linf": 1.2 / 4.5, "l2": 1.2 / 7.25**0.5, "l1": 0.6, "l0": 1.0}[kind]
    result = make(name, kind, **({"steps": 500} if name in ("cw", "ead") else {}))(
        linear.classifier(weight, bias), x, y
    )
    assert result.success.all()
    assert result.x.min() >= 0
    assert result.x.max() <= 1
    assert shortest * (1 - 1e-9) <= result.distance.item() <= 1.02 * shortest


@every_attack
def test_batch_mates_do_not_matter(name: str) -> None:
    model, x = mlp(), inputs(10)
    y = predictions(model, x)
    attack = make(name, ATTACKS[name][0].kinds[0], steps=20)
    index = torch.arange(10)
    whole = attack(model, x, y, index=index)
    for rows in (torch.tensor([7]), torch.tensor([4, 2, 9])):
        part = attack(model, x[rows], y[rows], index=index[rows])
        torch.testing.assert_close(part.x, whole.x[rows], rtol=0, atol=1e-6)
        assert torch.equal(part.success, whole.success[rows])


@every_pair
def test_the_first_input_inside_the_threat_is_enough(name: str, kind: str) -> None:
    model, x = mlp(), inputs(20)
    y = predictions(model, x)
    full = make(name, kind, steps=40)(model, x, y)
    first = make(name, kind, steps=40, nearest=False)(model, x, y)
    assert torch.equal(first.success, full.success)
    assert (first.distance >= full.distance - 1e-12)[full.success].all()
    assert first.cost.forwards < full.cost.forwards


@every_pair
def test_the_limit_counts(name: str, kind: str) -> None:
    """Beyond eps nothing is found, and within it what is found without a limit."""
    model, x = mlp(), inputs(20)
    y = predictions(model, x)
    free = make(name, kind, steps=40)(model, x, y)
    limit = float(free.distance[free.success].median())
    attack, options = ATTACKS[name]
    limited = attack(THREATS[kind].with_eps(limit), **{**options, "steps": 40})
    result = limited(model, x, y)
    assert torch.equal(result.success, free.success & (free.distance <= limit))
    assert (result.distance <= limit + 1e-6).all()


@pytest.mark.parametrize("kind", ["linf", "l2"])
def test_brendel_bethge_sees_past_flat_logits(kind: str) -> None:
    """Constant around clean inputs, so gradients there are 0: noise finds the way in."""
    weight = torch.tensor([[-1.0] * 8, [1.0] * 8], dtype=torch.float64)

    def logits(x: torch.Tensor) -> torch.Tensor:
        z = (x - 0.5) @ weight.T
        flat = torch.tensor([1.0, 0.0], dtype=torch.float64).expand_as(z)
        return torch.where(z[:, :1] > 0.2, flat, z)

    x = torch.full((3, 8), 0.35, dtype=torch.float64)
    y = torch.zeros(3, dtype=torch.long)
    threat = THREATS[kind]
    assert not DeepFool(threat)(Function(logits), x, y).success.any()
    result = BrendelBethge(threat, steps=100)(Function(logits), x, y)
    assert result.success.all()
    shortest = 0.15 if kind == "linf" else 0.15 * 8**0.5
    assert (result.distance <= 1.01 * shortest).all()


def test_without_an_adversarial_start_nothing_changes() -> None:
    model = Function(lambda x: torch.stack([0 * x[:, 0] + 1, 0 * x[:, 0]], 1))
    x = inputs(3)
    result = BrendelBethge(L2(INF), steps=5)(model, x, torch.zeros(3, dtype=torch.long))
    assert not result.success.any()
    assert torch.equal(result.x, x)


def trust_regions(count: int = 8, entries: int = 5):
    generator = torch.Generator().manual_seed(3)

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    clean, x = uniform(count, entries), uniform(count, entries)
    normal = 2 * uniform(count, entries) - 1
    gain = 0.2 * (uniform(count) - 0.5)
    return clean, x, normal, gain, 0.1 + 1.4 * uniform(count)


def by_a_general_solver(kind: str, a, b, c: float, low, high, r: float, begin) -> float:
    """Least distance to `a` on `b . step = c`, in the bounds and a ball of radius `r`."""
    n = len(a)

    def below(v):  # the last variable bounds the norm
        if kind == "l2":
            return v[n] ** 2 - ((v[:n] - a) ** 2).sum()
        return v[n] - np.abs(v[:n] - a)

    answer = minimize(
        lambda v: v[n],
        np.r_[begin, np.linalg.norm(begin - a)],
        bounds=[*zip(low, high, strict=True), (0, None)],
        constraints=[
            {"type": "ineq", "fun": below},
            {"type": "eq", "fun": lambda v: v[:n] @ b - c},
            {"type": "ineq", "fun": lambda v: r**2 - (v[:n] ** 2).sum()},
        ],
        options={"maxiter": 500, "ftol": 1e-10},
    )
    assert answer.success
    return float(answer.fun)


@pytest.mark.parametrize("kind", ["linf", "l2"])
def test_steps_along_the_boundary_are_the_best(kind: str) -> None:
    """Over trust regions that bind and that do not."""
    clean, x, normal, gain, radius = trust_regions()
    step = step_along(THREATS[kind], clean, x, normal, gain, radius)
    length = torch.linalg.vector_norm(step, 2, dim=1)
    assert (length <= radius * (1 + 1e-6)).all()
    assert ((x + step >= -1e-9) & (x + step <= 1 + 1e-9)).all()
    torch.testing.assert_close((normal * step).sum(1), gain, rtol=0, atol=1e-5)
    found = torch.linalg.vector_norm(x + step - clean, THREATS[kind].order, dim=1)
    for row in range(len(x)):
        best = by_a_general_solver(
            kind,
            (clean - x)[row].numpy(),
            normal[row].numpy(),
            float(gain[row]),
            -x[row].numpy(),
            1 - x[row].numpy(),
            float(radius[row]),
            step[row].numpy(),
        )
        assert float(found[row]) == pytest.approx(best, rel=2e-3, abs=5e-4)
    binding = (length > 0.99 * radius).sum()
    assert 0 < binding < len(x)


@pytest.mark.parametrize("kind", ["linf", "l2"])
def test_a_boundary_beyond_the_trust_region_is_approached(kind: str) -> None:
    clean = torch.tensor([[0.1, 0.1]], dtype=torch.float64)
    x = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    normal = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    gain, radius = (torch.tensor([v], dtype=torch.float64) for v in (10.0, 0.1))
    step = step_along(THREATS[kind], clean, x, normal, gain, radius)
    # The bounds stop both values at 0.5; the way there is cut to 0.1.
    expected = torch.tensor([[0.5, 0.5]]).double() * 0.1 / 0.5**0.5
    torch.testing.assert_close(step, expected)


@pytest.mark.parametrize("kind", THREATS)
def test_shrinking_is_the_projection(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    delta = torch.randn(12, 2, 4, generator=generator, dtype=torch.float64)
    radius = torch.linspace(0, 6, 12, dtype=torch.float64)
    radius = radius.floor() if kind == "l0" else radius
    order = THREATS[kind].order
    found = shrink(delta, radius, order)
    assert (torch.linalg.vector_norm(found.flatten(1), order, dim=1) <= radius + 1e-12).all()
    for row in range(len(delta)):
        # The bounds of `project` are out of reach here.
        ball = type(THREATS[kind])(float(radius[row]), (-50.0, 50.0))
        expected = ball.project(delta[row : row + 1], torch.zeros(1, 2, 4, dtype=torch.float64))
        torch.testing.assert_close(found[row : row + 1], expected)


def test_adam_is_adam() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, generator=generator, dtype=torch.float64)
    theirs = x.clone().requires_grad_()
    optimizer = torch.optim.Adam([theirs], lr=0.1)
    first = second = torch.zeros_like(x)
    for step in range(1, 20):
        optimizer.zero_grad()
        (theirs**4).sum().backward()
        optimizer.step()
        direction, first, second = adam(4 * x**3, first, second, step)
        x = x - 0.1 * direction
    torch.testing.assert_close(x, theirs.detach())


def test_ddn_follows_its_sphere() -> None:
    """On a linear model every norm is known: grown where right, shrunk where wrong."""
    weight, bias, x, y = linear.inside(2)
    seen = []

    def logits(inputs: torch.Tensor) -> torch.Tensor:
        seen.append(inputs.detach().clone())
        return inputs @ weight.T + bias

    DDN(L2(INF, linear.WIDE), steps=6, gamma=0.1, norm=0.001)(Function(logits), x, y)
    norms = torch.stack([torch.linalg.vector_norm(at - x, dim=1) for at in seen[2:]])
    wrong = torch.stack([(at @ weight.T + bias).argmax(1) != y for at in seen[1:-1]])
    radius = torch.full_like(norms[0], 0.001 * 200)
    for step in range(6):
        radius = radius * torch.where(wrong[step], 0.9, 1.1)
        torch.testing.assert_close(norms[step], radius)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DeepFool(L2(1), steps=0), "steps is 0"),
        (lambda: DeepFool(L2(1), classes=0), "classes is 0"),
        (lambda: DeepFool(L2(1), overshoot=-0.1), "overshoot is -0.1"),
        (lambda: DeepFool(L1(1)), "DeepFool does not search l1:1"),
        (lambda: FMN(L0(1), steps=0), "steps is 0"),
        (lambda: FMN(L2(1), step_size=0), "step_size is 0"),
        (lambda: FMN(L2(1), gamma=1.0), "gamma is 1.0"),
        (lambda: CarliniWagner(L2(1), rounds=0), "rounds is 0"),
        (lambda: CarliniWagner(L2(1), c=0), "c is 0"),
        (lambda: CarliniWagner(L1(1)), "CarliniWagner does not search l1:1"),
        (lambda: EAD(L1(1), beta=0), "beta is 0"),
        (lambda: EAD(L2(1)), "EAD does not search l2:1"),
        (lambda: SigmaZero(L0(1), sigma=0), "sigma is 0"),
        (lambda: SigmaZero(L1(1)), "SigmaZero does not search l1:1"),
        (lambda: BrendelBethge(L2(1), rate=math.nan), "rate is nan"),
        (lambda: BrendelBethge(L2(1), steps=0), "steps is 0"),
        (lambda: DDN(L2(1), gamma=0), "gamma is 0"),
        (lambda: DDN(L2(1), steps=0), "steps is 0"),
    ],
)
def test_settings_that_make_no_sense(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
