"""What every attack owes, for all attacks and threats."""

import copy
import math
import random

import jaxtyping
import numpy as np
import pytest
import torch
from oracles.networks import Branches, Function, Recorder, inputs, mlp, predictions, seeded
from torch import nn

from brolly import (
    APGD,
    DDN,
    EAD,
    FAB,
    FGSM,
    FMN,
    L0,
    L1,
    L2,
    NES,
    NIM,
    PGD,
    RFGSM,
    SPSA,
    VMIM,
    APGDTargeted,
    BoundaryAttack,
    BrendelBethge,
    CarliniWagner,
    DeepFool,
    FABTargeted,
    HopSkipJump,
    Linf,
    OnePixel,
    SigmaZero,
    Square,
)
from brolly.losses import margin

THREATS = {
    "linf": Linf(0.06),
    "l2": L2(0.12),
    "l1": L1(0.2),
    "l0": L0(1),
    "linf-255": Linf(15.0, (0.0, 255.0)),
    "l2-symmetric": L2(0.3, (-1.0, 1.0)),
}
ATTACKS = {
    "fgsm": (FGSM, {}),
    "pgd": (PGD, {"steps": 5}),
    "pgd-from-clean": (PGD, {"steps": 5, "random_start": False}),
    "mim": (PGD, {"steps": 5, "momentum": 1.0}),
    "pgd-restarts": (PGD, {"steps": 3, "restarts": 3}),
    "apgd-ce": (APGD, {"steps": 6}),
    "apgd-dlr": (APGD, {"loss": "dlr", "steps": 6, "restarts": 2}),
    "apgd-t": (APGDTargeted, {"steps": 4, "targets": 3}),
    "ddn": (DDN, {"steps": 10, "norm": 0.1}),
    "fab": (FAB, {"steps": 6}),
    "fab-t": (FABTargeted, {"steps": 6, "targets": 3}),
    "fab-t-first": (FABTargeted, {"steps": 6, "nearest": False}),
    "square": (Square, {"queries": 40}),
    "rfgsm": (RFGSM, {}),
    "nim": (NIM, {"steps": 5}),
    "vmim": (VMIM, {"steps": 4}),
    "deepfool": (DeepFool, {"steps": 10}),
    "fmn": (FMN, {"steps": 20}),
    "cw": (CarliniWagner, {"steps": 40, "rounds": 4, "c": 0.1}),
    "ead": (EAD, {"steps": 40, "rounds": 9, "c": 10.0}),
    "sigma-zero": (SigmaZero, {"steps": 30}),
    "brendel-bethge": (BrendelBethge, {"steps": 20}),
    "nes": (NES, {"queries": 120, "samples": 10, "step": 0.5}),
    "spsa": (SPSA, {"queries": 120, "samples": 8, "step": 0.3}),
    "one-pixel": (OnePixel, {"queries": 60, "population": 10}),
    "hop-skip-jump": (HopSkipJump, {"queries": 200, "samples": 20}),
    "boundary": (BoundaryAttack, {"queries": 100}),
}
RANDOM = [
    "pgd", "mim", "pgd-restarts", "apgd-ce", "apgd-dlr", "apgd-t", "square", "rfgsm", "vmim", "nes",
    "spsa", "one-pixel", "hop-skip-jump", "boundary",
]  # fmt: skip
PAIRS = [
    (name, key)
    for name, (kind, _) in ATTACKS.items()
    for key, threat in THREATS.items()
    if threat.kind in kind.kinds
]


def make(name: str, threat):
    kind, options = ATTACKS[name]
    return kind(threat, **options)


def home(name: str, key: str = "linf"):
    """A threat that the attack searches: the one asked for, if it does."""
    kinds = ATTACKS[name][0].kinds
    return THREATS[key if key in kinds else kinds[0]]


def within(name: str, eps: float, key: str = "linf"):
    """The same with another radius, or with none where the attack needs none."""
    threat = home(name, key)
    if threat.kind == "l0":
        eps = 3  # values, which is one pixel in colour
    return threat.with_eps(math.inf if ATTACKS[name][0].unlimited else eps)


all_attacks = pytest.mark.parametrize("name", ATTACKS)
all_threats = pytest.mark.parametrize(
    ("name", "threat"),
    [(name, THREATS[key]) for name, key in PAIRS],
    ids=[f"{name}-{key}" for name, key in PAIRS],
)
with_and_without_target = pytest.mark.parametrize("targeted", [False, True])


def seed(value: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(value)


def problem(threat=THREATS["linf"], *, shape=(6,), classes=4, count=24):
    """A model, inputs, labels and targets; every sixth example is where both goals want it."""
    bounds = threat.bounds
    network = mlp(shape, classes)
    to_unit = Function(lambda x: (x - bounds[0]) / (bounds[1] - bounds[0]))
    model = nn.Sequential(to_unit, network).eval()
    x = inputs(count, shape, bounds)
    said = predictions(model, x)
    y = said.clone()
    y[::6] = (y[::6] + 1) % classes
    target = (y + 1 + torch.arange(count) % (classes - 1)) % classes
    target[::6] = said[::6]
    return model, x, y, target


def closeness(model, x, y, target=None):
    with torch.no_grad():
        z = model(x)
    return margin(z, y) if target is None else -margin(z, target)


@with_and_without_target
@all_threats
def test_results_are_what_they_say(name: str, threat, targeted: bool) -> None:
    """Inside the threat, never worse than the start, and success is what the model does."""
    model, x, y, target = problem(threat)
    target = target if targeted else None
    before = x.clone(), y.clone()
    result = make(name, threat)(model, x, y, target=target, generator=seed())

    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])
    assert result.x.shape == x.shape
    assert result.x.dtype == x.dtype
    assert not result.x.requires_grad
    assert threat.contains(result.x, x).all()
    assert threat.bounds[0] <= result.x.min()
    assert result.x.max() <= threat.bounds[1]

    said = predictions(model, result.x)
    assert torch.equal(result.success, said == target if targeted else said != y)
    assert result.success.any()
    assert threat.kind == "l0" or not result.success.all()  # one value of six, by any amount
    clean, found = closeness(model, x, y, target), closeness(model, result.x, y, target)
    assert (found >= clean - 1e-12).all()
    # What an attack finds beyond eps, on its way to the nearest input, counts for nothing.
    least = 0 if ATTACKS[name][0].unlimited else len(x) / 2
    assert (found > clean).sum() > least

    expected = torch.linalg.vector_norm(result.x - x, threat.order, dim=1)
    torch.testing.assert_close(result.distance, expected)
    there = clean > 0
    assert there.any()
    assert result.success[there].all()
    assert (result.distance[there] == 0).all()
    assert torch.equal(result.distance > 0, found > clean)


@with_and_without_target
@all_threats
def test_batch_mates_do_not_matter(name: str, threat, targeted: bool) -> None:
    model, x, y, target = problem(threat)
    attack, index = make(name, threat), torch.arange(100, 124)

    def run(rows: torch.Tensor):
        goal = target[rows] if targeted else None
        return attack(model, x[rows], y[rows], target=goal, generator=seed(), index=index[rows])

    whole = run(torch.arange(24))
    permuted = torch.randperm(24, generator=seed())
    for rows in (permuted, permuted[:7], torch.tensor([5]), torch.tensor([3, 3])):
        part = run(rows)
        assert torch.equal(part.success, whole.success[rows])
        torch.testing.assert_close(part.x, whole.x[rows], rtol=0, atol=1e-5 * threat.eps)
        torch.testing.assert_close(part.distance, whole.distance[rows])
    parts = [run(rows) for rows in torch.arange(24).split(10)]
    assert sum(part.cost.forwards for part in parts) == whole.cost.forwards
    assert sum(part.cost.backwards for part in parts) == whole.cost.backwards


@all_attacks
def test_the_generator_decides(name: str) -> None:
    model, x, y, _ = problem()
    attack = make(name, home(name))
    first, again = (attack(model, x, y, generator=seed(1)) for _ in range(2))
    assert torch.equal(first.x, again.x)
    other = attack(model, x, y, generator=seed(2))
    elsewhere = attack(model, x, y, generator=seed(1), index=torch.arange(24) + 1)
    assert torch.equal(first.x, other.x) == (name not in RANDOM)
    assert torch.equal(first.x, elsewhere.x) == (name not in RANDOM)
    assert torch.equal(attack(model, x, y).x, attack(model, x, y).x)


@all_attacks
def test_a_generator_gives_new_numbers_each_time(name: str) -> None:
    model, x, y, _ = problem()
    attack, generator = make(name, home(name)), seed(1)
    first, second = (attack(model, x, y, generator=generator) for _ in range(2))
    assert torch.equal(first.x, second.x) == (name not in RANDOM)


@all_threats
def test_no_examples(name: str, threat) -> None:
    model, x, y, target = problem(threat)
    for goal in (None, target[:0]):
        result = make(name, threat)(model, x[:0], y[:0], target=goal)
        assert result.x.shape == (0, 6)
        assert result.success.shape == result.distance.shape == (0,)
        assert result.success.dtype == torch.bool
        assert result.cost.forwards == result.cost.backwards == 0


@all_threats
def test_a_ball_without_volume(name: str, threat) -> None:
    model, x, y, _ = problem(threat)
    result = make(name, threat.with_eps(0.0))(model, x, y)
    assert torch.equal(result.x, x)
    assert torch.equal(result.success, predictions(model, x) != y)


@with_and_without_target
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("shape", [(5,), (3, 4, 4), (7, 3)], ids=["vectors", "images", "sequences"])
@all_attacks
def test_shapes_and_classes(name: str, shape, classes: int, targeted: bool) -> None:
    model, x, y, target = problem(shape=shape, classes=classes, count=8)
    threat = within(name, 0.06)
    goal = target if targeted else None
    result = make(name, threat)(model, x, y, target=goal)
    assert result.x.shape == x.shape
    assert threat.contains(result.x, x).all()
    assert (closeness(model, result.x, y, goal) >= closeness(model, x, y, goal) - 1e-12).all()


@all_threats
def test_single_precision(name: str, threat) -> None:
    model, x, y, _ = problem(threat)
    result = make(name, threat)(copy.deepcopy(model).float(), x.float(), y)
    assert result.x.dtype == torch.float32
    assert threat.contains(result.x, x.float()).all()
    assert result.success.sum() > 0


@pytest.mark.parametrize("kind", ["linf", "l2"])
@all_attacks
def test_memory_format_does_not_matter(name: str, kind: str) -> None:
    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(8, 4)
        )

    model, x = seeded(build), inputs(8, (3, 5, 5))
    y = predictions(model, x)
    attack = make(name, home(name, kind) if home(name, kind).kind == kind else within(name, 0.06))
    plain = attack(model, x, y)
    last = attack(
        copy.deepcopy(model).to(memory_format=torch.channels_last),
        x.to(memory_format=torch.channels_last),
        y,
    )
    torch.testing.assert_close(last.x.contiguous(), plain.x, rtol=0, atol=1e-7)


@pytest.mark.parametrize("integer", [torch.uint8, torch.int16, torch.int32])
@pytest.mark.parametrize("name", ["pgd", "apgd-dlr", "apgd-t"])
def test_integer_types_of_labels_do_not_matter(name: str, integer: torch.dtype) -> None:
    model, x, y, target = problem()
    attack = make(name, home(name))
    for goal in (None, target):
        wide = attack(model, x, y, target=goal)
        narrow = attack(
            model,
            x,
            y.to(integer),
            target=None if goal is None else goal.to(integer),
            index=torch.arange(24, dtype=torch.int32),
        )
        assert torch.equal(narrow.x, wide.x)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@with_and_without_target
@all_attacks
def test_grad_modes_do_not_matter(name: str, targeted: bool, context) -> None:
    model, x, y, target = problem()
    attack = make(name, home(name, "l2"))
    expected = attack(model, x, y, target=target if targeted else None, generator=seed())
    with context():
        made_inside = x.clone(), y.clone(), target.clone()
        result = attack(
            model,
            *made_inside[:2],
            target=made_inside[2] if targeted else None,
            generator=seed(),
        )
        assert torch.is_grad_enabled() == (context is torch.enable_grad)
    assert torch.equal(result.x, expected.x)
    assert not result.x.is_inference()


@all_attacks
def test_inputs_that_require_a_gradient(name: str) -> None:
    model, x, y, _ = problem()
    attack = make(name, home(name))
    expected = attack(model, x, y)
    leaf = x.clone().requires_grad_()
    result = attack(model, leaf * 1.0, y)
    assert torch.equal(result.x, expected.x)
    assert not result.x.requires_grad
    assert leaf.grad is None


# Models that ask for care


def custom_models() -> dict[str, nn.Module]:
    def norms() -> nn.Module:
        norm = nn.BatchNorm1d(8)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        return nn.Sequential(nn.Linear(6, 8), norm, nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 4))

    def frozen_norm() -> nn.Module:
        model = norms()
        model[1].requires_grad_(False)
        return model

    class Heads(nn.Module):
        """Two paths that meet, one of them without parameters, and a head that is not used."""

        def __init__(self) -> None:
            super().__init__()
            self.left, self.unused = nn.Linear(6, 4), nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 5 * self.left(x) + x[:, :4].sin() * x[:, 2:].cos()

    return {
        "branches": seeded(lambda: Branches(6, 4)),
        "heads": seeded(Heads),
        "norm": seeded(norms),
        "frozen-norm": seeded(frozen_norm),
        "attention": seeded(
            lambda: nn.Sequential(
                nn.Unflatten(1, (3, 2)),
                nn.TransformerEncoderLayer(2, 1, 4, dropout=0.2, batch_first=True),
                nn.Flatten(),
                nn.Linear(6, 4),
            )
        ),
    }


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("architecture", custom_models())
@all_attacks
def test_models_of_all_kinds(name: str, architecture: str, training: bool) -> None:
    """Given in training mode or not, a model is attacked in eval mode."""
    model = custom_models()[architecture]
    x, threat = inputs(8), within(name, 0.2)
    y = predictions(model, x)
    expected = make(name, threat)(model, x, y)
    assert expected.success.any() or expected.distance.gt(0).all()
    result = make(name, threat)(model.train(training), x, y)
    assert model.training == training
    assert torch.equal(result.x, expected.x)
    assert torch.equal(result.success, predictions(model.eval(), result.x) != y)


@all_attacks
def test_frozen_parameters(name: str) -> None:
    model, x, y, _ = problem()
    expected = make(name, home(name))(model, x, y)
    frozen = copy.deepcopy(model).requires_grad_(False)
    assert torch.equal(make(name, home(name))(frozen, x, y).x, expected.x)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


@with_and_without_target
@pytest.mark.parametrize("kind", ["linf", "l2"])
@all_attacks
def test_nan_logits_count_as_success(name: str, kind: str, targeted: bool) -> None:
    """NaN on the clean input of row 0, and for row 1 as soon as the input moves."""
    x = torch.full((3, 4), 0.5, dtype=torch.float64)
    x[0] = 0.4
    z = torch.tensor([9.0, 0, 0, 0], dtype=torch.float64)

    def logits(inputs: torch.Tensor) -> torch.Tensor:
        near = (inputs - 0.4).abs().amax(1, keepdim=True) < 1e-9
        moved = (inputs - 0.5).abs().amax(1, keepdim=True) > 1e-9
        return torch.where(near | moved, torch.nan, z + inputs)

    y, target = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 3]) if targeted else None
    result = make(name, within(name, 0.06, kind))(Function(logits), x, y, target=target)
    assert result.success.tolist() == [True, True, True]
    assert result.distance[0] == 0
    assert result.distance[1] > 0
    assert result.x.isfinite().all()


@with_and_without_target
@pytest.mark.parametrize("kind", ["linf", "l2"])
@all_attacks
def test_logits_without_a_slope(name: str, kind: str, targeted: bool) -> None:
    """Constant logits: nothing to climb, nothing to crash on."""
    model = Function(lambda x: 0 * x[:, :4] + torch.tensor([1.0, 1.0, 0.0, 0.0]).to(x))
    x, y = inputs(3), torch.tensor([0, 1, 2])
    target = torch.tensor([1, 0, 3]) if targeted else None
    result = make(name, home(name, kind))(model, x, y, target=target)
    # argmax takes the first of equal logits
    assert result.success.tolist() == ([False, True, False] if targeted else [False, True, True])
    assert home(name, kind).contains(result.x, x).all()


@pytest.mark.parametrize("kind", ["linf", "l2"])
@pytest.mark.parametrize("name", ["apgd-dlr", "apgd-t"])
def test_large_logits_do_not_hide_gradients_from_dlr(name: str, kind: str) -> None:
    """At 1000 times the logits cross-entropy saturates, and DLR finds what it found before."""
    model, x, y, _ = problem()
    single = copy.deepcopy(model).float()
    loud = nn.Sequential(single, Function(lambda z: 1e3 * z))
    attack = make(name, home(name, kind))
    expected, result = attack(single, x.float(), y), attack(loud, x.float(), y)
    assert torch.equal(result.success, expected.success)
    clean = predictions(single, x.float()) != y
    assert result.success.sum() > clean.sum()


class Noisy(nn.Module):
    """Draws from the global generator in eval mode too."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x + 0.02 * torch.randn_like(x))


@all_attacks
def test_randomised_models_are_repeatable(name: str) -> None:
    model, x, y, _ = problem()
    noisy, attack = Noisy(model), make(name, home(name))
    torch.manual_seed(0)
    first = attack(noisy, x, y, generator=seed(4))
    torch.manual_seed(1)
    torch.rand(3)
    state = torch.get_rng_state()
    second = attack(noisy, x, y, generator=seed(4))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.x, second.x)
    assert not torch.equal(attack(noisy, x, y, generator=seed(5)).x, first.x)


# The model and the world are left as they were


class Fails(nn.Module):
    """Changes a buffer and replaces another at each call, and raises at one of them."""

    def __init__(self, model: nn.Module, calls: int) -> None:
        super().__init__()
        self.model, self.calls = model, calls
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count += 1
        self.seen = x.detach().clone()
        torch.rand(1)
        if self.count == self.calls:
            raise RuntimeError("out of order")
        return self.model(x)


def norms_and_dropout() -> nn.Module:
    model = seeded(
        lambda: nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 4)
        )
    )
    model.train()
    model[1].eval()
    model[4].requires_grad_(False)
    model[0].weight.grad = torch.ones_like(model[0].weight)
    return model


@pytest.mark.parametrize("calls", [None, 1, 2])
@all_attacks
def test_nothing_is_left_behind(name: str, calls: int | None, monkeypatch) -> None:
    # beartype checks samples that it draws from Python's own generator.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    inner = norms_and_dropout()
    x = inputs(5)
    y = predictions(copy.deepcopy(inner).eval(), x)
    model = Fails(inner, calls or 0)
    modes = [module.training for module in model.modules()]
    assert len(set(modes)) == 2
    buffers = {key: (buffer, buffer.clone()) for key, buffer in model.named_buffers()}
    versions = [buffer._version for buffer in inner.buffers()]
    values = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
    wanted = {key: parameter.requires_grad for key, parameter in model.named_parameters()}
    gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
    world = torch.get_rng_state(), random.getstate(), repr(np.random.get_state())  # noqa: NPY002

    attack = make(name, home(name) if home(name).kind == "l0" else home(name).with_eps(1e-4))
    if calls is None:
        attack(model, x, y)
    else:
        with pytest.raises(RuntimeError, match="out of order"):
            attack(model, x, y)

    assert [module.training for module in model.modules()] == modes
    assert dict(model.named_buffers()).keys() == buffers.keys()
    for key, buffer in model.named_buffers():
        assert buffer is buffers[key][0]
        assert torch.equal(buffer, buffers[key][1])
    assert [buffer._version for buffer in inner.buffers()] == versions
    for key, parameter in model.named_parameters():
        assert torch.equal(parameter, values[key])
        assert parameter.requires_grad == wanted[key]
        assert parameter.grad is gradients[key]
    assert (inner[0].weight.grad == 1).all()
    assert torch.equal(torch.get_rng_state(), world[0])
    assert random.getstate() == world[1]
    assert repr(np.random.get_state()) == world[2]  # noqa: NPY002


@pytest.mark.parametrize("training", [False, True])
def test_a_graph_made_before_the_attack_can_be_walked_after(training: bool) -> None:
    """BatchNorm keeps its statistics for the backward pass: restoring them must not spoil it."""
    model = norms_and_dropout().train(training)
    x, y = inputs(5), torch.zeros(5, dtype=torch.long)
    loss = model(x).sum()
    PGD(Linf(0.1), steps=2)(model, x, y)
    loss.backward()
    assert model[1].weight.grad is not None


def test_generators_of_other_devices_are_not_seeded(monkeypatch) -> None:
    model, x, y, _ = problem()
    for device in (torch.cuda, torch.mps, torch.xpu):
        for function in ("manual_seed", "manual_seed_all"):
            if hasattr(device, function):
                monkeypatch.setattr(device, function, lambda _: pytest.fail("seeded"))
    PGD(Linf(0.1))(model, x, y)


def test_a_model_may_be_watched_in_eval_mode_only() -> None:
    class Watch(Recorder):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert not any(module.training for module in self.modules())
            return super().forward(x)

    model, x, y, _ = problem()
    watch = Watch(model).train()
    PGD(Linf(0.01), steps=3)(watch, x, y)
    assert len(watch.seen) == 5
    assert all(module.training for module in watch.modules())


def test_more_restarts_break_no_fewer() -> None:
    model, x, y, _ = problem(count=200)
    one, many = (PGD(Linf(0.05), steps=2, restarts=n)(model, x, y).success for n in (1, 12))
    assert (many | ~one).all()
    assert many.sum() > one.sum()
