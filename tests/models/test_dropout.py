"""The dropout family: what is dropped, how often, and who sees it."""

import copy
import hashlib

import pytest
import torch
from torch import nn

from brolly import PGD, Dataset, Linf, Recipe, RunFolder, evaluate, load_data
from brolly.models import (
    LSTM,
    MLP,
    RNN,
    AffineMLP,
    DropBlock,
    DropPath,
    GaussianDropout,
    LeNet,
    MonteCarloDropout,
    NiN,
    PreActBlock,
    PreActResNet,
    ResidualBlock,
    ResNet,
    SmallCNN,
    SoftmaxRegression,
    ViT,
    WideResNet,
    dropout_on,
)
from brolly.recipes import build_model, load_run, train_recipe

LAYERS = [DropBlock(0.2, 3), DropPath(0.3), GaussianDropout(0.3)]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
class TestAll:
    def test_the_identity_in_eval_mode_and_at_rate_0(self, layer) -> None:
        x = torch.randn(2, 3, 6, 6)
        assert layer(x) is not x
        assert copy.deepcopy(layer).eval()(x) is x
        none = copy.deepcopy(layer)
        none.p = 0.0
        assert none(x) is x

    def test_the_mean_is_kept_and_so_is_the_dtype(self, layer) -> None:
        x = torch.ones(4000, 2, 6, 6, dtype=torch.bfloat16)
        out = layer(x)
        assert out.dtype == torch.bfloat16
        assert abs(float(out.double().mean()) - 1) < 0.03


def test_drop_block_drops_blocks_that_fit() -> None:
    out = DropBlock(p=0.02, size=3)(torch.ones(64, 4, 8, 7))
    dropped = out == 0
    assert 0.005 < float(dropped.double().mean()) < 0.04
    assert torch.allclose(out[~dropped], (~dropped).double().mean().reciprocal().float())
    corners = nn.functional.unfold((dropped * 1.0).reshape(-1, 1, 8, 7), 3).mean(1) == 1
    whole = nn.functional.fold(
        corners[:, None].expand(-1, 9, -1) * 1.0, output_size=(8, 7), kernel_size=3
    )
    assert torch.equal(whole.reshape(64, 4, 8, 7) > 0, dropped)  # of whole blocks, nothing else


def test_drop_block_in_each_channel_by_itself() -> None:
    dropped = DropBlock(p=0.3, size=3)(torch.ones(8, 2, 9, 9)) == 0
    assert not torch.equal(dropped[:, 0], dropped[:, 1])


@pytest.mark.parametrize("size", [1, 3, 50])
def test_drop_block_drops_its_part(size: int) -> None:
    out = DropBlock(p=0.1, size=size)(torch.ones(2000, 3, 9, 9))
    # Blocks overlap, so it is a little less than p (Ghiasi et al. 2018, section 3).
    assert 0.08 < float((out == 0).double().mean()) < 0.105


def test_drop_block_may_drop_everything() -> None:
    out = DropBlock(p=0.99, size=9)(torch.ones(1, 1, 4, 4))
    assert torch.isfinite(out).all()


def test_drop_path_drops_whole_examples() -> None:
    out = DropPath(0.25)(torch.ones(2000, 3, 4)).flatten(1)
    assert (out == out[:, :1]).all()
    assert set(out[:, 0].tolist()) == {0.0, float(torch.tensor(1.0) / 0.75)}
    assert abs(float((out[:, 0] == 0).double().mean()) - 0.25) < 0.04


def test_gaussian_dropout_has_the_variance_of_dropout() -> None:
    x = torch.full((200_000,), 2.0)
    variances = [float(layer(x).var()) for layer in (GaussianDropout(0.2), nn.Dropout(0.2))]
    assert variances == pytest.approx([1.0, 1.0], rel=0.02)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: DropBlock(p=1.0), "p is 1.0"),
        (lambda: DropBlock(size=0), "size is 0"),
        (lambda: DropPath(-0.1), "p is -0.1"),
        (lambda: GaussianDropout(1.0), "p is 1.0"),
        (lambda: DropBlock()(torch.ones(2, 3)), r"given shape \(2, 3\)"),
        (lambda: MonteCarloDropout(nn.Linear(2, 2)), "no dropout layer"),
        (lambda: MonteCarloDropout(ViT((1, 8, 8), 3)), "with a rate above 0"),
        (lambda: ResNet(1, 3, drop_path=1.0), "drop_path is 1.0"),
        (lambda: ViT((1, 8, 8), 3, drop_path=-0.1), "drop_path is -0.1"),
        (lambda: SmallCNN(1, 3, drop_block=1.0), "drop_block is 1.0"),
        (lambda: WideResNet(1, 3, block_size=0), "block_size is 0"),
    ],
)
def test_what_cannot_be_is_refused(make, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()


def network() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), GaussianDropout(0.5),
        nn.Linear(8, 3),
    )  # fmt: skip


def test_monte_carlo_dropout_switches_nothing_else_on() -> None:
    model = network().eval()
    before, x = copy.deepcopy(model.state_dict()), torch.rand(5, 16)
    wrapped = MonteCarloDropout(model)
    assert not wrapped.training
    assert not torch.equal(wrapped(x), wrapped(x))
    assert torch.equal(model(x), model(x))
    assert not any(module.training for module in wrapped.modules())
    assert all(map(torch.equal, model.state_dict().values(), before.values()))
    with pytest.raises(RuntimeError):
        wrapped(torch.rand(5, 17))
    assert not any(module.training for module in wrapped.modules())


def test_dropout_that_was_on_stays_on() -> None:
    model = network()
    with dropout_on(model):
        model.eval()
    assert model[4].training
    assert not model[2].training


def test_evaluate_sees_it_on_only_where_it_is_wrapped() -> None:
    x, y = torch.rand(12, 1, 4, 4), torch.arange(12) % 3
    data = Dataset.from_tensors("noise", (x, y), (x, y), validation=0.25)

    def samples(model: nn.Module) -> int:
        threat = Linf(0.1)
        result = evaluate(
            model, data.test, threat, attacks=[PGD(threat, steps=2)], curve_examples=0, checks="",
            device="cpu",
        )  # fmt: skip
        return result.samples

    model = network()
    assert samples(model) == 1
    assert samples(MonteCarloDropout(model)) == 20


#: Of each network without the options of this page: its names of weights, and the sum of its
#: absolute logits in eval and in training mode, as drawn before there were any.
KNOWN = {
    "softmax-regression": ("b23e9473", 3.3412, 3.3412),
    "mlp": ("e9e53307", 2.7746, 2.7404),
    "lenet": ("89838367", 2.8234, 2.8234),
    "small-cnn": ("d5ab4570", 2.2514, 2.4668),
    "resnet": ("972f311b", 2.1388, 4.4906),
    "preact-resnet": ("2f59503d", 2.321, 2.6359),
    "wide-resnet": ("98d2f24c", 0.24685, 2.6603),
    "nin": ("5a7c03ba", 0.59558, 1.0156),
    "affine-mlp": ("e297c8ae", 4.0032, 4.3172),
    "rnn": ("d6731036", 6.8768, 6.8801),
    "lstm": ("d6731036", 4.1002, 4.0412),
    "vit": ("6534d39b", 10.515, 10.747),
}
NETWORKS = {
    "softmax-regression": lambda **more: SoftmaxRegression(64, 7, **more),
    "mlp": lambda **more: MLP(64, 7, hidden=[9, 8], **{"dropout": 0.1, **more}),
    "lenet": lambda **more: LeNet(1, 7, width=4, hidden=8, **more),
    "small-cnn": lambda **more: SmallCNN(1, 7, width=4, hidden=8, **more),
    "resnet": lambda **more: ResNet(1, 7, depth=8, width=4, **more),
    "preact-resnet": lambda **more: PreActResNet(1, 7, blocks=(1, 2), width=4, **more),
    "wide-resnet": lambda **more: WideResNet(
        1, 7, depth=10, widen=1, **{"dropout": 0.1, **more}
    ),
    "nin": lambda **more: NiN(1, 7, width=6, **more),
    "affine-mlp": lambda **more: AffineMLP(64, 7, hidden=[9, 8], **{"dropout": 0.1, **more}),
    "rnn": lambda **more: RNN((1, 8, 8), 7, hidden=5, layers=2, **{"dropout": 0.1, **more}),
    "lstm": lambda **more: LSTM((1, 8, 8), 7, hidden=5, layers=2, **{"dropout": 0.2, **more}),
    "vit": lambda **more: ViT(
        (1, 8, 8), 7, width=4, depth=2, heads=2, **{"dropout": 0.1, **more}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_as_they_were_without_the_options(name: str) -> None:
    model, x = NETWORKS[name](), torch.linspace(0, 1, 128).reshape(2, 1, 8, 8)
    names, *known = KNOWN[name]
    assert hashlib.sha256(" ".join(model.state_dict()).encode()).hexdigest()[:8] == names
    sums = []
    for training in (False, True):
        torch.manual_seed(1)
        sums.append(model.train(training)(x).abs().sum().item())
    assert sums == pytest.approx(known, rel=1e-3)


@pytest.mark.parametrize("name", ["mlp", "wide-resnet", "nin", "affine-mlp", "rnn", "lstm", "vit"])
def test_dropout_of_the_other_kind(name: str) -> None:
    usual, gaussian = NETWORKS[name](), NETWORKS[name](dropout_kind="gaussian")
    places = [n for n, layer in usual.named_modules() if isinstance(layer, nn.Dropout)]
    kinds = {n: m for n, m in gaussian.named_modules() if isinstance(m, GaussianDropout)}
    assert places == list(kinds)
    assert {layer.p for layer in kinds.values()} == {usual.get_submodule(places[0]).p}
    assert list(gaussian.state_dict()) == list(usual.state_dict())


@pytest.mark.parametrize(
    ("build", "rates"),
    [
        (lambda p: ResNet(1, 3, depth=14, width=2, drop_path=p), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        (lambda p: PreActResNet(1, 3, blocks=(1, 2), width=2, drop_path=p), [0.2, 0.4, 0.6]),
        (lambda p: WideResNet(1, 3, depth=10, widen=1, drop_path=p), [0.2, 0.4, 0.6]),
        (
            lambda p: ViT((1, 8, 8), 3, width=4, depth=3, heads=2, drop_path=p),
            [0.2, 0.2, 0.4, 0.4, 0.6, 0.6],
        ),
    ],
)  # fmt: skip
def test_drop_path_grows_with_depth_and_changes_no_weight(build, rates) -> None:
    torch.manual_seed(0)
    model = build(0.6)
    found = [layer.p for layer in model.modules() if isinstance(layer, DropPath)]
    assert found == pytest.approx(rates)
    torch.manual_seed(0)
    without = build(0.0)
    assert not any(isinstance(layer, DropPath) for layer in without.modules())
    for (name, one), (same, other) in zip(
        model.state_dict().items(), without.state_dict().items(), strict=True
    ):
        assert name == same
        assert torch.equal(one, other)
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(model.eval()(x), without.eval()(x))


@pytest.mark.parametrize("block", [ResidualBlock, PreActBlock])
def test_drop_path_leaves_the_convolutions_out(block) -> None:
    x = torch.rand(40, 3, 4, 4)
    layer = block(3, 3, drop_path=0.5).eval()
    branch = layer.body(x if block is ResidualBlock else layer.activate(x))
    layer.body[-1].train()
    out = layer(x)
    left_out, kept = (x + factor * branch for factor in (0, 2))
    if block is ResidualBlock:
        left_out, kept = left_out.relu(), kept.relu()
    dropped = torch.tensor([torch.equal(a, b) for a, b in zip(out, left_out, strict=True)])
    assert 5 < int(dropped.sum()) < 35
    torch.testing.assert_close(out[~dropped], kept[~dropped])


@pytest.mark.parametrize(
    ("build", "blocks"),
    [
        (lambda **drop: SmallCNN(1, 3, width=2, hidden=4, grid=2, **drop), 2),
        (lambda **drop: ResNet(1, 3, depth=14, width=2, **drop), 4),
        (lambda **drop: PreActResNet(1, 3, blocks=(1, 2, 3), width=2, **drop), 5),
        (lambda **drop: WideResNet(1, 3, depth=10, widen=1, **drop), 2),
    ],
)
def test_drop_block_in_the_last_two_stages(build, blocks: int) -> None:
    torch.manual_seed(0)
    model = build(drop_block=0.2, block_size=2)
    layers = [layer for layer in model if isinstance(layer, DropBlock)]
    assert [(layer.p, layer.size) for layer in layers] == [(0.2, 2)] * blocks
    torch.manual_seed(0)
    without = build()
    assert not any(isinstance(layer, DropBlock) for layer in without.modules())
    for one, other in zip(model.parameters(), without.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(model(torch.rand(2, 1, 16, 16)), model(torch.rand(2, 1, 16, 16)))


RECIPE = """
name: dropped
data: {{name: digits, examples: 256}}
model: {model}
threat: linf:0.1
objective: {{name: {objective}}}
validation: {{examples: 50, train_examples: 0, steps: 1}}
epochs: 1
"""


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        ("{name: mlp, hidden: [8], dropout: 1/5, dropout_kind: gaussian}", GaussianDropout),
        ("{name: small-cnn, width: 2, drop_block: 1/5, block_size: 2}", DropBlock),
        ("{name: resnet, depth: 8, width: 2, drop_path: 1/5}", DropPath),
        ("{name: preact-resnet, blocks: [1, 1], width: 2, drop_path: 1/5}", DropPath),
        ("{name: wide-resnet, depth: 10, widen: 1, drop_block: 1/5}", DropBlock),
        ("{name: vit, depth: 1, width: 4, heads: 2, drop_path: 1/5}", DropPath),
    ],
)
def test_recipes_have_the_family(model: str, layer) -> None:
    recipe = Recipe.from_text(RECIPE.format(model=model, objective="plain"))
    built = build_model(recipe, load_data("digits"))
    assert 0.2 in {module.p for module in built.modules() if isinstance(module, layer)}
    assert Recipe.from_text(recipe.to_yaml()) == recipe


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("{name: mlp, dropout: 0.1, dropout_kind: gauss}", "'gauss'; expected .*'gaussian'"),
        ("{name: lenet, drop_path: 0.1}", r"model\.drop_path: unknown key"),
        ("{name: monte-carlo-dropout}", r"model\.model: missing"),
    ],
)
def test_recipes_tell_what_is_wrong_with_it(model: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Recipe.from_text(RECIPE.format(model=model, objective="plain"))


def test_a_recipe_with_dropout_on_at_test_time(tmp_path) -> None:
    model = "{name: monte-carlo-dropout, model: {name: mlp, hidden: [16], dropout: 0.3}}"
    recipe = Recipe.from_text(RECIPE.format(model=model, objective="n-fgsm"))
    assert Recipe.from_text(recipe.to_yaml()).sha256 == recipe.sha256
    run = RunFolder(tmp_path / recipe.folder)
    with run.locked():
        train_recipe(recipe, run, device="cpu")
    _, trained, data = load_run(run.path)
    x = data.test.scaled(data.test.inputs[:20])
    assert isinstance(trained, MonteCarloDropout)
    assert not torch.equal(trained(x), trained(x))
    assert torch.equal(trained.model(x), trained.model(x))
    result = evaluate(
        trained, data.test.first(8), Linf(0.1), attacks=[PGD(Linf(0.1), steps=1)],
        curve_examples=0, checks="", device="cpu",
    )  # fmt: skip
    assert result.samples == 20


def test_a_recipe_for_dual_statistics_inside() -> None:
    model = "{name: monte-carlo-dropout, model: {name: wide-resnet, dropout: 0.3, dual: true}}"
    Recipe.from_text(RECIPE.format(model=model, objective="advprop"))
    with pytest.raises(ValueError, match="DualBatchNorm"):
        Recipe.from_text(
            RECIPE.format(model=model.replace(", dual: true", ""), objective="advprop")
        )
