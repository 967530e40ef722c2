"""R-FGSM, BIM and the family made to transfer, against slow transcriptions of the papers."""

import pytest
import torch
from oracles.networks import Recorder, inputs, mlp, predictions
from torch import Tensor

from brolly import L2, Linf
from brolly._draws import Draws
from brolly.attacks import BIM, DIM, MIM, NIM, RFGSM, SIM, TIM, VMIM, Diverse, Scaled, Smooth

SHAPE, STEPS, EPS = (2, 9, 9), 4, 1e-3
THREATS = {"linf": Linf(EPS), "l2": L2(EPS)}
both = pytest.mark.parametrize("kind", THREATS)


def problem():
    model, x = mlp(SHAPE, sharpness=1.0), 0.25 + inputs(3, SHAPE) / 2
    return model, x, predictions(model, x)


def slope(model, x: Tensor, y: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    torch.nn.functional.cross_entropy(model(leaf), y, reduction="sum").backward()
    return leaf.grad


def unit(kind: str, g: Tensor) -> Tensor:
    if kind == "linf":
        return g.sign()
    return g / g.flatten(1).norm(dim=1)[:, None, None, None]


def cut(kind: str, x: Tensor, clean: Tensor) -> Tensor:
    delta = x - clean
    if kind == "linf":
        return clean + delta.clamp(-EPS, EPS)
    length = delta.flatten(1).norm(dim=1)[:, None, None, None]
    return clean + delta * (EPS / length).clamp(max=1)


def mean_size(g: Tensor) -> Tensor:
    return g.abs().flatten(1).mean(1)[:, None, None, None]


def transcribed(kind, model, clean, y, gradient, *, momentum=1.0, ahead=False) -> Tensor:
    x, g, alpha = clean, torch.zeros_like(clean), EPS / STEPS
    reach = alpha / clean[0].numel() ** 0.5 if kind == "l2" else alpha
    for _ in range(STEPS):
        slant = gradient(x + reach * momentum * g if ahead else x)
        g = momentum * g + slant / mean_size(slant)
        x = cut(kind, x + alpha * unit(kind, g), clean)
    return x


def last_seen(attack, model, x, y) -> Tensor:
    recorder = Recorder(model)
    assert not attack(recorder, x, y).success.any()
    return recorder.seen[-1]


def smoothed(g: Tensor, width: int = 15) -> Tensor:
    k, sigma = width // 2, (width // 2) / 3
    at = torch.arange(-k, k + 1, dtype=g.dtype)
    kernel = torch.exp(-(at[:, None] ** 2 + at**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    out = torch.zeros_like(g)
    for i in range(g.shape[2]):
        for j in range(g.shape[3]):
            for a in range(g.shape[2]):
                for b in range(g.shape[3]):
                    if abs(a - i) <= k and abs(b - j) <= k:
                        out[:, :, i, j] += kernel[a - i + k, b - j + k] * g[:, :, a, b]
    return out


def scaled(model, x: Tensor, y: Tensor, copies: int = 5) -> Tensor:
    leaf = x.clone().requires_grad_()
    losses = [
        torch.nn.functional.cross_entropy(model(leaf / 2**i), y, reduction="sum")
        for i in range(copies)
    ]
    (sum(losses) / copies).backward()
    return leaf.grad


@both
@pytest.mark.parametrize("name", ["bim", "mim", "nim", "sim", "tim", "si-ni-ti"])
def test_the_updates_of_the_papers(name: str, kind: str) -> None:
    model, x, y = problem()
    attack, gradient, options = {
        "bim": (BIM, lambda at: slope(model, at, y), {"momentum": 0.0}),
        "mim": (MIM, lambda at: slope(model, at, y), {}),
        "nim": (NIM, lambda at: slope(model, at, y), {"ahead": True}),
        "sim": (SIM, lambda at: scaled(model, at, y), {}),
        "tim": (TIM, lambda at: smoothed(slope(model, at, y)), {}),
        "si-ni-ti": (NIM, lambda at: smoothed(scaled(model, at, y)), {"ahead": True}),
    }[name]
    extra = {"refine": (Smooth(), Scaled())} if name == "si-ni-ti" else {}
    expected = transcribed(kind, model, x, y, gradient, **options)
    found = last_seen(attack(THREATS[kind], steps=STEPS, **extra), model, x, y)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_variance_tuning() -> None:
    """Algorithm 1 of Wang & He, with the points around that the attack drew."""
    model, clean, y = problem()
    recorder = Recorder(model)
    assert not VMIM(Linf(EPS), steps=STEPS, neighbours=3)(recorder, clean, y).success.any()
    seen = recorder.seen[1:]  # after the clean inputs
    x, g, v = clean, torch.zeros_like(clean), torch.zeros_like(clean)
    for step in range(STEPS):
        at, *around = seen[4 * step : 4 * step + 4]
        torch.testing.assert_close(at, x, rtol=0, atol=1e-10)
        slant = slope(model, x, y)
        g = g + (slant + v) / mean_size(slant + v)
        if step < STEPS - 1:
            assert all(0.9 < (point - x).abs().max() / (1.5 * EPS) <= 1 for point in around)
            v = sum(slope(model, point, y) for point in around) / 3 - slant
        x = cut("linf", x + EPS / STEPS * g.sign(), clean)
    torch.testing.assert_close(recorder.seen[-1], x, rtol=0, atol=1e-10)


@both
def test_the_random_step(kind: str) -> None:
    model, clean, y = problem()
    recorder = Recorder(model)
    RFGSM(THREATS[kind])(recorder, clean, y)
    _, middle, last = recorder.seen
    torch.testing.assert_close(
        (middle - clean).flatten(1).norm(float("inf") if kind == "linf" else 2, dim=1),
        torch.full((3,), EPS / 2, dtype=clean.dtype),
    )
    step = EPS / 2 * unit(kind, slope(model, middle, y))
    torch.testing.assert_close(last, cut(kind, middle + step, clean), rtol=0, atol=1e-10)


def test_diversity_shrinks_pads_and_pulls_back() -> None:
    _, x, _ = problem()
    x = x.repeat(30, 1, 1, 1)
    seen = []

    def gradient(at: Tensor) -> Tensor:
        seen.append(at)
        return 2 * at  # of the sum of squares

    pulled = Diverse(0.5, 0.7).refine(gradient, Draws(0, torch.arange(len(x))))(x)
    (at,) = seen
    assert at.shape == x.shape
    same = (at == x).flatten(1).all(1)
    assert 25 < same.sum() < 65
    torch.testing.assert_close(pulled[same], 2 * x[same])
    sizes = (at[:, 0] != 0).any(2).sum(1)
    assert set(sizes[~same].tolist()) == {6, 7, 8}
    # Each pixel's share: twice its value, for every place that shows it.
    for row in range(len(x)):
        for value, share in zip(x[row].flatten(), pulled[row].flatten(), strict=True):
            assert abs(share - 2 * value * (at[row] == value).sum()) < 1e-12


def test_diversity_through_a_whole_attack() -> None:
    model, x, y = problem()
    always = DIM(Linf(EPS), steps=STEPS, refine=(Diverse(1.0, 0.7),))
    recorder = Recorder(model)
    assert Linf(EPS).contains(always(recorder, x, y).x, x).all()
    assert all((point == 0).any() for point in recorder.seen[1:-1])


@both
@pytest.mark.parametrize("attack", [BIM, DIM, MIM, NIM, RFGSM, SIM, TIM, VMIM])
@pytest.mark.parametrize("targeted", [False, True])
def test_they_break_alone_or_together(attack, kind: str, targeted: bool) -> None:
    model, x = mlp(SHAPE, sharpness=3.0), inputs(20, SHAPE)
    y = predictions(model, x)
    target = (y + 1) % 4 if targeted else None
    threat = {"linf": Linf(0.1), "l2": L2(0.8)}[kind]
    whole = attack(threat)(model, x, y, target=target)
    assert whole.success.any()
    assert threat.contains(whole.x, x).all()
    said = predictions(model, whole.x)
    assert torch.equal(whole.success, said == target if targeted else said != y)
    rows = torch.tensor([11, 4, 7])
    goal = target[rows] if targeted else None
    part = attack(threat)(model, x[rows], y[rows], target=goal, index=rows)
    torch.testing.assert_close(part.x, whole.x[rows], rtol=0, atol=1e-9)


def test_going_on_after_the_surrogate_is_fooled() -> None:
    model, x = mlp(SHAPE, sharpness=3.0), inputs(20, SHAPE)
    y = predictions(model, x)
    y[0] = (y[0] + 1) % 4
    attack = MIM(Linf(0.1))
    stopped = attack(model, x, y)
    search = attack.begin(model, x, y, None, Draws(0, torch.arange(20)))
    search.to_the_end()
    attack.search(search)
    assert not search.fooled.any()
    assert Linf(0.1).contains(search.worst, x).all()
    own = torch.nn.functional.one_hot(y, 4).bool()
    margins = [
        (z.masked_fill(own, -torch.inf).amax(1) - z[own])
        for z in (model(stopped.x), model(search.worst))
    ]
    further = margins[1] > margins[0] + 0.01
    assert stopped.success.sum() > 10
    assert further[stopped.success].all()
    assert torch.equal(search.success, predictions(model, search.worst) != y)


@pytest.mark.parametrize("attack", [DIM, TIM])
def test_images_are_needed(attack) -> None:
    model, x = mlp(), inputs(3)
    with pytest.raises(ValueError, match=r"works on images .*have shape \(3, 6\)"):
        attack(Linf(0.1))(model, x, predictions(model, x))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: MIM(Linf(0.1), steps=0), "steps is 0"),
        (lambda: MIM(Linf(0.1), step_size=0.3), "step_size is 0.3"),
        (lambda: MIM(Linf(0.1), momentum=-1.0), "momentum is -1"),
        (lambda: VMIM(Linf(0.1), neighbours=-1), "neighbours is -1"),
        (lambda: Smooth(4), "width is 4"),
        (lambda: Scaled(0), "copies is 0"),
        (lambda: Diverse(0.0), "probability is 0"),
        (lambda: Diverse(smallest=2.0), "smallest is 2"),
        (lambda: RFGSM(Linf(0.1), part=1.0), "part is 1"),
    ],
)
def test_settings_out_of_range(make, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()
