"""Known answers: affine models, whose certified radius is known, and single layers by hand."""

from collections.abc import Callable

import pytest
import torch
from oracles import linear
from oracles.layers import ACTIVATIONS
from oracles.networks import Function, inputs
from scipy.optimize import linprog, minimize
from torch import Tensor, nn

from brolly import APGD, L0, L1, L2, IntervalBounds, Linf, Masked, Threat
from brolly.certify import bounds
from brolly.certify._ball import Ball
from brolly.models import Normalize, SoftmaxRegression

KINDS: dict[str, type[Threat]] = {"linf": Linf, "l2": L2, "l1": L1}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [2, 5])
def test_of_a_linear_model_exactly_what_is_true_is_proved(
    classes: int, kind: str, dtype: torch.dtype
) -> None:
    weight, bias, x, y = linear.anywhere(classes)
    radius = linear.distances(weight, bias, x, y, kind).amin(1)
    model = linear.classifier(weight.to(dtype), bias.to(dtype))
    for row, limit in enumerate(radius.tolist()):
        for part, expected in ((0.99, True), (1.01, False)):
            threat = KINDS[kind](part * limit, (-10.0, 10.0))  # which no example is near
            one = slice(row, row + 1)
            proved = IntervalBounds().proves(model, x[one].to(dtype), y[one], threat)
            assert proved.tolist() == [expected]


def test_for_counted_changes_too() -> None:
    weight, bias, x, y = linear.anywhere(4)
    x = x.clamp(-1, 1)
    y = (x @ weight.T + bias).argmax(1)
    fewest = linear.counts(weight, bias, x, y, -1, 1).amin(1)
    for count in range(7):
        proved = IntervalBounds().proves(
            linear.classifier(weight, bias), x, y, L0(count, bounds=(-1.0, 1.0))
        )
        assert proved.tolist() == (count < fewest).tolist()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_softmax_regression_next_to_the_bounds(kind: str, masked: bool) -> None:
    """Where bounds cut the ball, attacks still reach up to the proof."""

    class Statistics:
        mean = (0.3, 0.6)
        std = (0.2, 0.5)

    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = SoftmaxRegression(32, 2, normalize=Statistics()).double()
    x = inputs(8, (2, 4, 4)).mul(1.4).sub(0.2).clamp(0, 1)
    y = model(x).argmax(1)
    mask = torch.arange(16).reshape(4, 4) % 4 > 0

    def threat(eps: float) -> Threat:
        return Masked(KINDS[kind](eps), mask) if masked else KINDS[kind](eps)

    met = 0
    for row in range(len(x)):
        one = slice(row, row + 1)
        low, high = 0.0, 1.0  # of which the first is proved, the second not
        for _ in range(11):
            middle = (low + high) / 2
            proved = IntervalBounds().proves(model, x[one], y[one], threat(middle)).item()
            low, high = (middle, high) if proved else (low, middle)
        assert low > 0
        if high < 1:
            met += 1
            farther = threat(1.01 * high)
            broken = APGD(farther, steps=50)(model, x[one], y[one]).success.item()
            if kind == "l1":  # where APGD is less exact
                broken = worst_margin(model, x[row], int(y[row]), farther) < 0
            assert broken
    assert met > 2


@pytest.mark.parametrize("order", [0, 1, 2])
def test_support_of_a_ball_cut_by_the_bounds(order: int) -> None:
    """Against a general solver."""
    generator = torch.Generator().manual_seed(order)
    directions = torch.randn(3, 7, generator=generator, dtype=torch.float64)
    directions[1, 2] = 0
    below, above = torch.rand(2, 4, 7, generator=generator, dtype=torch.float64)
    above[0, :3], below[1, 2:5] = 0, 0
    for eps in (0.3, 1.0, 2.0, 5.0):
        zero = torch.zeros(4, 7, dtype=torch.float64)
        scale = torch.linspace(-1, 2, 7, dtype=torch.float64).expand(4, 7)
        most = Ball(order, eps, zero, scale, zero, below, above).support(directions)
        for row in range(4):
            for number, direction in enumerate(directions):
                slope = (direction * scale[row]).tolist()
                expected = farthest(slope, (-below[row]).tolist(), above[row].tolist(), order, eps)
                assert most[row, number].item() == pytest.approx(expected, abs=1e-5)


def worst_margin(model: nn.Module, x: Tensor, y: int, threat: Threat) -> float:
    """Of an affine model of two classes."""
    x = x[None].requires_grad_()
    margin = model(x)[0, y] - model(x)[0, 1 - y]
    (slope,) = torch.autograd.grad(margin, x)
    if threat.mask is not None:
        slope = slope * threat.mask
    gain = farthest(
        (-slope).flatten().tolist(), (-x).flatten().tolist(), (1 - x).flatten().tolist(),
        int(threat.order), threat.eps,
    )  # fmt: skip
    return margin.item() - gain


def farthest(
    slope: list[float], low: list[float], high: list[float], order: int, eps: float
) -> float:
    """Maximum of a linear function over ball and box."""
    count = len(slope)
    if order == 0:
        gains = sorted(max(s * a, s * b) for s, a, b in zip(slope, low, high, strict=True))
        return sum(gains[count - min(int(eps), count) :])
    if order == 1:  # steps up and steps down, of non-negative length
        return -linprog(
            [-s for s in slope] + slope, [[1.0] * (2 * count)], [eps],
            bounds=[(0, b) for b in high] + [(0, -a) for a in low],
        ).fun  # fmt: skip
    found = minimize(
        lambda t: -sum(s * v for s, v in zip(slope, t, strict=True)),
        [0.0] * count,
        jac=lambda t: [-s for s in slope],
        bounds=list(zip(low, high, strict=True)),
        constraints={"type": "ineq", "fun": lambda t: eps**2 - t @ t, "jac": lambda t: -2 * t},
        options={"ftol": 1e-12, "maxiter": 500},
    )
    return -found.fun


def test_a_small_network_by_hand() -> None:
    """relu(x0 - x1) and relu(x0 + x1 - 1) at (0.5, 0.5) with eps 0.1, summed and subtracted."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -1.0], [1.0, 1.0]]))
        model[0].bias.copy_(torch.tensor([0.0, -1.0]))
        model[2].weight.copy_(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
        model[2].bias.copy_(torch.tensor([0.5, 0.25]))
    lower, upper = bounds(model, torch.full((1, 2), 0.5), Linf(0.1))
    torch.testing.assert_close(lower, torch.tensor([[0.5, 0.05]]))
    torch.testing.assert_close(upper, torch.tensor([[0.9, 0.45]]))
    # The difference of the logits is 0.25 + 2 relu(...) >= 0.25, although their bounds overlap only
    # without merging: 0.5 - 0.45 = 0.05 here, and 0 at 0.125.
    proves = IntervalBounds().proves
    assert proves(model, torch.full((1, 2), 0.5), torch.tensor([0]), Linf(0.4)).item()
    lower, upper = bounds(model, torch.full((1, 2), 0.5), Linf(0.4))
    assert lower[0, 0] < upper[0, 1]


@pytest.mark.parametrize("build", ACTIVATIONS.values(), ids=ACTIVATIONS)
@pytest.mark.parametrize(("low", "high"), [(-5, 0.7), (0.5, 4), (-3, -0.9)])
def test_bounds_of_an_activation_are_its_range(
    build: Callable[[], nn.Module], low: float, high: float
) -> None:
    layer = build().double()
    values = torch.linspace(low, high, 10001, dtype=torch.float64)[:, None].expand(-1, 3)
    reached = layer(values.clone()).detach()
    x = torch.full((1, 3), (low + high) / 2, dtype=torch.float64)
    lower, upper = bounds(layer, x, Linf((high - low) / 2, bounds=(-10.0, 10.0)))
    assert (lower[0] <= reached.amin(0) + 1e-12).all()
    assert (upper[0] >= reached.amax(0) - 1e-12).all()
    slack = 1e-7
    if isinstance(layer, (nn.PReLU, nn.LeakyReLU, Function)):
        slack = 1e-4  # at a kink the grid misses the lowest point
    if isinstance(layer, nn.Softplus):
        slack = 0.2  # this one is cut off where it is still bent, which bounds smooth over
    torch.testing.assert_close(lower[0], reached.amin(0), rtol=0, atol=slack)
    torch.testing.assert_close(upper[0], reached.amax(0), rtol=0, atol=slack)


def test_a_product_of_two_values() -> None:
    """Each moves on its own."""
    square = Function(lambda x: x * x)
    lower, upper = bounds(square, torch.full((1, 2), -0.5), Linf(1.5, bounds=(-10.0, 10.0)))
    assert (lower.tolist(), upper.tolist()) == ([[-2.0] * 2], [[4.0] * 2])


@pytest.mark.parametrize(
    ("threat", "spread"),
    [(L2(0.1), 0.1 * 5), (L1(0.1), 0.1 * 4), (Linf(0.1), 0.1 * 7)],
    ids=str,
)
def test_a_first_layer_meets_each_norm_in_its_own_dual(threat: Threat, spread: float) -> None:
    """Weights 3 and -4, then halved by normalisation to a standard deviation of 2."""
    model = nn.Sequential(Normalize([0.0], [2.0]), nn.Flatten(), nn.Linear(2, 2), nn.ReLU())
    with torch.no_grad():
        model[2].weight.copy_(torch.tensor([[3.0, -4.0], [3.0, 4.0]]))
        model[2].bias.fill_(50)
    x = torch.full((1, 1, 2), 0.5)
    lower, upper = bounds(model, x, threat)
    assert ((upper - lower) / 2).tolist()[0] == pytest.approx([spread / 2] * 2, abs=1e-5)


def test_a_first_layer_counts_changes() -> None:
    """Two of six weights times the width of the bounds, not half of all six."""
    model = nn.Sequential(nn.Linear(6, 2), nn.ReLU())
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, -2.0, 3.0, 3.0, -3.0, 3.0]] * 2))
        model[0].bias.fill_(50)
    lower, upper = bounds(model, torch.full((1, 6), 0.5), L0(2))
    assert ((upper - lower) / 2).tolist()[0] == pytest.approx([6.0] * 2)


def test_a_first_convolution_too() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 2, bias=False), nn.Flatten())
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[[[1.0, 2.0], [2.0, 4.0]]]]))
    x = torch.full((1, 1, 2, 3), 0.5)
    lower, upper = bounds(model, x, L2(0.1))
    torch.testing.assert_close((upper - lower) / 2, torch.full((1, 2), 0.5))
