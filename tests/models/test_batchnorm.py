"""BatchNorm under attack: options, separate statistics, and who sees which."""

import copy

import pytest
import torch
from torch import nn

from brolly import (
    AWP,
    PGD,
    SGD,
    AdvProp,
    IntervalBounds,
    Linf,
    Plain,
    Recipe,
    evaluate,
    fit,
    load_data,
)
from brolly.models import (
    MLP,
    DualBatchNorm,
    PreActResNet,
    ResNet,
    SmallCNN,
    WideResNet,
    adversarial_statistics,
    dual_batchnorm,
    fold_batchnorm,
)
from brolly.recipes import build_model

BUILDERS = {
    "small-cnn": lambda **options: SmallCNN(1, 10, width=2, hidden=8, **options),
    "resnet": lambda **options: ResNet(1, 10, depth=8, width=4, **options),
    "preact-resnet": lambda **options: PreActResNet(1, 10, blocks=(1, 1), width=4, **options),
    "wide-resnet": lambda **options: WideResNet(1, 10, depth=10, widen=1, **options),
}


@pytest.fixture(params=BUILDERS)
def build(request):
    return BUILDERS[request.param]


def norms(model):
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def test_the_options_reach_every_layer(build):
    count = len(norms(build()))
    assert count > 3
    for affine in (False, True):
        for tracks in (False, True):
            made = norms(build(affine=affine, track_running_stats=tracks))
            assert len(made) == count
            assert all(norm.affine == affine for norm in made)
            assert all(norm.track_running_stats == tracks for norm in made)
    dual = build(dual=True, affine=False)
    assert sum(isinstance(module, DualBatchNorm) for module in dual.modules()) == count
    assert len(norms(dual)) == 2 * count
    assert not any(norm.affine for norm in norms(dual))


def test_without_running_statistics_examples_depend_on_each_other(build):
    x = torch.rand(6, 1, 8, 8)
    own, others = build().eval(), build(track_running_stats=False).eval()
    torch.testing.assert_close(own(x)[:2], own(x[:2]))
    assert not torch.allclose(others(x)[:2], others(x[:2]), rtol=1e-2, atol=1e-2)


def buffers(module):
    return {name: value.clone() for name, value in module.named_buffers()}


def same(one, two):
    return all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.parametrize(
    ("kind", "shape"),
    [(nn.BatchNorm1d, (8, 3)), (nn.BatchNorm2d, (8, 3, 4, 4)), (nn.BatchNorm3d, (8, 3, 2, 4, 4))],
)
def test_each_side_sees_its_own_batches(kind, shape):
    torch.manual_seed(0)
    dual, clean, adversarial = DualBatchNorm(kind(3)), kind(3), kind(3)
    for _ in range(3):
        x, x_adv = torch.randn(shape), 2 * torch.randn(shape) + 1
        assert torch.equal(dual(x), clean(x))
        with adversarial_statistics(dual):
            assert torch.equal(dual(x_adv), adversarial(x_adv))
    assert same(buffers(dual.clean), buffers(clean))
    assert same(buffers(dual.adversarial), buffers(adversarial))
    dual.eval(), clean.eval(), adversarial.eval()
    x = torch.randn(shape)
    assert torch.equal(dual(x), clean(x))
    with adversarial_statistics(dual):
        assert torch.equal(dual(x), adversarial(x))
    assert not torch.equal(clean(x), adversarial(x))


def test_scale_and_shift_are_learned_apart():
    dual = DualBatchNorm(nn.BatchNorm1d(2))
    x = torch.randn(8, 2)
    with adversarial_statistics(dual):
        dual(x).square().sum().backward()
    assert dual.clean.weight.grad is None
    assert dual.adversarial.weight.grad.abs().sum() > 0


def test_the_choice_is_given_back():
    model = SmallCNN(1, 10, width=2, hidden=8, dual=True)
    duals = [module for module in model.modules() if isinstance(module, DualBatchNorm)]
    with adversarial_statistics(model):
        with adversarial_statistics(duals[0]):
            pass
        assert {dual.chosen for dual in duals} == {"adversarial"}
    assert {dual.chosen for dual in duals} == {"clean"}
    with pytest.raises(KeyError), adversarial_statistics(model):
        raise KeyError
    assert {dual.chosen for dual in duals} == {"clean"}


def test_what_has_no_statistics_to_choose_from():
    message = r"no DualBatchNorm.*dual=True.*dual_batchnorm\(model\)"
    with (
        pytest.raises(ValueError, match=message),
        adversarial_statistics(SmallCNN(1, 10, width=2)),
    ):
        pass
    with pytest.raises(ValueError, match="the model has no BatchNorm"):
        dual_batchnorm(MLP(4, 2))
    with pytest.raises(ValueError, match="norm is a LayerNorm; expected a BatchNorm"):
        DualBatchNorm(nn.LayerNorm(3))


def test_a_converted_model_computes_the_same(build):
    torch.manual_seed(0)
    model = build()
    model(torch.rand(16, 1, 8, 8) * 3)
    norms(model)[1].eval()  # frozen
    state = copy.deepcopy(model.state_dict())
    twin, x = dual_batchnorm(model), torch.rand(4, 1, 8, 8)
    assert same(state, model.state_dict())
    assert [norm.training for norm in norms(twin)[2:4]] == [False, False]
    assert sum(norm.training for norm in norms(twin)) == 2 * (len(norms(model)) - 1)
    model.eval(), twin.eval()
    assert torch.equal(twin(x), model(x))
    with adversarial_statistics(twin):
        assert torch.equal(twin(x), model(x))
    again = dual_batchnorm(nn.Sequential(twin, nn.BatchNorm1d(10)).eval())
    assert len(norms(again)) == len(norms(twin))  # what is dual already stays as it is


def test_a_norm_alone_and_a_norm_shared():
    assert isinstance(dual_batchnorm(nn.BatchNorm1d(3)), DualBatchNorm)
    shared = nn.BatchNorm1d(3)
    twin = dual_batchnorm(nn.Sequential(shared, nn.ReLU(), nn.Sequential(shared)))
    assert twin[0] is twin[2][0]


def apart():
    """A network whose two sides answer otherwise."""
    torch.manual_seed(0)
    model = SmallCNN(1, 10, width=2, hidden=8, dual=True)
    for norm in norms(model):
        nn.init.normal_(norm.weight)
    for _ in range(10):
        model(torch.rand(16, 1, 8, 8))
        with adversarial_statistics(model):
            model(3 * torch.rand(16, 1, 8, 8) - 1)
    return model.eval()


def test_attacks_and_certificates_see_the_clean_side():
    model, x = apart(), torch.rand(12, 1, 8, 8)
    plain = copy.deepcopy(model)
    for name, module in list(plain.named_children()):
        if isinstance(module, DualBatchNorm):
            setattr(plain, name, module.clean)
    y, state = model(x).argmax(1), buffers(model)

    def attacked(model):
        return PGD(Linf(0.1), steps=3)(model, x, y, generator=torch.Generator().manual_seed(0)).x

    assert torch.equal(attacked(model), attacked(plain))
    with adversarial_statistics(model):
        assert not torch.equal(attacked(model), attacked(plain))
    threat = Linf(1e-4)
    proved = [IntervalBounds().proves(one, x, y, threat) for one in (model, plain)]
    assert torch.equal(*proved)
    assert torch.allclose(fold_batchnorm(model)(x), model(x))
    assert same(state, buffers(model))


def test_an_evaluation_sees_the_side_that_is_chosen():
    torch.manual_seed(0)
    dual = DualBatchNorm(nn.BatchNorm1d(64))
    nn.init.normal_(dual.adversarial.bias)
    model = nn.Sequential(nn.Flatten(), dual, nn.Linear(64, 10)).eval()
    split = load_data("digits").test.first(40)
    x = split.scaled(split.inputs)
    with adversarial_statistics(model):
        labels = model(x).argmax(1)  # the adversarial side is always right
    agree = int((model(x).argmax(1) == labels).sum())
    assert agree < 40
    split = type(split)(split.inputs, labels, split.scale, "test", "digits", split.classes)
    options = {"attacks": [PGD(Linf(0.001), steps=1)], "certificate": None, "checks": "",
               "curve_examples": 0}  # fmt: skip
    assert evaluate(model, split, Linf(0.001), **options).clean.hits == agree
    with adversarial_statistics(model):
        assert evaluate(model, split, Linf(0.001), **options).clean.hits == 40


def test_fit_trains_one_side_or_both():
    data = load_data("digits")
    for objective, moves in ((Plain(), False), (AdvProp(PGD(Linf(0.1), steps=1)), True)):
        torch.manual_seed(0)
        model = SmallCNN(1, 10, width=2, hidden=8, dual=True, normalize=data.statistics)
        before = copy.deepcopy(model)
        fit(
            model, data, objective=objective, weights=AWP(), epochs=1, batch_size=600,
            optimizer=SGD(lr=0.05), select_by="clean",
        )  # fmt: skip
        for side, moved in (("clean", True), ("adversarial", moves)):
            old, new = (
                {k: v for k, v in one.state_dict().items() if f".{side}." in k}
                for one in (before, model)
            )
            changed = {k for k in old if not torch.equal(old[k], new[k])}
            assert changed == (set(old) if moved else set()), side


def test_a_recipe_names_the_options():
    text = {
        "name": "r", "data": {"name": "digits"}, "threat": "linf:0.1",
        "model": {"name": "preact-resnet", "blocks": [1, 1], "width": 4, "dual": True,
                  "affine": False},
        "objective": {"name": "advprop", "attack": {"name": "pgd", "steps": 2}},
    }  # fmt: skip
    recipe = Recipe.model_validate(text)
    model = build_model(recipe, load_data("digits"))
    assert sum(isinstance(module, DualBatchNorm) for module in model.modules()) == 5
    assert not any(norm.affine for norm in norms(model))
    assert recipe.build_objective() == AdvProp(PGD(Linf(0.1), steps=2))
    text["model"]["dual"] = False
    with pytest.raises(ValueError, match="the model has no DualBatchNorm; build it with dual=True"):
        Recipe.model_validate(text)
