"""Other weights, the same function: every shipped net, all kinds of layers, and refusals."""

import copy

import pytest
import torch
from oracles.networks import Branches, Function
from torch import nn
from torch.nn.utils import parametrizations

from brolly import PGD, Linf, models
from brolly.weights import GaussianNoise, detach, obfuscate

SHIPPED = {
    "mlp": (lambda: models.MLP(12, 5, hidden=[8, 7], dropout=0.5), (12,), 3),
    "affine-mlp": (lambda: models.AffineMLP(12, 5, hidden=[8, 7]), (12,), 5),
    "lenet": (lambda: models.LeNet(1, 5, width=3, hidden=8, grid=2), (1, 12, 12), 4),
    "lenet-grid": (lambda: models.LeNet(1, 5, width=3, hidden=8, grid=2), (1, 8, 8), 4),
    "small-cnn": (lambda: models.SmallCNN(2, 5, width=2, hidden=6, grid=2), (2, 12, 12), 7),
    "nin": (lambda: models.NiN(1, 5, width=6), (1, 12, 12), 9),
    "resnet": (lambda: models.ResNet(3, 5, depth=8, width=4), (3, 8, 8), 10),
    "preact-resnet": (lambda: models.PreActResNet(3, 5, blocks=(1, 1), width=4), (3, 8, 8), 10),
    "wide-resnet": (lambda: models.WideResNet(3, 5, depth=10, widen=1), (3, 8, 8), 14),
    "dual": (lambda: models.PreActResNet(1, 5, blocks=(1,), width=4, dual=True), (1, 4, 4), 7),
    "of-the-batch": (
        lambda: models.PreActResNet(1, 5, blocks=(1,), width=4, track_running_stats=False),
        (1, 4, 4), 7,
    ),
    "vit": (lambda: models.ViT((1, 4, 4), 5, patch=2, width=6, depth=1, heads=2), (1, 4, 4), 12),
    "rnn": (lambda: models.RNN((4, 3), 5, hidden=6, layers=2), (4, 3), 5),
    "rnn-both-ways": (lambda: models.RNN((3, 3), 5, hidden=4, bidirectional=True), (3, 3), 5),
    "lstm": (lambda: models.LSTM((3, 3), 5, hidden=4), (3, 3), 3),
    "lstm-image": (lambda: models.LSTM((1, 2, 3), 5, hidden=4, bidirectional=True), (1, 2, 3), 5),
}  # fmt: skip


def lived(build, seed: int = 0) -> nn.Module:
    """In float64, with weights and statistics of which none is 0 or 1."""
    torch.manual_seed(seed)
    model = build().double()
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            fan = parameter[0].numel() if parameter.ndim > 1 else 4
            nn.init.normal_(parameter, std=fan**-0.5)
        if getattr(module, "running_mean", None) is not None:
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 2)
    return model


def rewritten(model: nn.Module, shape: tuple[int, ...], seed: int = 0):
    """The obfuscated copy, compared on other inputs than it was made with."""
    result = obfuscate(model, torch.Generator().manual_seed(seed), inputs=shape)
    x = torch.rand(5, *shape, dtype=torch.float64)
    expected = copy.deepcopy(model).eval()(x)
    torch.testing.assert_close(result.model(x), expected, rtol=1e-9, atol=1e-9)
    assert result.difference < 1e-9
    return result


@pytest.mark.parametrize(("build", "shape", "layers"), SHIPPED.values(), ids=SHIPPED)
def test_shipped_nets_compute_the_same(build, shape, layers: int) -> None:
    model = lived(build).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = rewritten(model, shape)
    assert len(result.changed) == layers
    after = result.model.state_dict()
    for name in result.changed:
        assert any(
            not torch.equal(before.get(key, torch.zeros(())), after[key])
            for key in after
            if key.rpartition(".")[0] == name
        )
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert not any(module.training for module in result.model.modules())
    assert not any(parameter.requires_grad for parameter in result.model.parameters())
    x = torch.rand(5, *shape)
    expected, found = (net.eval().float()(x) for net in (model, result.model))
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max().clamp_min(1)


class Residual(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x):
        return x + self.body(x)


class Twice(nn.Module):
    """Uses one layer two times, and a ReLU as a function."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        hidden = torch.relu(self.first(x))
        for _ in range(2):
            hidden = hidden.clone().relu_() + torch.relu(self.again(hidden))
        return self.last(hidden)


BETWEEN = {
    "relu": (nn.ReLU(), "rescale"),
    "leaky": (nn.LeakyReLU(0.3), "rescale"),
    "prelu": (nn.PReLU(), "rescale"),
    "prelu-each": (nn.PReLU(6), "rescale"),
    "batchnorm": (nn.Sequential(nn.ReLU(), nn.BatchNorm1d(6), nn.ReLU()), "rescale"),
    "batchnorm-bare": (nn.Sequential(nn.ReLU(), nn.BatchNorm1d(6, affine=False)), "rescale"),
    "tanh": (nn.Tanh(), "permute"),
    "gelu": (nn.GELU(), "permute"),
    "layernorm": (nn.LayerNorm(6), "permute"),
    "shifted": (Function(lambda h: 2 * (h + 1)), "permute"),
    "nothing": (nn.Identity(), "rotate"),
    "linear": (nn.Sequential(nn.Dropout(0.5), Function(lambda h: h / 3)), "rotate"),
    "residual": (Residual(nn.Linear(6, 6)), "rotate"),
    "residual-relu": (Residual(nn.Sequential(nn.Linear(6, 6), nn.ReLU())), "rescale"),
}


@pytest.mark.parametrize(("between", "kind"), BETWEEN.values(), ids=BETWEEN)
def test_units_are_changed_as_far_as_what_lies_between_allows(between, kind: str) -> None:
    first, last = nn.Linear(4, 6), nn.Linear(6, 3)
    model = lived(lambda: nn.Sequential(first, copy.deepcopy(between), last))
    result = rewritten(model, (4,))
    old, new = first.weight.detach(), result.model[0].weight
    # Rows that are those of the model, up to order and scale; or none, in another basis.
    alike = torch.cosine_similarity(new.unsqueeze(1), old.unsqueeze(0), dim=2) > 1 - 1e-9
    lengths = new.norm(dim=1).sort().values - old.norm(dim=1).sort().values
    if kind == "rotate":
        assert not alike.any()
        torch.testing.assert_close(new.T @ new, old.T @ old)
    else:
        assert (alike.sum(0) == 1).all()
        assert (alike.sum(1) == 1).all()
        assert (lengths.abs().max() < 1e-9) == (kind == "permute")


CONVOLUTIONAL = {
    "flatten": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)
        ),
        2,
    ),
    "depthwise": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 3, groups=4), nn.ReLU(), nn.Conv2d(4, 3, 1),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        ),
        3,
    ),
    "rotated": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.AvgPool2d(2), nn.Conv2d(4, 3, 1, bias=False),
            Function(lambda h: h.mean((2, 3))),
        ),
        2,
    ),
    "grouped": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2), nn.ReLU(),
            nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 3, 4), nn.Flatten(),
        ),
        2,  # what the groups read and make stays
    ),
    "normed-late": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 3)
        ),
        3,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("build", "layers"), CONVOLUTIONAL.values(), ids=CONVOLUTIONAL)
def test_channels_are_units(build, layers: int) -> None:
    assert len(rewritten(lived(build), (2, 6, 6)).changed) == layers


class Halves(nn.Module):
    """Cuts units apart, multiplies and joins them; or sorts them first."""

    def __init__(self, units: int, sort: bool = False) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, units), nn.Linear(units + units // 2, 3)
        self.sort = sort

    def forward(self, x):
        hidden = torch.tanh(self.first(x))
        if self.sort:
            hidden = hidden.sort(1).values
        left, right = hidden.chunk(2, 1)
        middle = hidden[:, : left.shape[1]] * right - left
        return self.last(torch.cat([right, torch.relu(left), middle], 1))


def test_units_that_are_cut_apart_and_put_together() -> None:
    assert rewritten(lived(lambda: Halves(8)), (4,)).changed == ("first", "last")


def test_a_layer_that_is_used_twice_is_changed_once() -> None:
    assert rewritten(lived(Twice), (4,)).changed == ("first", "again", "last")


def test_weights_that_two_layers_share() -> None:
    def build() -> nn.Module:
        model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))
        for layer in model[1:]:
            layer.weight = model[0].weight
        return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), *model, nn.ReLU(), nn.Linear(4, 2))

    rewritten(lived(build), (4,))


def test_weights_that_are_computed_stay() -> None:
    model = lived(
        lambda: nn.Sequential(
            nn.Linear(4, 6), nn.ReLU(), parametrizations.weight_norm(nn.Linear(6, 6)), nn.ReLU(),
            nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3),
        )
    )  # fmt: skip
    assert rewritten(model, (4,)).changed == ("4", "6")


class Choosing(nn.Module):
    """Its way depends on the data, so it cannot be traced; its parts can."""

    def __init__(self) -> None:
        super().__init__()
        tied = nn.Linear(5, 5)
        self.ways = nn.ModuleList(
            nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), tied)
            for _ in range(2)
        )

    def forward(self, x):
        both = [way(x) for way in self.ways]
        return torch.where(x.sum(1, keepdim=True) > 2, *both) if x.sum() > -1 else both[0]


@pytest.mark.parametrize("name", ["small-cnn", "resnet", "preact-resnet", "dual", "lstm"])
def test_unfolded_the_copy_has_the_tensors_of_the_model(name: str) -> None:
    build, shape, _ = SHIPPED[name]
    model = lived(build).eval()
    result = obfuscate(model, inputs=shape, fold=False)
    x = torch.rand(5, *shape, dtype=torch.float64)
    expected = model(x)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    model.load_state_dict(result.model.state_dict())  # strict: the same names and shapes
    torch.testing.assert_close(model(x), expected, rtol=1e-9, atol=1e-9)
    assert any(not torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


def test_without_a_generator_the_seed_is_0() -> None:
    model = lived(SHIPPED["mlp"][0])
    one = obfuscate(model, inputs=(12,)).model.state_dict()
    two = obfuscate(model, torch.Generator().manual_seed(0), inputs=(12,)).model.state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_weights_that_are_computed_are_named_with_what_to_take_off() -> None:
    noisy = GaussianNoise(when="always").attach(models.MLP(4, 3, hidden=[5]))
    told = r"weights of 2, 4 are computed .*\(AdditiveNoise\).*brolly\.weights\.detach\(model\)"
    with pytest.raises(ValueError, match=told):
        obfuscate(noisy, inputs=(4,))
    assert obfuscate(detach(noisy), inputs=(4,)).changed == ("2", "4")
    foreign = models.MLP(4, 3, hidden=[5])
    for layer in (foreign[2], foreign[4]):
        parametrizations.weight_norm(layer)
    with pytest.raises(ValueError, match=r"\(_WeightNorm\).*remove_parametrizations\(layer, 'w"):
        obfuscate(foreign, inputs=(4,))


def test_noise_that_is_off_in_eval_mode_stands_in_no_ones_way() -> None:
    noisy = GaussianNoise().attach(models.MLP(4, 3, hidden=[5]))
    assert obfuscate(noisy, inputs=(4,)).changed == ("2", "4")


def test_parts_of_what_cannot_be_traced() -> None:
    result = rewritten(lived(Choosing), (4,))
    assert result.changed == ("ways.0.0", "ways.0.2", "ways.1.0", "ways.1.2")


def test_noise_is_the_same_in_both() -> None:
    noisy = Function(lambda h: h + torch.randn_like(h))
    model = lived(lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3), noisy))
    state = torch.get_rng_state()
    result = obfuscate(model, torch.Generator().manual_seed(0), inputs=(4,))
    assert result.difference < 1e-12
    assert torch.equal(state, torch.get_rng_state())


def test_attacks_do_as_well_on_the_copy() -> None:
    model = lived(lambda: models.MLP(12, 5, hidden=[30, 30])).eval()
    x = torch.rand(40, 12, dtype=torch.float64)
    y = model(x).argmax(1)
    other = obfuscate(model, torch.Generator().manual_seed(0), inputs=x).model
    one, two = (PGD(Linf(0.1), steps=5)(net, x, y) for net in (model, other))
    assert torch.equal(one.success, two.success)
    assert 0 < one.success.sum() < 40
    torch.testing.assert_close(one.x, two.x)


def test_the_generator_decides_and_float32_is_near() -> None:
    model = lived(SHIPPED["small-cnn"][0]).float()
    x = torch.rand(4, 2, 12, 12)
    one, again, other = (
        obfuscate(model, torch.Generator().manual_seed(seed), inputs=x) for seed in (0, 0, 1)
    )
    assert torch.equal(one.model[1].weight, again.model[1].weight)
    assert not torch.equal(one.model[1].weight, other.model[1].weight)
    assert 0 < one.difference < 1e-5 * model.eval()(x).abs().max()


class Reads(nn.Module):
    """A network that also looks at how it is written."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))

    def forward(self, x):
        first = float(self.body[0].weight[0, 0]) if len(x) > 1 else 0.0
        return self.body(x) + first


@pytest.mark.parametrize(
    ("model", "shape", "told"),
    [
        (nn.Flatten(), (4,), "Flatten has no weights that could be rewritten"),
        (models.SoftmaxRegression(4, 3), (4,), "no hidden units lie between two layers"),
        (Halves(4, sort=True), (4,), "Halves can be rewritten: sort"),
        (Branches(4, 3), (4,), "Branches, which cannot be traced"),
        (
            nn.Sequential(nn.Linear(4, 6), nn.Softmax(1), nn.Linear(6, 3)), (4,),
            "can be rewritten: softmax. Expected linear or convolutional layers in a row",
        ),
        (Reads(), (4,), r"changed the outputs by .*; expected at most .*than tracing"),
        (nn.LSTM(4, 6), (3, 4), "returned a tuple; expected one floating point tensor"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)  # fmt: skip
def test_refused_with_the_reason(model: nn.Module, shape, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        obfuscate(model.double(), torch.Generator().manual_seed(0), inputs=shape)
