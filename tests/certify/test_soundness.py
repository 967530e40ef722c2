"""No input inside a threat leaves the bounds, and no proof is ever refuted."""

import copy

import pytest
import torch
from oracles.layers import FIRST, SHAPE, THREATS, WITHIN, images, network
from oracles.networks import seeded
from torch import Tensor, nn

from brolly import APGD, FMN, L1, L2, IntervalBounds, Linf, Threat
from brolly._draws import Draws
from brolly.certify import bounds
from brolly.certify._arithmetic import Arithmetic
from brolly.certify._ball import Ball
from brolly.certify._enclose import enclose
from brolly.certify._interval import _lead
from brolly.certify._tensor import Interval, propagate
from brolly.models import MLP, LeNet, Normalize, ResNet, SmallCNN


def enclosure(model: nn.Module, x: Tensor, threat: Threat) -> tuple[Tensor, Tensor]:
    """The bounds that proofs are made of."""
    with torch.no_grad():
        logits = propagate(model, enclose(threat, x, Arithmetic.enclosing(model, x)))
    return logits.lower, logits.upper


def extremes(model: nn.Module, x: Tensor, threat: Threat) -> list[Tensor]:
    """Inputs inside the threat: random ones, and those that lift or lower a logit."""
    draws = Draws.from_generator(torch.Generator().manual_seed(5), torch.arange(len(x)))
    found = [x, *(threat.sample(x, draws) for _ in range(4))]
    for label in range(2):
        for sign in (1, -1):
            point = x
            for step in (100.0, 0.2):
                leaf = point.detach().requires_grad_()
                (gradient,) = torch.autograd.grad(sign * model(leaf)[:, label].sum(), leaf)
                point = threat.project(point + step * threat.eps * threat.ascend(gradient), x)
                found.append(point)
    return found


@pytest.mark.parametrize(
    ("name", "threat"),
    # What comes after the first layers only knows of a box.
    [(name, "linf") for name in WITHIN]
    + [
        (f"first-{name}", threat)
        for name in FIRST
        for threat in THREATS
        if "masked" not in threat or name in ("linear", "normalize-convolution")
    ],
)
def test_inputs_inside_the_threat_stay_inside_the_bounds(name: str, threat: str) -> None:
    inside_the_bounds(network(name), images(), THREATS[threat])


def inside_the_bounds(model: nn.Module, x: Tensor, threat: Threat) -> None:
    lower, upper = enclosure(model, x, threat)
    assert (upper - lower).isfinite().all()
    plain = [bound.detach() for bound in bounds(model, x, threat)]
    # What proofs allow for rounding widens the bounds by little.
    torch.testing.assert_close(plain[0].double(), lower, rtol=0, atol=2e-3)
    torch.testing.assert_close(plain[1].double(), upper, rtol=0, atol=2e-3)
    for inside in extremes(model, x, threat):
        assert threat.contains(inside, x).all()
        logits = model(inside).detach()
        assert ((lower <= logits) & (logits <= upper)).all()
        assert ((plain[0] - 1e-4 <= logits) & (logits <= plain[1] + 1e-4)).all()


def trained(model: nn.Module, x: Tensor, y: Tensor) -> nn.Module:
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.eval()


MODELS = {
    "mlp": lambda: MLP(72, 4, hidden=(24, 16), dropout=0.1),
    "lenet": lambda: LeNet(2, 4, width=3, hidden=16, grid=2),
    "small-cnn": lambda: SmallCNN(2, 4, width=2, hidden=8, grid=2),
    "resnet": lambda: ResNet(2, 4, depth=8, width=4),
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("mlp", Linf), ("mlp", L2), ("mlp", L1), ("lenet", L1), ("small-cnn", L2), ("resnet", Linf)],
)
def test_no_attack_breaks_what_is_proved(name: str, kind: type[Threat]) -> None:
    """At the largest radii at which anything is proved."""
    x = images(48)
    y = (x[:, 0].mean((1, 2)) > x[:, 1].mean((1, 2))).long() + 2 * (x[:, 0, 2, 2] > 0.5)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = trained(MODELS[name](), x, y)
    proofs = {}
    for power in range(24):
        proved = IntervalBounds().proves(model, x, y, kind(2**power * 1e-6))
        if not proved.any():
            break
        proofs[kind(2**power * 1e-6)] = proved
    *_, (nearly, many), (last, few) = proofs.items()
    assert 0 < few.sum() < many.sum()
    assert not (APGD(nearly, steps=10)(model, x, y).success & many).any()
    assert not (APGD(last, steps=10)(model, x, y).success & few).any()
    nearest = FMN(kind(float("inf")), steps=20)(model, x, y)
    for threat, proved in proofs.items():
        assert not (nearest.success & (nearest.distance <= threat.eps) & proved).any()


def point(model: nn.Module, x: Tensor, order: int | None = None) -> Interval:
    """What is known of the logits where the input does not move: all there is is rounding."""
    wide, zero = x.double(), torch.zeros_like(x.double())
    ball = None if order is None else Ball(order, 1e-12, wide, zero + 1, zero, zero, zero)
    with torch.no_grad():
        still = Interval(wide, wide, Arithmetic.enclosing(model, x), torch.float32, ball)
        return propagate(model, still)


@pytest.mark.parametrize("name", WITHIN)
def test_rounding_of_every_layer_is_counted(name: str) -> None:
    model = seeded(lambda: nn.Sequential(WITHIN[name](), nn.Flatten())).float()
    x = images(50, shape=(3, 6, 6)) * 4 - 2
    result = point(model, x)
    with torch.no_grad():
        outputs = [model(x), torch.cat([model(part) for part in x.split(1)])]
        outputs.append(copy.deepcopy(model).double()(x.double()))
    for output in outputs:
        assert ((result.lower <= output) & (output <= result.upper)).all()


@pytest.mark.parametrize("order", [None, 1, 2])
@pytest.mark.parametrize("name", FIRST)
def test_rounding_is_counted_in_differences_of_logits(name: str, order: int | None) -> None:
    model, x = network(f"first-{name}"), images(50)
    result, logits = point(model, x, order), model(x).detach().double()
    assert ((result.lower <= logits) & (logits <= result.upper)).all()
    y = logits.argmax(1)
    lead = (logits.gather(1, y[:, None]) - logits).scatter(1, y[:, None], torch.inf)
    assert (_lead(result, y) <= lead).all()


@pytest.mark.parametrize("layer", [Normalize([0.4, 0.6], [0.2, 0.4]), nn.BatchNorm2d(2).eval()])
def test_rounding_before_the_first_linear_layer_is_counted(layer: nn.Module) -> None:
    model, x = nn.Sequential(layer, nn.Flatten()), images(50)
    ball = point(model, x, 2).ball
    assert ball is not None
    off = (model(x).double() - ball.center).abs()
    assert (off > 0).any()
    assert (off <= ball.error).all()


@pytest.mark.parametrize("order", [None, 1, 2])
def test_rounding_of_the_label_is_counted_in_differences_of_logits(order: int | None) -> None:
    """The other class does not round at all."""
    model = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.1], [0.0]]))
    x = torch.rand(500, 1, generator=torch.Generator().manual_seed(0))
    lead = _lead(point(model, x, order), torch.zeros(500, dtype=torch.long))[:, 1]
    logits = model(x)[:, 0].detach().double()
    assert (lead <= logits).all()
    assert (logits < x[:, 0].double() * model.weight[0, 0].item()).any()  # rounded down


@pytest.mark.parametrize("threat", THREATS.values(), ids=THREATS)
def test_inputs_that_count_as_inside_by_rounding_are_inside_the_bounds(threat: Threat) -> None:
    x = images()
    free = torch.ones_like(x[0]) > 0 if threat.mask is None else threat.mask.expand(SHAPE)
    lower, upper = enclosure(nn.Flatten(), x, threat)
    checked = 0
    for at in free.nonzero()[:6].tolist():
        for sign in (1, -1):
            moved = x.double()
            step = min(threat.eps, 1) + 0.9 * threat.slack(x.shape[1:])
            moved[:, *at] = (moved[:, *at] + sign * step).clamp(-0.9e-6, 1 + 0.9e-6)
            inside = threat.contains(moved, x)
            flat = moved.flatten(1)
            assert ((lower <= flat) & (flat <= upper)).all(1)[inside].all()
            checked += int(inside.sum())
    assert checked > 20


def test_a_margin_beyond_rounding_is_proved() -> None:
    model = nn.Linear(2, 2)
    with torch.no_grad():
        model.weight.copy_(torch.eye(2))
        model.bias.zero_()
    x = torch.tensor([[0.5, 0.5], [0.500001, 0.5], [0.50001, 0.5], [0.5, 0.50001]])
    proved = IntervalBounds().proves(model, x, torch.zeros(4, dtype=torch.long), Linf(0.0))
    assert proved.tolist() == [False, False, True, False]


def test_of_values_that_overflow_nothing_is_known() -> None:
    """In float32 they become infinite, and times 0 no number; in float64 they would pass."""
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Sigmoid(), nn.Linear(6, 2))
    with torch.no_grad():
        model[0].weight.fill_(1e20)
        model[1].weight.fill_(1e20)
    x = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
    result = point(model, x)
    assert result.lower.isnan().all()
    assert result.upper.isnan().all()
    assert not IntervalBounds().proves(model, x, torch.zeros(4).long(), Linf(0.0)).any()
