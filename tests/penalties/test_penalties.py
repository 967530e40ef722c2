"""Penalties against closed forms: value, gradient, step, and the models they cannot act on."""

import copy
import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import brolly
from brolly import SGD, penalties
from brolly.penalties import (
    L1,
    L2,
    ElasticNet,
    GroupLasso,
    MaxNorm,
    Orthogonality,
    SpectralNorm,
)
from brolly.training import Constant


def network(dtype=torch.float64):
    """Every way of storing units: rows, filters, and the second axis of transposed convolutions."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(2, 4, 2, groups=2), nn.BatchNorm2d(4),
        nn.ConvTranspose2d(4, 6, 2, groups=2), nn.Flatten(),
        nn.Linear(3, 5), nn.LayerNorm([5, 2]), nn.Linear(7, 2), nn.Embedding(3, 2),
    ).to(dtype)  # fmt: skip


def units(model):
    """What flows into each unit of each layer, one by one, as parts of the weights themselves."""
    transposed = model[2].weight
    return {
        "0.weight": list(model[0].weight),
        "2.weight": [transposed[:2, k] for k in range(3)] + [transposed[2:, k] for k in range(3)],
        "4.weight": list(model[4].weight),
        "6.weight": list(model[6].weight),
        "7.weight": list(model[7].weight),
    }


def weights(model):
    return {name: p for name, p in model.named_parameters() if name in units(model)}


def rows(model):
    """The matrix of each layer."""
    return {name: torch.stack([w.flatten() for w in layer]) for name, layer in units(model).items()}


def gradients(value, model):
    found = torch.autograd.grad(value, list(model.parameters()), allow_unused=True)
    named = zip(dict(model.named_parameters()), found, strict=True)
    return {name: gradient for name, gradient in named if gradient is not None}


def check(value, expected, expected_gradients, model):
    """Value and gradients, and that nothing but the weights has any."""
    assert float(value.detach()) == pytest.approx(expected, rel=1e-9)
    mine = gradients(value, model)
    assert set(mine) == set(expected_gradients) == set(weights(model))
    for name, gradient in mine.items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=1e-7, atol=1e-9)


def by_rows(model, gradient):
    """Gradients of the weights from those of their matrices."""
    found = {}
    for name, matrix in rows(model).items():
        (found[name],) = torch.autograd.grad(
            matrix, weights(model)[name], grad_outputs=gradient(matrix.detach())
        )
    return found


def test_l1() -> None:
    model = network()
    expected = sum(abs(w) for p in weights(model).values() for w in p.flatten().tolist())
    signs = {name: 0.3 * p.sign() for name, p in weights(model).items()}
    check(L1(0.3)(model), 0.3 * expected, signs, model)
    check(penalties.l1(model, 0.3), 0.3 * expected, signs, model)


def test_l2_is_half_the_squares() -> None:
    model = network()
    expected = sum(w * w for p in weights(model).values() for w in p.flatten().tolist()) / 2
    scaled = {name: 0.3 * p for name, p in weights(model).items()}
    check(L2(0.3)(model), 0.3 * expected, scaled, model)
    check(penalties.l2(model, 0.3), 0.3 * expected, scaled, model)


def test_l2_is_the_default_weight_decay() -> None:
    decayed, penalised = network(), network()
    for model, optimizer, penalty in (
        (decayed, SGD(lr=0.5, momentum=0, weight_decay=0.1).build(decayed), L2(0.0)),
        (penalised, torch.optim.SGD(penalised.parameters(), lr=0.5), L2(0.1)),
    ):
        (sum((p**3).sum() for p in model.parameters()) + penalty(model)).backward()
        optimizer.step()
    for a, b in zip(decayed.parameters(), penalised.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
def test_elastic_net_mixes_l1_and_l2(ratio) -> None:
    model = network()
    every = [w for p in weights(model).values() for w in p.flatten().tolist()]
    expected = 2 * sum(ratio * abs(w) + (1 - ratio) * w * w / 2 for w in every)
    gradient = {n: 2 * (ratio * p.sign() + (1 - ratio) * p) for n, p in weights(model).items()}
    check(ElasticNet(2.0, ratio=ratio)(model), expected, gradient, model)
    check(penalties.elastic_net(model, 2.0, ratio), expected, gradient, model)


def test_group_lasso() -> None:
    model = network()
    groups = [w for layer in units(model).values() for w in layer]
    expected = 0.3 * sum(math.sqrt(w.numel()) * float(w.detach().norm()) for w in groups)

    def gradient(matrix):
        return 0.3 * math.sqrt(matrix.shape[1]) * matrix / matrix.norm(dim=1, keepdim=True)

    check(GroupLasso(0.3)(model), expected, by_rows(model, gradient), model)
    check(penalties.group_lasso(model, 0.3), expected, by_rows(model, gradient), model)


def test_group_lasso_has_a_gradient_where_a_group_is_zero() -> None:
    model = network()
    with torch.no_grad():
        model[4].weight[1] = 0
    assert not gradients(GroupLasso(1.0)(model), model)["4.weight"][1].any()


def test_spectral_norm() -> None:
    model = network()
    values = [torch.linalg.svdvals(matrix.detach())[0] for matrix in rows(model).values()]
    expected = 0.3 * sum(float(sigma) ** 2 for sigma in values) / 2

    def gradient(matrix):
        u, s, vh = torch.linalg.svd(matrix)
        return 0.3 * s[0] * u[:, :1] @ vh[:1]

    check(SpectralNorm(0.3, iterations=800)(model), expected, by_rows(model, gradient), model)
    check(
        penalties.spectral_norm(model, 0.3, iterations=800),
        expected, by_rows(model, gradient), model,
    )  # fmt: skip


def test_few_iterations_come_out_low_and_a_little_so() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(100, 60)
    exact = float(torch.linalg.matrix_norm(layer.weight.detach(), 2)) ** 2 / 2
    values = [penalties.spectral_norm(layer, iterations=n).item() for n in (1, 3, 10)]
    assert values == sorted(values)
    assert 0.9 * exact < values[-1] <= exact * (1 + 1e-5)


@pytest.mark.parametrize("diagonal", [True, False])
def test_orthogonality(diagonal) -> None:
    model, expected = network(), 0.0
    for matrix in rows(model).values():
        if diagonal and len(matrix) > matrix.shape[1]:
            matrix = matrix.T
        for i, a in enumerate(matrix):
            for j, b in enumerate(matrix):
                if diagonal or i != j:
                    expected += 0.3 * float((a.detach() @ b.detach() - float(i == j)) ** 2)

    def gradient(matrix):
        product = matrix @ matrix.T
        wanted = torch.eye(len(matrix)) if diagonal else product.diagonal().diag()
        return 4 * 0.3 * (product - wanted) @ matrix

    check(Orthogonality(0.3, diagonal=diagonal)(model), expected, by_rows(model, gradient), model)
    check(
        penalties.orthogonality(model, 0.3, diagonal=diagonal),
        expected, by_rows(model, gradient), model,
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (5, 5)])
def test_orthogonal_weights_of_any_shape_cost_nothing(shape) -> None:
    layer = nn.Linear(*shape)
    nn.init.orthogonal_(layer.weight)
    assert penalties.orthogonality(layer).item() == pytest.approx(0, abs=1e-9)
    assert penalties.spectral_norm(layer).item() == pytest.approx(0.5)


@pytest.mark.parametrize("covers", ["weights", "all", lambda name, p: name == "4.bias"])
def test_all_act_on_what_they_cover_alone(covers) -> None:
    every = [L1(0.1, covers), L2(0.1, covers), ElasticNet(0.1, covers=covers)]
    every += [GroupLasso(0.1, covers), SpectralNorm(0.1, covers), Orthogonality(0.1, covers)]
    proximal = [L1(0.1, covers, True), GroupLasso(0.1, covers, True), MaxNorm(0.01, covers)]
    names = set(penalties.covered(network(), covers))
    for penalty in every:
        model = network()
        assert set(gradients(penalty(model), model)) == names, penalty
    for penalty in proximal:
        model = network()
        before = copy.deepcopy(model.state_dict())
        assert not penalty(model).requires_grad
        penalty.after_step(model, lr=0.5)
        moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
        zero_before = {n for n, p in model.named_parameters() if not before[n].any()}
        assert moved == names - zero_before, penalty


@pytest.mark.parametrize("lr", [0.1, 0.7])
def test_the_proximal_step_finds_the_lasso(lr) -> None:
    """Least squares with an orthonormal design: the answer is the target, shrunk by the weight."""
    torch.manual_seed(0)
    target = torch.randn(4, 9, dtype=torch.float64) * torch.tensor([[0.1], [0.4], [1.0], [3.0]])
    answers = {
        L1(0.5, proximal=True): target.sign() * (target.abs() - 0.5).clamp_min(0),
        GroupLasso(0.5, proximal=True): target
        * (1 - 0.5 * 3 / target.norm(dim=1, keepdim=True)).clamp_min(0),
    }
    for penalty, answer in answers.items():
        layer = nn.Linear(9, 4, bias=False).double()
        optimizer = torch.optim.SGD(layer.parameters(), lr=lr)
        for _ in range(300):
            optimizer.zero_grad()
            (((layer.weight - target) ** 2).sum() / 2 + penalty(layer)).backward()
            optimizer.step()
            penalty.after_step(layer, lr)
        torch.testing.assert_close(layer.weight.detach(), answer, rtol=0, atol=1e-9)
        assert torch.equal(layer.weight == 0, answer == 0)
        assert 0 < int((layer.weight == 0).sum()) < layer.weight.numel()


def test_the_proximal_value_is_reported() -> None:
    model = network()
    for kind in (L1, GroupLasso):
        shown, felt = kind(0.3, proximal=True)(model), kind(0.3)(model)
        assert float(shown) == float(felt.detach())
        assert felt.requires_grad


def test_steps_reach_weights_however_they_lie_in_memory() -> None:
    straight = network()
    permuted = network().to(memory_format=torch.channels_last)
    assert not permuted[2].weight.is_contiguous()
    for penalty in (L1(1.0, proximal=True), GroupLasso(0.2, proximal=True), MaxNorm(0.3)):
        for model in (straight, permuted):
            penalty.after_step(model, lr=0.05)
        for a, b in zip(straight.parameters(), permuted.parameters(), strict=True):
            torch.testing.assert_close(a, b)


def test_max_norm_bounds_each_unit_and_leaves_the_short_ones() -> None:
    model = network()
    before = copy.deepcopy(model)
    MaxNorm(0.6).after_step(model, lr=0.1)
    scaled = 0
    for name, layer in units(model).items():
        for w, old in zip(layer, units(before)[name], strict=True):
            if old.norm() <= 0.6:
                assert torch.equal(w, old)
            else:
                scaled += 1
                torch.testing.assert_close(w, 0.6 * old / old.norm())
    assert 0 < scaled < sum(len(layer) for layer in units(model).values())
    assert torch.equal(model[4].bias, before[4].bias)
    assert MaxNorm(0.6)(model).item() == 0


@pytest.fixture(scope="module")
def data():
    data = brolly.load_data("digits")
    return dataclasses.replace(data, train=data.train.first(256))


def train(data, penalty, epochs=1, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    history = brolly.fit(
        model, data, objective=brolly.Plain(), penalty=penalty, epochs=epochs,
        optimizer=SGD(lr=0.1, momentum=0, weight_decay=0), schedule=Constant(), **options,
    )  # fmt: skip
    return model[1], history


def test_fit_takes_the_proximal_step_after_the_optimisers(data) -> None:
    plain, _ = train(data, None, batch_size=256)
    sparse, history = train(data, L1(0.3, proximal=True), batch_size=256)
    expected = plain.weight.sign() * (plain.weight.abs() - 0.1 * 0.3).clamp_min(0)
    torch.testing.assert_close(sparse.weight, expected)
    assert torch.equal(sparse.bias, plain.bias)
    torch.manual_seed(0)
    start = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    assert history.epochs[0].logs["penalty"] == pytest.approx(
        penalties.l1(start, 0.3).item(), rel=1e-5
    )


def test_fit_gives_exact_zeros_with_the_proximal_step_alone(data) -> None:
    by_gradient, _ = train(data, L1(0.01), epochs=6, batch_size=32)
    by_step, history = train(data, L1(0.01, proximal=True), epochs=6, batch_size=32)
    assert int((by_gradient.weight == 0).sum()) < 10
    assert int((by_step.weight == 0).sum()) > 60
    assert history.epochs[-1].validation_clean > 0.5


def test_fit_keeps_the_bound(data) -> None:
    free, _ = train(data, None, epochs=3, batch_size=32)
    bound, _ = train(data, MaxNorm(0.6) + L2(1e-4), epochs=3, batch_size=32)
    assert free.weight.norm(dim=1).max().item() > 0.7
    assert bound.weight.norm(dim=1).max().item() <= 0.6 + 1e-6


def normalised(model):
    return parametrizations.weight_norm(model)


def noisy(model):
    return brolly.weights.GaussianNoise().attach(model)


def pruned(model):
    return prune.l1_unstructured(model, "weight", amount=2)


def old(model):
    with pytest.warns(FutureWarning, match="deprecated"):
        return nn.utils.weight_norm(model)


@pytest.mark.parametrize("change", [normalised, noisy, pruned, old])
def test_stored_weights_that_are_not_the_layers_own_are_refused(change) -> None:
    model = nn.Sequential(nn.Conv2d(4, 3, 1), change(nn.Linear(3, 2)))
    for penalty in (
        L1(0.1, proximal=True), GroupLasso(0.1, proximal=True), MaxNorm(),
        SpectralNorm(0.1), Orthogonality(0.1),
    ):  # fmt: skip
        (reason,) = penalty.reasons_against(model)
        kind = reason.partition(" would")[0]
        assert kind.startswith(type(penalty).__name__)
        assert reason.startswith(f"{kind} would act on what Linear layers store, ")
        assert f"leave out {kind}, or the parametrization" in reason
        first = dataclasses.replace(penalty, covers=lambda name, p: name == "0.weight")
        assert first.reasons_against(model) == []
        assert penalty.reasons_against(nn.Linear(2, 2)) == []
    for penalty in (L1(0.1), L2(0.1), ElasticNet(0.1), GroupLasso(0.1)):
        assert penalty.reasons_against(model) == []


def test_fit_tells_all_reasons_before_it_starts(data) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), normalised(nn.Linear(64, 10)))
    before = copy.deepcopy(model.state_dict())
    penalty = MaxNorm() + L1(0.1, proximal=True) + MaxNorm(2.0) + L2(0.1, covers=lambda n, p: False)
    with pytest.raises(ValueError, match="clip is -1") as caught:
        brolly.fit(model, data, penalty=penalty, epochs=1, clip=-1.0)
    told = str(caught.value)
    for reason in ("MaxNorm would act on", "L1 with proximal=True would act", "no trainable"):
        assert told.count(reason) == 1
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: L1(-1.0), "weight is -1"),
        (lambda: ElasticNet(-1.0), "weight is -1"),
        (lambda: ElasticNet(1.0, ratio=2.0), "ratio is 2"),
        (lambda: GroupLasso(float("nan")), "weight is nan"),
        (lambda: MaxNorm(0.0), "limit is 0"),
        (lambda: SpectralNorm(-1.0), "weight is -1"),
        (lambda: SpectralNorm(1.0, iterations=0), "iterations is 0"),
        (lambda: Orthogonality(-1.0), "weight is -1"),
    ],
)
def test_numbers_out_of_range_are_refused(make, told) -> None:
    with pytest.raises(ValueError, match=told):
        make()


def test_recipes_name_them(tmp_path) -> None:
    entries = (
        "penalties=[{name: l1, weight: 1e-5, proximal: true}, {name: l2, weight: 1e-4},"
        " {name: elastic-net, weight: 1e-4, ratio: 1/4},"
        " {name: group-lasso, weight: 1e-5, covers: all}, {name: max-norm, limit: 2},"
        " {name: spectral-norm, weight: 1e-3}, {name: orthogonality, weight: 1e-4}]"
    )
    recipe = brolly.Recipe.load("digits-plain", [entries])
    terms = (
        L1(1e-5, proximal=True), L2(1e-4), ElasticNet(1e-4, ratio=0.25), GroupLasso(1e-5, "all"),
        MaxNorm(2.0), SpectralNorm(1e-3), Orthogonality(1e-4),
    )  # fmt: skip
    assert recipe.build_penalty() == penalties.Sum(terms)
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    again = brolly.Recipe.load(tmp_path / "recipe.yaml")
    assert again == recipe
    assert again.sha256 == recipe.sha256


def test_recipes_refuse_them_on_weights_that_are_computed() -> None:
    state = torch.get_rng_state()
    for weights, penalty, layers in (
        ("weight-norm", "{name: l1, weight: 1e-4, proximal: true}", "Conv2d, Linear"),
        ("gaussian-noise, layers: linear", "{name: max-norm}", "Linear"),
    ):
        with pytest.raises(ValueError, match="SAM would search") as caught:
            brolly.Recipe.load(
                "digits-plain",
                [
                    f"weights=[{{name: {weights}}}, {{name: sam}}]",
                    "accumulate=2",
                    f"penalties=[{penalty}]",
                ],
            )
        assert f" would act on what {layers} layers store" in str(caught.value)
        fine = penalty.replace(", proximal: true", "").replace("max-norm", "l2, weight: 1")
        brolly.Recipe.load(
            "digits-plain", [f"weights=[{{name: {weights}}}]", f"penalties=[{fine}]"]
        )
    assert torch.equal(torch.get_rng_state(), state)


def norms():
    """A norm of each kind between layers whose biases are no norm's."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4),
        brolly.models.DualBatchNorm(nn.BatchNorm2d(4)), nn.InstanceNorm2d(4, affine=True),
        nn.Flatten(), nn.Linear(4, 6), nn.LayerNorm([2, 3]), nn.RMSNorm(6), nn.Linear(6, 2),
    )  # fmt: skip


def test_the_three_words_cover_three_sets() -> None:
    model = norms()
    every = {name for name, _ in model.named_parameters()}
    layers = {f"{place}.{kind}" for place in (0, 2, 7, 10) for kind in ("weight", "bias")}
    assert set(penalties.covered(model, "all")) == every
    assert set(penalties.covered(model, "no_norm")) == layers
    assert set(penalties.covered(model, "weights")) == {n for n in layers if n.endswith("weight")}
    assert len(every - layers) == 13  # RMSNorm has no bias, DualBatchNorm two layers


def test_weight_decay_and_penalties_share_their_words() -> None:
    model = network()
    for decays in ("weights", "no_norm"):
        decayed, spared = SGD(weight_decay=0.1, decays=decays).build(model).param_groups
        expected = penalties.covered(model, decays).values()
        assert [id(p) for p in decayed["params"]] == [id(p) for p in expected]
        assert spared["weight_decay"] == 0
    groups = SGD(weight_decay=0.1, decays=lambda name, p: name == "4.bias").build(model)
    assert [id(p) for p in groups.param_groups[0]["params"]] == [id(model[4].bias)]


def test_decay_covers_weights_unless_a_recipe_says_otherwise() -> None:
    plain = brolly.Recipe.load("digits-plain")
    for name in ("sgd", "adam", "adamw", "rmsprop", "adagrad"):
        recipe = brolly.Recipe.load("digits-plain", [f"optimizer={{name: {name}}}"])
        assert recipe.optimizer.decays == "weights"
    assert brolly.Recipe.load("digits-plain", ["optimizer.decays=weights"]).folder == plain.folder
    assert brolly.Recipe.load("digits-plain", ["optimizer.decays=no_norm"]).folder != plain.folder


def test_penalties_add_up_by_sum() -> None:
    one, two, three = L1(1e-3), L2(1e-2), MaxNorm(2.0)
    assert sum([one, two, three]) == penalties.Sum((one, two, three))
    assert sum([one]) == one
    for wrong in (lambda: one + 0, lambda: 1 + one, lambda: one + network()):
        with pytest.raises(TypeError):
            wrong()
