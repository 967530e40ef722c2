"""No input inside a threat leaves the bounds, and no proof is ever refuted."""

import copy

import pytest
import torch
from oracles.layers import FIRST, NETWORKS, SHAPE, THREATS, WITHIN, images, network
from torch import Tensor, nn

from brolly import APGD, FMN, L1, L2, IntervalBounds, Linf, Threat
from brolly._draws import Draws
from brolly.certify import bounds
from brolly.certify._arithmetic import Arithmetic
from brolly.certify._enclose import enclose
from brolly.certify._interval import _lead
from brolly.certify._tensor import Interval, propagate
from brolly.models import MLP, LeNet, ResNet, SmallCNN


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
    [(name, "linf") for name in WITHIN] + [(f"first-{f}", t) for f in FIRST for t in THREATS],
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


@pytest.mark.parametrize("name", NETWORKS)
def test_rounding_of_the_model_is_counted(name: str) -> None:
    """Where the input does not move at all, rounding alone is what the bounds allow for."""
    model, x = network(name), images(50)
    wide, exact = x.double(), copy.deepcopy(model).double()
    with torch.no_grad():
        logits, truth = model(x), exact(wide)
        point = Interval(wide, wide, Arithmetic.enclosing(model, x), torch.float32)
        result = propagate(model, point)
        alone = torch.cat([model(part) for part in x.split(1)])
    # Not all of them round to the truth, so the bounds have to be wider than that.
    assert (logits != truth).any()
    for value in (logits, alone, truth):
        assert ((result.lower <= value) & (value <= result.upper)).all()
    y = logits.argmax(1)
    lead = (logits.double().gather(1, y[:, None]) - logits.double()).scatter(
        1, y[:, None], torch.inf
    )
    assert (_lead(result, y) <= lead).all()


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
