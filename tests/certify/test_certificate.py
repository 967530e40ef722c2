"""The contract: what is refused and how, and what is left alone."""

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from oracles.layers import THREATS, images, network
from oracles.networks import Branches, Function, mlp
from torch import Tensor, nn

from brolly import L0, L1, L2, Affine, BlackBox, Certificate, IntervalBounds, Linf, Masked, Threat
from brolly.certify import Unsupported, bounds
from brolly.models import LeNet, SmallCNN

PROVES = IntervalBounds().proves


def small() -> tuple[nn.Module, Tensor, Tensor]:
    model, x = network("basic-block"), images(16)
    return model, x, model(x).argmax(1)


@pytest.mark.parametrize("threat", THREATS.values(), ids=THREATS)
def test_less_is_proved_of_more(threat: Threat) -> None:
    model, x, y = small()
    before, counts = torch.ones(len(x), dtype=torch.bool), []
    for part in (0, 0.001, 0.01, 0.03, 0.1, 1.0):
        proved = PROVES(model, x, y, threat.with_eps(threat.eps * part))
        assert not (proved & ~before).any()
        before = proved
        counts.append(int(proved.sum()))
    assert counts[0] > counts[-1]


@pytest.mark.parametrize("name", ["basic-block", "first-normalize", "first-normalize-convolution"])
@pytest.mark.parametrize("kind", [Linf, L2, L1, L0])
def test_at_eps_0_the_right_ones_are_proved(name: str, kind: type[Threat]) -> None:
    model, x = network(name), images(16)
    y = model(x).argmax(1)
    y[::2] = (y[::2] + 1) % 4
    assert PROVES(model, x, y, kind(0)).tolist() == [False, True] * 8


def test_with_every_input_allowed_nothing_is_proved_unless_nothing_changes() -> None:
    model, x, y = small()
    assert not PROVES(model, x, y, Linf(float("inf"))).any()
    assert not PROVES(model, x, y, L2(float("inf"))).any()
    constant = nn.Sequential(nn.Flatten(), nn.Linear(72, 2))
    with torch.no_grad():
        constant[1].weight.zero_()
        constant[1].bias.copy_(torch.tensor([0.0, 1.0]))
    y = torch.arange(16) % 2
    assert PROVES(constant, x, y, L2(float("inf"))).tolist() == [False, True] * 8


def test_values_a_mask_protects_cannot_move_a_proof() -> None:
    """The model looks at the first column only, which may not change."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 2, bias=False))
    first = (torch.arange(6) == 0).expand(6, 6)
    with torch.no_grad():
        model[1].weight *= first.expand(2, 6, 6).reshape(72)
    x = images()
    y = model(x).argmax(1)
    for inner in (Linf(1.0), L2(5.0)):
        assert PROVES(model, x, y, Masked(inner, ~first)).all()
        assert not PROVES(model, x, y, inner).any()


@pytest.mark.parametrize("threat", [Linf(0.002), L2(0.01)], ids=str)
def test_a_verdict_does_not_depend_on_the_batch(threat: Threat) -> None:
    model, x, y = small()
    together = PROVES(model, x, y, threat)
    assert 0 < together.sum() < len(x)
    alone = [PROVES(model, x[k : k + 1], y[k : k + 1], threat).item() for k in range(len(x))]
    assert together.tolist() == alone
    assert PROVES(model, x.flip(0), y.flip(0), threat).flip(0).tolist() == alone
    wide = x.contiguous(memory_format=torch.channels_last)
    assert PROVES(model, wide, y, threat).tolist() == alone
    # In float64 the model rounds less, so no proof is lost.
    assert not (together & ~PROVES(model.double(), x.double(), y, threat)).any()


def test_no_example_at_all() -> None:
    model, x, y = small()
    assert PROVES(model, x[:0], y[:0], Linf(0.1)).shape == (0,)
    lower, upper = bounds(model, x[:0], Linf(0.1))
    assert lower.shape == upper.shape == (0, 4)


@pytest.mark.parametrize("build", [lambda: SmallCNN(2, 4, width=2, hidden=8), lambda: LeNet(2, 4)])
def test_the_model_is_left_as_it_was(build) -> None:
    model = build().train()
    model[0].eval()
    state, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    x = images()
    x_before, random = x.clone(), torch.get_rng_state()
    y = torch.zeros(len(x), dtype=torch.long)
    PROVES(model, x, y, L2(0.1))
    bounds(model, x, L2(0.1))
    assert [m.training for m in model.modules()] == modes
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])
        assert value.dtype == state[name].dtype
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(x, x_before)
    assert torch.equal(torch.get_rng_state(), random)


def test_a_model_that_writes_into_its_input_leaves_the_callers_alone() -> None:
    model = nn.Sequential(Function(lambda x: x.sub_(0.5).relu_()), nn.Flatten(), nn.Linear(72, 2))
    x = images()
    before = x.clone()
    lower, upper = bounds(model, x, Linf(0.1))
    assert torch.equal(x, before)
    logits = model(x.clone())
    assert ((lower <= logits) & (logits <= upper)).all()


def test_inference_mode() -> None:
    model, x, y = small()
    with torch.inference_mode():
        inside = PROVES(model, x.clone(), y.clone(), Linf(0.002))
    assert inside.tolist() == PROVES(model, x, y, Linf(0.002)).tolist()


def test_bounds_can_be_trained() -> None:
    """Gradients reach every parameter, and following them narrows the bounds."""
    model, x = LeNet(2, 4, width=2, hidden=8, grid=2), images()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    widths = []
    for _ in range(3):
        lower, upper = bounds(model, x, Linf(0.1))
        assert lower.dtype == torch.float32
        widths.append((upper - lower).mean())
        optimizer.zero_grad()
        widths[-1].backward()
        last = model[-1].bias  # which moves both alike
        assert all((p.grad != 0).any() for p in model.parameters() if p is not last)
        optimizer.step()
    assert widths[0] > widths[1] > widths[2]


def test_gradients_of_bounds_are_those_of_finite_differences() -> None:
    model, x = network("gelu").double(), images(2).double()
    weight = model[0].weight

    def width(values: Tensor) -> Tensor:
        lower, upper = torch.func.functional_call(
            Bounds(model), {"model.0.weight": values}, (x,)
        ).unbind(2)
        return (upper - lower).sum()

    assert torch.autograd.gradcheck(width, weight.detach().requires_grad_(), fast_mode=True)


class Bounds(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(bounds(self.model, x, Linf(0.05)), 2)


def test_an_exported_model() -> None:
    model, x, y = small()
    exported = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    proved = PROVES(model, x, y, Linf(0.002))
    assert PROVES(exported.module(), x, y, Linf(0.002)).tolist() == proved.tolist()


# What is refused ----------------------------------------------------------------------------------


def after(forward) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(72, 6), Function(forward), nn.Linear(6, 2))


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.from_numpy(2 * x.numpy())


REFUSED = {
    "unknown-layer": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 6), nn.LayerNorm(6), nn.Linear(6, 2)),
        r"do not understand layer_norm.*conv2d.*\(in 2, a LayerNorm\)",
    ),
    "softmax": (lambda: after(lambda x: F.softmax(x, 1)), "do not understand softmax"),
    "branch": (lambda: after(lambda x: x if x.mean() > 0 else -x), r"branches and loops.*\(gt|gt"),
    "loop": (lambda: after(lambda x: x * float(x.sum())), "reads out values.*__float__"),
    "item": (lambda: after(lambda x: x * x[0, 0].item()), r"item.*branches on shapes only"),
    "rows-that-branch": (lambda: Branches(72, 2), "reads out values"),
    "numpy": (lambda: after(lambda x: Doubled.apply(x)), "numpy"),
    "where": (lambda: after(lambda x: torch.where(x > 0, x, 0)), "gt"),
    "random": (lambda: after(lambda x: x + 0.1 * torch.randn(6)), "draws random numbers"),
    "random-like": (lambda: after(lambda x: x + torch.randn_like(x)), "do not understand randn"),
    "dropout-at-test-time": (lambda: after(lambda x: F.dropout(x, 0.5, True)), "draws random"),
    "attention": (lambda: after(lambda x: x @ x.T @ x), "matmul.*both depend on the input"),
    "division": (lambda: after(lambda x: x / x.abs()), "div of one tensor"),
    "batch-statistics": (
        lambda: nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten()),
        "statistics of the batch",
    ),
    "half": (lambda: after(lambda x: x.half().float()), "do not understand half"),
    "half-parameters": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 2)).bfloat16(),
        r"parameters in torch.bfloat16.*model.float\(\)",
    ),
    "autocast": (
        lambda: after(lambda x: in_autocast(torch.ones(6, 6), x)), "switches autocast on"
    ),
    "view-in-place": (
        lambda: after(lambda x: x + F.relu(x.view(-1, 6), inplace=True)),
        "shares memory with another.*inplace=True",
    ),
    "another-way": (
        lambda: after(lambda x: another_way(x)), r"goes another way.*\(item\)"
    ),
    "assignment": (lambda: after(lambda x: assigned(x)), "do not understand __setitem__"),
    "no-tensor-of-its-input": (
        lambda: after(lambda x: torch.zeros(len(x), 6)), "does not depend on its input"
    ),
    "black-box": (lambda: BlackBox(lambda x: x.numpy().mean((2, 3))), "numpy"),
    "script": (
        lambda: torch.jit.trace(nn.Sequential(nn.Flatten(), nn.Linear(72, 2)), torch.rand(1, 72)),
        "do not understand ScriptMethod",
    ),
    "negative-slope": (lambda: after(lambda x: F.elu(x, -1.0)), "alpha is -1"),
    "options": (lambda: after(lambda x: x.sum(1, dtype=torch.float64)), "dtype"),
}  # fmt: skip


def in_autocast(weight: Tensor, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return x @ weight


def another_way(x: Tensor) -> Tensor:
    try:
        return x if x.sum().item() > 0 else -x
    except ValueError:
        return 0 * x


def assigned(x: Tensor) -> Tensor:
    x[:, 0] = 0
    return x


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_understood_is_refused(name: str) -> None:
    build, message = REFUSED[name]
    model, x = build(), images(3)
    with pytest.raises(Unsupported, match=message):
        PROVES(model, x, torch.zeros(3, dtype=torch.long), Linf(0.1))
    if name != "half-parameters":
        with pytest.raises(Unsupported, match=message):
            bounds(model, x, Linf(0.1))


@dataclasses.dataclass(frozen=True)
class Anything(Linf):
    """A threat of somebody's own."""

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        return x_adv


@pytest.mark.parametrize(
    "threat", [Affine(), Anything(0.1), Masked(Anything(0.1), torch.ones(6) > 0)]
)
def test_threats_that_are_not_understood_are_refused(threat) -> None:
    model, x, y = small()
    with pytest.raises(Unsupported, match=r"not understand.*Linf"):
        PROVES(model, x, y, threat)


def test_a_double_model_that_rounds_to_float32_is_refused() -> None:
    model = after(lambda x: x.float().double()).double()
    x = images(3).double()
    with pytest.raises(Unsupported, match="converts values to float32"):
        PROVES(model, x, model(x).argmax(1), Linf(0.0))


def test_bad_arguments() -> None:
    model, x, y = small()
    with pytest.raises(ValueError, match="position 0 is out of range; the model has 4 classes"):
        PROVES(model, x, y + 4, Linf(0.1))
    with pytest.raises(ValueError, match="labels have shape"):
        PROVES(model, x, y[:3], Linf(0.1))
    with pytest.raises(ValueError, match=r"expected values inside the declared bounds"):
        PROVES(model, x * 2, y, Linf(0.1))
    with pytest.raises(ValueError, match="returned shape"):
        PROVES(nn.Flatten(0), x, y, Linf(0.1))


@dataclasses.dataclass(frozen=True)
class Watching(Certificate):
    """Writes down what it is called with."""

    seen: list

    @property
    def name(self) -> str:
        return "watching"

    def decide(self, model: nn.Module, x: Tensor, y: Tensor, threat: Threat) -> Tensor:
        self.seen.append((model.training, torch.is_grad_enabled(), y.dtype))
        return x[:, 0] > 0.5


def test_a_certificate_of_ones_own() -> None:
    watching, model = Watching([]), mlp().train()
    x = torch.tensor([[0.2] * 6, [0.8] * 6], dtype=torch.float64)
    proved = watching.proves(model, x, torch.tensor([0, 1], dtype=torch.int32), Linf(0.1))
    assert proved.tolist() == [False, True]
    assert watching.seen == [(False, False, torch.int64)]
    assert model.training
