"""The shipped models, their first layer, and loading a user's own."""

import copy
import math
import sys
import types

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from brolly import NFGSM, PGD, SGD, Dataset, IntervalBounds, Linf, Recipe, fit, load_data
from brolly.certify import Unsupported, bounds
from brolly.data import Statistics
from brolly.models import (
    LSTM,
    MLP,
    RNN,
    AffineLayer,
    AffineMLP,
    LeNet,
    NiN,
    NiNBlock,
    Normalize,
    PreActBlock,
    PreActResNet,
    ResidualBlock,
    ResNet,
    SmallCNN,
    SoftmaxRegression,
    ViT,
    WideResNet,
    are_probabilities,
    check_logits,
    load_model,
)
from brolly.recipes import build_model

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 33, 30)]

BUILDERS = {
    "softmax-regression": lambda c, h, w, **more: SoftmaxRegression(c * h * w, 7, **more),
    "mlp": lambda c, h, w, **more: MLP(c * h * w, 7, hidden=[9, 8], dropout=0.1, **more),
    "lenet": lambda c, h, w, **more: LeNet(c, 7, width=4, hidden=8, **more),
    "small-cnn": lambda c, h, w, **more: SmallCNN(c, 7, width=4, hidden=8, **more),
    "resnet": lambda c, h, w, **more: ResNet(
        c, 7, depth=8, width=4, drop_path=0.1, drop_block=0.1, block_size=2, **more
    ),
    "preact-resnet": lambda c, h, w, **more: PreActResNet(
        c, 7, blocks=(1, 2), width=4, drop_path=0.1, **more
    ),
    "wide-resnet": lambda c, h, w, **more: WideResNet(
        c, 7, depth=10, widen=1, dropout=0.1, **more
    ),
    "nin": lambda c, h, w, **more: NiN(c, 7, width=6, **more),
    "affine-mlp": lambda c, h, w, **more: AffineMLP(
        c * h * w, 7, hidden=[9, 8], dropout=0.1, dropout_kind="gaussian", **more
    ),
    "rnn": lambda c, h, w, **more: RNN((c, h, w), 7, hidden=5, layers=2, dropout=0.1, **more),
    "lstm": lambda c, h, w, **more: LSTM((c, h, w), 7, hidden=5, bidirectional=True, **more),
    "vit": lambda c, h, w, **more: ViT(
        (c, h, w), 7, patch=math.gcd(h, w, 12), width=4, depth=1, heads=2,
        dropout=0.1, drop_path=0.1, **more
    ),
}  # fmt: skip


def statistics(channels):
    return Statistics(tuple([0.3] * channels), tuple([0.2] * channels))


@pytest.fixture(params=BUILDERS)
def build(request):
    return BUILDERS[request.param]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_logits_have_a_row_for_each_input(build, shape, training):
    model = build(*shape, normalize=statistics(shape[0])).train(training)
    x = torch.rand(5, *shape)
    logits = model(x)
    assert logits.shape == (5, 7)
    assert logits.isfinite().all()
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    with torch.no_grad():
        assert model.eval()(x[:0]).shape == (0, 7)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rows_do_not_mix_in_eval_mode(build, shape):
    model = build(*shape).double().eval()
    x = torch.rand(4, *shape, dtype=torch.float64)
    torch.testing.assert_close(model(x)[2:3], model(x[2:3]), rtol=1e-10, atol=1e-10)


def test_normalisation_is_the_first_layer(build):
    shift = Statistics((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    plain, normal = build(3, 8, 8), build(3, 8, 8, normalize=shift)
    missing, unexpected = normal.load_state_dict(plain.state_dict(), strict=False)
    assert missing == ["0.mean", "0.std"]
    assert unexpected == []
    x = torch.rand(4, 3, 8, 8)
    by_hand = torch.stack([(x[:, 0] - 0.1) / 1, (x[:, 1] - 0.2) / 2, (x[:, 2] - 0.3) / 3], dim=1)
    torch.testing.assert_close(normal.eval()(x), plain.eval()(by_hand))


def test_a_copy_is_equal_and_apart(build):
    model = build(1, 8, 8, normalize=statistics(1)).eval()
    twin, x = copy.deepcopy(model), torch.rand(3, 1, 8, 8)
    before = model(x)
    assert torch.equal(twin(x), before)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    assert torch.equal(model(x), before)
    assert not torch.equal(twin(x), before)


def test_the_state_goes_round(build, tmp_path):
    model = build(1, 8, 8, normalize=statistics(1))
    model(torch.rand(6, 1, 8, 8))  # BatchNorm has something to remember
    torch.save(model.state_dict(), tmp_path / "state.pt")
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "state.st")
    x = torch.rand(3, 1, 8, 8)
    for state in (torch.load(tmp_path / "state.pt", weights_only=True),
                  load_file(tmp_path / "state.st")):  # fmt: skip
        other = build(1, 8, 8, normalize=statistics(1))
        other.load_state_dict(state)
        assert torch.equal(other.eval()(x), model.eval()(x))


def test_the_seed_draws_the_weights(build):
    torch.manual_seed(3)
    model = build(1, 8, 8)
    torch.manual_seed(3)
    twin, other = build(1, 8, 8), build(1, 8, 8)
    own = list(model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(own, twin.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(own, other.parameters(), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attacks_find_what_raises_the_loss(build, dtype):
    torch.manual_seed(0)
    model = build(1, 8, 8, normalize=statistics(1)).to(dtype)
    x = torch.rand(6, 1, 8, 8, dtype=dtype)
    y = model.eval()(x).argmax(1)
    modes = [module.training for module in model.train().modules()]
    result = PGD(Linf(0.2), steps=3)(model, x, y, generator=torch.Generator().manual_seed(0))
    assert [module.training for module in model.modules()] == modes
    model.eval()
    losses = [nn.functional.cross_entropy(model(at), y) for at in (x, result.x)]
    assert losses[1] > losses[0]
    assert result.x.dtype == dtype


def test_a_second_derivative_exists(build):
    torch.manual_seed(0)
    model = build(1, 8, 8).double()
    x = torch.rand(4, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    loss = nn.functional.cross_entropy(model(x), torch.arange(4))
    (slope,) = torch.autograd.grad(loss, x, create_graph=True)
    slope.square().sum().backward()
    reached = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.parameters()]
    assert sum(reached) >= len(reached) / 2


def test_other_weights_are_used_where_they_are_given(build):
    torch.manual_seed(0)
    model, x = build(1, 8, 8).eval(), torch.rand(3, 1, 8, 8)
    for name, parameter in model.named_parameters():
        other = {name: parameter + torch.rand_like(parameter)}
        assert not torch.equal(torch.func.functional_call(model, other, x), model(x)), name


def test_fit_trains_it(build):
    digits = load_data("digits").train
    examples = digits.scaled(digits.inputs[:200]), digits.labels[:200] % 7
    data = Dataset.from_tensors("digits modulo 7", examples, examples)
    torch.manual_seed(0)
    model = build(1, 8, 8, normalize=data.statistics)
    before = copy.deepcopy(model.state_dict())
    fit(model, data, objective=NFGSM(Linf(0.1)), epochs=1, batch_size=90, optimizer=SGD(lr=0.01))
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize("name", BUILDERS)
def test_interval_bounds_hold_or_say_that_they_cannot(name):
    torch.manual_seed(0)
    model = BUILDERS[name](1, 8, 8, normalize=statistics(1)).double().eval()
    x, threat = torch.rand(4, 1, 8, 8, dtype=torch.float64), Linf(0.01)
    if name == "vit":
        with pytest.raises(Unsupported, match="layer_norm"):
            bounds(model, x, threat)
        return
    lower, upper = bounds(model, x, threat)
    for _ in range(5):
        near = (x + 0.01 * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
        assert (lower <= model(near)).all()
        assert (model(near) <= upper).all()
    wrong = (model(x).argmax(1) + 1) % 7
    assert not IntervalBounds().proves(model, x, wrong, threat).any()


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (SoftmaxRegression(784, 10), 7_850),
        (MLP(784, 10), 784 * 256 + 256 + 256 * 256 + 256 + 2_570),
        (MLP(64, 10, hidden=[]), 650),
        (LeNet(1, 10), 3_274_634),  # Madry et al. (2018), MNIST
        (ResNet(3, 10, depth=20), 272_474),  # He et al. (2016): 0.27M; 1 x 1 shortcuts add 2,752
        (ResNet(3, 10, depth=32), 466_906),
    ],
    ids=["softmax", "mlp", "affine", "lenet", "resnet20", "resnet32"],
)
def test_parameter_counts(model, count):
    assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.parametrize(
    ("make", "count"),
    [
        # Zagoruyko & Komodakis (2016), tables 4 and 5: 0.6M, 8.9M, 11.0M, 17.2M, 36.5M
        (lambda: WideResNet(3, 10, depth=40, widen=1), 563_930),
        (lambda: WideResNet(3, 10, depth=40, widen=4), 8_949_210),
        (lambda: WideResNet(3, 10, depth=16, widen=8), 10_961_370),
        (lambda: WideResNet(3, 10, depth=22, widen=8), 17_158_106),
        (lambda: WideResNet(3, 10, depth=28, widen=10), 36_479_194),
        (lambda: PreActResNet(3, 10), 11_172_170),  # Rice et al. (2020)
        (lambda: PreActResNet(3, 10, blocks=[18] * 3, width=16), 1_730_522),  # ResNet-110: 1.7M
        (lambda: NiN(3, 10), 966_986),  # Lin et al. (2014): "less than 1M"
        (lambda: AffineMLP(784, 10), 784 * 256 + 2 * 256 + 256 * 256 + 2 * 256 + 2_570),
        # ViT-B/16, Dosovitskiy et al. (2021): 86M
        (lambda: ViT((3, 224, 224), 1000, patch=16, width=768, depth=12, heads=12), 86_567_656),
        (lambda: LSTM((1, 28, 28), 10), 4 * 128 * (28 + 128 + 1) + 1_290),
        (lambda: RNN((28, 28), 10, bidirectional=True), 2 * 128 * (28 + 128 + 1) + 2_570),
    ],
)  # fmt: skip
def test_parameter_counts_of_large_networks(make, count):
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in make().parameters()) == count


def sizes_that_are_none():
    shape = (1, 8, 8)
    return [
        (lambda: AffineMLP(0, 7), "features is 0; expected 1 or more"),
        (lambda: AffineMLP(4, 7, hidden=[3, 0]), "hidden is 0; expected 1 or more"),
        (lambda: AffineLayer(4, 0), "out_features is 0"),
        (lambda: NiN(1, 7, width=1), "width is 1; expected 2 or more"),
        (lambda: NiN(0, 7), "in_channels is 0"),
        (lambda: NiNBlock(1, ()), r"channels is empty; expected one width per convolution"),
        (lambda: NiNBlock(1, (4, 0)), "channels is 0"),
        (lambda: PreActResNet(1, 0), "classes is 0"),
        (lambda: PreActResNet(1, 7, blocks=()), "blocks is empty; expected a number per stage"),
        (lambda: PreActResNet(1, 7, blocks=(1, 0)), "blocks is 0"),
        (lambda: PreActBlock(1, 0), "channels is 0"),
        (lambda: ResidualBlock(1, 4, stride=0), "stride is 0"),
        (lambda: WideResNet(1, 7, depth=20), r"depth is 20; expected 6 n \+ 4: 10, 16, 22"),
        (lambda: WideResNet(1, 7, depth=4), "depth is 4"),
        (lambda: WideResNet(1, 7, widen=0), "widen is 0"),
        (lambda: RNN((8,), 7), r"shape is \(8,\); expected \(length, features\)"),
        (lambda: LSTM((8, 0), 7), "shape is 0"),
        (lambda: LSTM(shape, 7, layers=0), "layers is 0"),
        (lambda: ViT(shape, 7, patch=3), r"\(1, 8, 8\); .* multiples of patch, which is 3"),
        (lambda: ViT((8, 8), 7), r"shape is \(8, 8\); expected \(channels, height, width\)"),
        (lambda: ViT(shape, 7, width=6), "width is 6; expected a multiple of heads, which is 4"),
        (lambda: ViT(shape, 7, hidden=0), "hidden is 0"),
        (lambda: ViT(shape, 7)(torch.rand(2, 1, 8, 4)), r"images are \(1, 8, 4\); expected"),
    ]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), sizes_that_are_none())
def test_sizes_that_are_none(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_recipes_build_each_by_its_name():
    data = load_data("digits")
    for name in BUILDERS:
        text = {"name": "r", "data": {"name": "digits"}, "model": {"name": name},
                "threat": "linf:0.1", "objective": {"name": "plain"}}  # fmt: skip
        model = build_model(Recipe.model_validate(text), data)
        assert model.eval()(data.train.scaled(data.train.inputs[:2])).shape == (2, 10), name


def test_depth_counts_the_layers_with_weights():
    for depth in (8, 14, 20):
        layers = [
            module
            for name, module in ResNet(3, 10, depth=depth).named_modules()
            if isinstance(module, nn.Conv2d | nn.Linear) and "shortcut" not in name
        ]
        assert len(layers) == depth


@pytest.mark.parametrize("depth", [2, 7, 18, 21, -4])
def test_a_depth_that_is_none(depth):
    with pytest.raises(ValueError, match=rf"depth is {depth}; expected 6 n \+ 2"):
        ResNet(3, 10, depth=depth)


def test_dropout_is_there_when_asked_for():
    dropped = [m for m in MLP(4, 2, dropout=0.5).modules() if isinstance(m, nn.Dropout)]
    assert [module.p for module in dropped] == [0.5, 0.5]
    assert not any(isinstance(m, nn.Dropout) for m in MLP(4, 2).modules())


@pytest.mark.parametrize("shape", [(5, 2), (5, 2, 4), (5, 2, 4, 3), (5, 2, 1, 4, 3)])
def test_normalize_works_on_axis_one_of_any_input(shape):
    x = torch.rand(shape)
    out = Normalize([0.25, 0.5], [0.5, 2.0])(x)
    torch.testing.assert_close(out[:, 0], (x[:, 0] - 0.25) / 0.5)
    torch.testing.assert_close(out[:, 1], (x[:, 1] - 0.5) / 2)


def test_normalize_takes_one_number_for_flat_inputs():
    x = torch.rand(5, 6)
    torch.testing.assert_close(Normalize([0.5], [0.1])(x), (x - 0.5) / 0.1)


@pytest.mark.parametrize(("mean", "std"), [([0.5], [0.0]), ([0.5], [-1.0]), ([0.1, 0.2], [1.0])])
def test_what_normalize_refuses(mean, std):
    with pytest.raises(ValueError, match="do not fit; expected one number per channel"):
        Normalize(mean, std)


@pytest.fixture
def user_module(monkeypatch, tmp_path):
    """A module `usernets` in the current folder."""
    (tmp_path / "usernets.py").write_text(
        "from torch import nn\n"
        "ready = nn.Linear(2, 3)\n"
        "def build():\n    return nn.Linear(4, 5)\n"
        "def number():\n    return 3\n"
        "def broken():\n    raise KeyError('oh')\n"
        "def needy(width):\n    return nn.Linear(width, 2)\n"
    )
    (tmp_path / "brokennets.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("usernets", None)


def test_load_model_calls_a_factory_from_the_current_folder(user_module):
    model = load_model("usernets:build")
    assert isinstance(model, nn.Linear)
    assert (model.in_features, model.out_features) == (4, 5)
    assert load_model("usernets:build") is not model
    assert load_model("usernets:ready") is load_model("usernets:ready")
    assert isinstance(load_model("torch.nn:Identity"), nn.Identity)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("usernets", r"names no model; expected package\.module:factory"),
        ("usernets:", "names no model"),
        (":build", "names no model"),
        ("nosuchnets:build", "failed with ModuleNotFoundError"),
        ("usernets:nothing", "failed with AttributeError"),
        ("usernets:number", r"returned a int; expected a torch\.nn\.Module"),
        ("usernets:broken", "usernets:broken failed with KeyError: 'oh'"),
        ("usernets:needy", "failed with TypeError"),
        ("brokennets:build", "failed with ZeroDivisionError"),
    ],
)
def test_what_load_model_refuses(user_module, reference, message):
    with pytest.raises(ValueError, match=message):
        load_model(reference)


@pytest.mark.parametrize(
    "output",
    [torch.zeros(4, 1), torch.zeros(3, 5), torch.zeros(4), torch.zeros(4, 5, 1, 1), (1,), None,
     types.SimpleNamespace(logits=torch.zeros(4, 5))],
    ids=["one-class", "other-batch", "flat", "maps", "tuple", "none", "record"],
)  # fmt: skip
def test_what_is_no_logits(output):
    with pytest.raises(ValueError, match="the model returned"):
        check_logits(output, 4)
    check_logits(torch.zeros(4, 2), 4)


def test_probabilities_are_told_from_logits():
    logits = torch.randn(6, 4)
    assert are_probabilities(logits.softmax(1))
    assert not are_probabilities(logits)
    assert not are_probabilities(logits.softmax(1) * 1.1)
    assert not are_probabilities(logits[:0])
