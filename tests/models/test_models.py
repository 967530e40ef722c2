"""The shipped models, their first layer, and loading a user's own."""

import copy
import sys
import types

import pytest
import torch
from torch import nn

from brolly.data import Statistics
from brolly.models import (
    MLP,
    LeNet,
    Normalize,
    ResNet,
    SmallCNN,
    SoftmaxRegression,
    are_probabilities,
    check_logits,
    load_model,
)

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 33, 29)]

BUILDERS = {
    "softmax-regression": lambda c, h, w, **more: SoftmaxRegression(c * h * w, 7, **more),
    "mlp": lambda c, h, w, **more: MLP(c * h * w, 7, hidden=[9, 8], dropout=0.1, **more),
    "lenet": lambda c, h, w, **more: LeNet(c, 7, width=4, hidden=8, **more),
    "small-cnn": lambda c, h, w, **more: SmallCNN(c, 7, width=4, hidden=8, **more),
    "resnet": lambda c, h, w, **more: ResNet(c, 7, depth=8, width=4, **more),
}


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
    other = build(1, 8, 8, normalize=statistics(1))
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(other.eval()(x), model.eval()(x))


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
    ids=["softmax", "mlp", "affine-mlp", "lenet", "resnet20", "resnet32"],
)
def test_parameter_counts(model, count):
    assert sum(parameter.numel() for parameter in model.parameters()) == count


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
