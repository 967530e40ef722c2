"""Attacks that need scores or labels only, and attacks by transfer."""

import math

import pytest
import torch
from oracles.linear import anywhere, classifier, distances
from oracles.networks import inputs, mlp, predictions, seeded
from torch import nn

from brolly import (
    L0,
    L2,
    NES,
    PGD,
    SPSA,
    BlackBox,
    BoundaryAttack,
    HopSkipJump,
    Linf,
    OnePixel,
    Transfer,
)

INF = float("inf")
WIDE = (-10.0, 10.0)
CASES = {
    "nes-linf": NES(Linf(0.06), queries=110, samples=10),
    "nes-l2": NES(L2(0.12), queries=110, samples=10),
    "spsa-linf": SPSA(Linf(0.06), queries=110, samples=10),
    "spsa-l2": SPSA(L2(0.12), queries=110, samples=10),
    "hop-l2": HopSkipJump(L2(INF), queries=200, samples=20),
    "hop-linf": HopSkipJump(Linf(INF), queries=200, samples=20),
    "hop-first": HopSkipJump(L2(0.5), queries=200, samples=20, nearest=False),
    "boundary": BoundaryAttack(L2(INF), queries=150),
    "one-pixel": OnePixel(L0(1), queries=100, population=10),
    "transfer": Transfer(PGD(Linf(0.1)), mlp(sharpness=7.0)),
}
LABELS = ["hop-l2", "hop-linf", "hop-first", "boundary"]
cases = pytest.mark.parametrize("name", CASES)
with_and_without_target = pytest.mark.parametrize("targeted", [False, True])


def problem(count: int = 12):
    model, x = mlp(), inputs(count)
    y = predictions(model, x)
    y[::6] = (y[::6] + 1) % 4
    return model, x, y, (y + 1) % 4


def hard_label(weight: torch.Tensor, bias: torch.Tensor) -> BlackBox:
    return BlackBox(
        lambda x: (x @ weight.T + bias).argmax(1).numpy(), returns="labels", classes=len(weight)
    )


@with_and_without_target
@cases
def test_results_are_what_they_say(name: str, targeted: bool) -> None:
    model, x, y, target = problem()
    attack, goal = CASES[name], target if targeted else None
    box = BlackBox(lambda x: model(x).detach())
    result = attack(box, x, y, target=goal)
    said = predictions(model, result.x)
    assert torch.equal(result.success, said == target if targeted else said != y)
    assert result.success.any()
    assert attack.threat.contains(result.x, x).all()
    assert result.cost.forwards == box.queries
    assert result.cost.backwards == 0
    assert box.queries <= len(x) * (1 + getattr(attack, "queries", 1))


@with_and_without_target
@cases
def test_batch_mates_do_not_matter(name: str, targeted: bool) -> None:
    model, x, y, target = problem()

    def run(rows: torch.Tensor):
        goal = target[rows] if targeted else None
        return CASES[name](model, x[rows], y[rows], target=goal, index=rows)

    whole = run(torch.arange(12))
    parts = [run(rows) for rows in (torch.tensor([7]), torch.tensor([11, 3, 2]))]
    for part, rows in zip(parts, ([7], [11, 3, 2]), strict=True):
        assert torch.equal(part.success, whole.success[rows])
        torch.testing.assert_close(part.x, whole.x[rows], rtol=0, atol=1e-9)


@cases
def test_the_generator_decides(name: str) -> None:
    model, x, y, _ = problem()
    first, again, other = (
        CASES[name](model, x, y, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(first.x, again.x)
    assert not torch.equal(first.x, other.x)


@pytest.mark.parametrize("name", LABELS)
def test_labels_are_enough(name: str) -> None:
    """A model of scores and one of its labels are attacked alike."""
    model, x, y, _ = problem()
    box = BlackBox(lambda x: predictions(model, x), returns="labels", classes=4)
    scores, labels = (CASES[name](one, x, y) for one in (model, box))
    assert torch.equal(scores.success, labels.success)
    assert torch.equal(scores.x[scores.success], labels.x[labels.success])


@cases
def test_images_in_single_precision(name: str) -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(48, 3))

    attack = CASES[name]
    if name == "one-pixel":
        attack = OnePixel(L0(7), queries=60, population=10)
    if name == "transfer":
        attack = Transfer(PGD(Linf(0.06)), seeded(build, 1).float())
    model, x = seeded(build).float(), inputs(6, (3, 4, 4)).float()
    result = attack(model, x, predictions(model, x))
    assert result.x.dtype == torch.float32
    assert result.x.shape == x.shape
    assert attack.threat.contains(result.x, x).all()


@with_and_without_target
@pytest.mark.parametrize(("threat", "within"), [(L2, 1.01), (Linf, 1.05)])
def test_hop_skip_jump_finds_the_nearest_of_a_linear_model(
    threat, within: float, targeted: bool
) -> None:
    """One question a point, a hard label an answer: the exact distance is the least there is."""
    weight, bias, x, y = anywhere(3)
    gaps = distances(weight, bias, x, y, threat.kind)
    target = (y + 1) % 3
    if targeted:
        # Of two classes, so that the nearest point of the target is where the two meet.
        weight, bias = weight[:2], bias[:2]
        y = (x @ weight.T + bias).argmax(1)
        target = 1 - y
        gaps = distances(weight, bias, x, y, threat.kind)
    box = hard_label(weight, bias)
    attack = HopSkipJump(threat(INF, WIDE), queries=2000)
    result = attack(box, x, y, target=target if targeted else None)
    exact = gaps.min(1).values
    assert result.success.all()
    assert (result.distance >= exact - 1e-9).all()
    assert (result.distance <= within * exact).all()


def test_the_boundary_attack_nears_the_nearest_of_a_linear_model() -> None:
    weight, bias, x, y = anywhere(3)
    exact = distances(weight, bias, x, y, "l2").min(1).values
    result = BoundaryAttack(L2(INF, WIDE), queries=1500)(hard_label(weight, bias), x, y)
    assert result.success.all()
    assert (result.distance >= exact - 1e-9).all()
    assert (result.distance <= 1.1 * exact).all()


@pytest.mark.parametrize("kind", [NES, SPSA])
@pytest.mark.parametrize("threat", [L2, Linf])
def test_guessed_gradients_break_a_linear_model_just_beyond_its_distance(kind, threat) -> None:
    weight, bias, x, y = anywhere(3)
    exact = distances(weight, bias, x, y, threat.kind).min(1).values
    for part in (0.95, 1.1):
        for row in range(len(x)):
            attack = kind(threat(float(part * exact[row]), WIDE), queries=550, samples=10)
            result = attack(classifier(weight, bias), x[row : row + 1], y[row : row + 1])
            assert result.success.item() == (part > 1)


def brute_force(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Whether any one value set to one of its ends fools a model that is linear in it."""
    rows = []
    for place in range(x.shape[1]):
        for end in (0.0, 1.0):
            moved = x.clone()
            moved[:, place] = end
            rows.append(predictions(model, moved) != y)
    return torch.stack(rows).any(0)


def test_one_pixel_finds_what_brute_force_finds() -> None:
    model = seeded(lambda: nn.Linear(9, 3), 5)
    x = inputs(40, (9,))
    y = predictions(model, x)
    exact = brute_force(model, x, y)
    assert 0 < exact.sum() < len(x)
    found = OnePixel(L0(1), queries=900, population=30)(model, x, y)
    assert torch.equal(found.success, exact)


@pytest.mark.parametrize(("eps", "most"), [(3, 1), (5, 1), (6, 2)])
def test_pixels_have_channels(eps: int, most: int) -> None:
    model = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(27, 3)))
    x = inputs(8, (3, 3, 3))
    result = OnePixel(L0(eps), queries=40, population=10)(model, x, predictions(model, x))
    pixels = (result.x != x).any(1).flatten(1).sum(1)
    assert pixels.max() == most
    assert (result.distance <= eps).all()


def test_a_pixel_that_eps_does_not_hold() -> None:
    model = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(27, 3)))
    x = inputs(2, (3, 3, 3))
    with pytest.raises(ValueError, match="eps is 2, and a pixel has 3 values"):
        OnePixel(L0(2))(model, x, predictions(model, x))


def test_transfer_is_the_surrogates_worst_input() -> None:
    model, x, y, _ = problem()
    surrogate = mlp(seed=3).train()
    inner = PGD(Linf(0.06))
    result = Transfer(inner, surrogate)(model, x, y)
    assert surrogate.training
    assert all(p.grad is None and p.requires_grad for p in surrogate.parameters())
    standing = predictions(model, x) == y
    crafted = inner(surrogate, x[standing], y[standing], index=standing.nonzero()[:, 0]).x
    assert torch.equal(predictions(model, crafted) != y[standing], result.success[standing])
    assert torch.equal(result.x[result.success & standing], crafted[result.success[standing]])
    same = Transfer(inner, model)(model, x, y)
    assert torch.equal(same.success, inner(model, x, y).success)


def test_starts_are_used_where_noise_does_not_do() -> None:
    """A target that takes a place which noise never meets."""

    def function(x: torch.Tensor) -> torch.Tensor:
        return ((x[:, :10] > 0.95).all(1) & (x[:, 10:] < 0.05).all(1)).long()

    box = BlackBox(function, returns="labels", classes=2)
    x, y = inputs(4, (20,)), torch.zeros(4, dtype=torch.long)
    bare = HopSkipJump(L2(INF), queries=300)
    corner = torch.arange(20).lt(10).double()
    helped = HopSkipJump(L2(INF), queries=300, starts=torch.stack([x[0], corner]))
    assert not bare(box, x, y).success.any()
    result = helped(box, x, y)
    assert result.success.all()
    near = torch.cat([(0.95 - x[:, :10]).clamp_min(0), (x[:, 10:] - 0.05).clamp_min(0)], 1)
    exact = near.norm(dim=1)
    assert (result.distance >= exact - 1e-9).all()
    assert (result.distance < (corner - x).norm(dim=1)).all()
    with pytest.raises(ValueError, match=r"starts have shape \(2, 3\); expected \(count, 20\)"):
        HopSkipJump(L2(INF), starts=torch.ones(2, 3))(box, x, y)
    with pytest.raises(ValueError, match="starts leave the bounds"):
        BoundaryAttack(L2(INF), starts=2 * torch.ones(1, 20))(box, x, y)


@pytest.mark.parametrize("name", LABELS)
def test_a_budget_that_ends_in_between(name: str) -> None:
    model, x, y, _ = problem()
    full = CASES[name](model, x, y)
    budget = full.cost.forwards // 3
    box = BlackBox(lambda x: predictions(model, x), returns="labels", classes=4, budget=budget)
    part = CASES[name](box, x, y)
    assert part.cost.forwards == box.queries <= budget
    assert torch.equal(part.success, predictions(model, part.x) != y)
    assert part.success.any()
    both = part.success & full.success
    if name != "hop-first":
        assert (part.distance[both] >= full.distance[both]).all()
        assert (part.distance[both] > full.distance[both]).any()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: NES(Linf(0.1), samples=5), "samples is 5; expected an even number"),
        (lambda: SPSA(Linf(0.1), queries=128), "queries is 128, and a step takes 129"),
        (lambda: NES(Linf(0.1), size=0), "size is 0"),
        (lambda: NES(Linf(0.1), momentum=1), "momentum is 1"),
        (lambda: SPSA(L2(0.1), step=-1), "step is -1"),
        (lambda: HopSkipJump(L2(1), queries=0), "queries is 0; expected 1 or more"),
        (lambda: HopSkipJump(L0(1)), "HopSkipJump does not search"),
        (lambda: BoundaryAttack(L2(1), source_step=1), "source_step is 1"),
        (lambda: BoundaryAttack(Linf(1)), "BoundaryAttack does not search"),
        (lambda: OnePixel(L0(1), population=3), "population is 3; expected 4 or more"),
        (lambda: OnePixel(L0(1), queries=399), "queries is 399, fewer than the 400"),
        (lambda: NES(Linf(math.inf)), "needs a finite eps"),
    ],
)
def test_bad_arguments(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
