"""Noise on weights: each kind by hand, where it acts, and what it leaves behind."""

import copy
import math
import pickle

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

import brolly
from brolly import AWP, EMA, SAM, Batch, IntervalBounds, Linf, Plain
from brolly.weights import (
    DropConnect,
    GaussianNoise,
    LearnedNoise,
    RandomMatrix,
    Shifted,
    VariationalDropout,
    VariationalKL,
    WeightNorm,
    detach,
    one_draw,
    without_noise,
)

NOISES = {
    "additive": GaussianNoise,
    "multiplicative": lambda **given: GaussianNoise(kind="multiplicative", **given),
    "learned": LearnedNoise,
    "learned-channels": lambda **given: LearnedNoise(per="channel", **given),
    "dropconnect": DropConnect,
    "variational": lambda **given: VariationalDropout(log_variance=-3.0, **given),
    "random-matrix": RandomMatrix,
}
EVERY = [*NOISES.values(), WeightNorm]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def layer(kind: str) -> nn.Module:
    torch.manual_seed(1)
    made = nn.Linear(6, 4) if kind == "linear" else nn.Conv2d(3, 4, 2)
    return made.double()


def network() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(48, 3)
    )


def images(size: int = 6) -> torch.Tensor:
    return torch.rand(size, 1, 3, 4, generator=seeded())


def weight_at(noise, module: nn.Module, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """The stored weight, and that of one draw."""
    clean = module.weight.detach().clone()
    noise.attach(module)
    with one_draw(module, seeded(seed)):
        return clean, module.weight.detach().clone()


def spread(weight: torch.Tensor) -> float:
    values = weight.flatten().tolist()
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))


@pytest.mark.parametrize("kind", ["linear", "convolution"])
class TestByHand:
    """One draw against the equation, number by number."""

    def normal(self, weight: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(weight).normal_(generator=seeded())

    def test_additive(self, kind: str) -> None:
        clean, noisy = weight_at(GaussianNoise(std=0.3), layer(kind))
        torch.testing.assert_close(noisy, clean + 0.3 * spread(clean) * self.normal(clean))

    def test_multiplicative(self, kind: str) -> None:
        clean, noisy = weight_at(GaussianNoise(std=0.3, kind="multiplicative"), layer(kind))
        torch.testing.assert_close(noisy, clean + 0.3 * clean * self.normal(clean))

    def test_learned(self, kind: str) -> None:
        module = layer(kind)
        clean, noisy = weight_at(LearnedNoise(per="channel"), module)
        noise = spread(clean) * self.normal(clean)
        torch.testing.assert_close(noisy, clean + 0.25 * noise)
        with one_draw(module, seeded()):
            (module.weight**2).sum().backward()
        coefficients = module.parametrizations.weight[0].coefficients
        for k in range(4):
            by_hand = (2 * noisy[k] * noise[k]).sum()
            torch.testing.assert_close(coefficients.grad[k], by_hand)
        # The size of the noise counts as a constant for the weights themselves.
        torch.testing.assert_close(module.parametrizations.weight.original.grad, 2 * noisy)

    def test_dropped(self, kind: str) -> None:
        clean, noisy = weight_at(DropConnect(p=0.25), layer(kind))
        kept = torch.empty_like(clean).bernoulli_(0.75, generator=seeded()).bool()
        assert 0 < kept.sum() < kept.numel()
        torch.testing.assert_close(noisy, torch.where(kept, clean / 0.75, 0.0))

    def test_variational(self, kind: str) -> None:
        module = layer(kind)
        clean, _ = weight_at(VariationalDropout(), module)
        values = module.parametrizations.weight[0].log_variances
        with torch.no_grad():
            values.copy_(torch.linspace(-4, 1, len(values)))
        with one_draw(module, seeded()):
            noisy = module.weight.detach()
        expected = clean.flatten().clone()
        for i, draw in enumerate(self.normal(clean).flatten().tolist()):
            expected[i] += math.sqrt(math.exp(float(values[i].detach()))) * draw
        torch.testing.assert_close(noisy.flatten(), expected)

    def test_random_matrix(self, kind: str) -> None:
        module = layer(kind)
        clean, noisy = weight_at(RandomMatrix(std=0.2), module)
        matrix = torch.eye(4, dtype=torch.double)
        matrix += 0.2 / 2 * torch.empty_like(matrix).normal_(generator=seeded())
        torch.testing.assert_close(noisy.flatten(1), matrix @ clean.flatten(1))
        # So the outputs, but for the bias, are mixed by that matrix.
        x = torch.rand(5, 6, dtype=torch.double) if kind == "linear" else torch.rand(5, 3, 3, 3)
        module.bias.data.zero_()
        x = x.double()
        with without_noise(module):
            expected = torch.einsum("ij,bj...->bi...", matrix, module(x))
        with one_draw(module, seeded()):
            torch.testing.assert_close(module(x), expected)

    def test_weight_norm_is_torchs(self, kind: str) -> None:
        ours, theirs = WeightNorm().attach(layer(kind)), weight_norm(layer(kind))
        for module in (ours, theirs):
            (module.weight**3).sum().backward()
        torch.testing.assert_close(ours.weight, theirs.weight)
        mine, other = ours.parametrizations.weight, theirs.parametrizations.weight
        torch.testing.assert_close(mine[0].lengths.grad, other.original0.grad.flatten())
        torch.testing.assert_close(mine.original.grad, other.original1.grad)


@pytest.mark.parametrize("make", NOISES.values(), ids=NOISES)
def test_the_stored_weight_is_the_mean(make) -> None:
    module = make(when="always").attach(layer("convolution"))
    torch.manual_seed(0)
    draws = torch.stack([module.weight.detach() for _ in range(1500)])
    stored = module.parametrizations.weight.original.detach()
    assert (draws.std(0) > 0).all()
    assert ((draws.mean(0) - stored).abs() < 5 * draws.std(0) / 1500**0.5).all()


def test_a_random_matrix_changes_the_weight_by_its_part() -> None:
    module = RandomMatrix(std=0.2, when="always").attach(layer("linear"))
    torch.manual_seed(0)
    stored = module.parametrizations.weight.original.detach()
    changes = [float((module.weight.detach() - stored).norm() ** 2) for _ in range(2000)]
    assert math.isclose(sum(changes) / 2000, (0.2 * float(stored.norm())) ** 2, rel_tol=0.05)


@pytest.mark.parametrize("log_alpha", [-8.0, -3.0, -1.0, 0.0, 1.0, 3.0])
def test_the_divergence_is_that_of_the_log_uniform_prior(log_alpha: float) -> None:
    module = layer("linear")
    VariationalDropout().attach(module)
    part = module.parametrizations.weight[0]
    nn.init.constant_(module.parametrizations.weight.original, 2.0)
    nn.init.constant_(part.log_variances, log_alpha + math.log(4.0))
    # E log|1 + sqrt(alpha) e| by quadrature; -E log|e| = (log 2 + Euler's constant) / 2.
    e = torch.linspace(-12, 12, 2_000_001, dtype=torch.double)[:-1] + 0.37 * 24 / 2e6
    density = torch.exp(-(e**2) / 2) / math.sqrt(2 * math.pi)
    expected = float(((1 + math.exp(log_alpha / 2) * e).abs().log() * density).sum() * 24 / 2e6)
    exact = expected - log_alpha / 2 + (math.log(2) + 0.5772156649) / 2
    assert math.isclose(float(VariationalKL(0.5)(module).detach()) / 24, exact / 2, abs_tol=0.01)


class TestCover:
    def test_words(self) -> None:
        def attached(**given) -> list[bool]:
            model = GaussianNoise(**given).attach(network())
            return [hasattr(model[k], "parametrizations") for k in (0, 1, 4)]

        assert attached() == [True, False, True]
        assert attached(layers="linear") == [False, False, True]
        assert attached(layers="convolutional") == [True, False, False]
        assert attached(layers=lambda name, layer: name == "4") == [False, False, True]

    def test_other_words_and_models_without_such_layers_are_refused(self) -> None:
        with pytest.raises(ValueError, match="layers is 'linear', but the model has no such"):
            GaussianNoise(layers="linear").attach(nn.Sequential(nn.Conv2d(1, 1, 1)))
        with pytest.raises(ValueError, match="no such layer"):
            WeightNorm().attach(nn.BatchNorm1d(2))

    def test_parametrizations_of_others_are_refused(self) -> None:
        model = nn.Sequential(nn.Linear(3, 2), spectral_norm(nn.Linear(2, 2)))
        with pytest.raises(ValueError, match=r"layer '1' has parametrizations .* _SpectralNorm"):
            GaussianNoise().attach(model)
        assert not hasattr(model[0], "parametrizations")

    def test_parameters_of_the_noise_are_taken_for_no_weights(self) -> None:
        model = network()
        for part in (LearnedNoise(per="channel"), VariationalDropout(), WeightNorm()):
            part.attach(model)
        weights = [name for name, p in model.named_parameters() if p.ndim > 1]
        assert weights == [
            "0.parametrizations.weight.original",
            "4.parametrizations.weight.original",
        ]
        assert len(brolly.penalties.covered(model, "weights")) == 2
        loss_of = Plain().craft(
            model, Batch(images(), torch.arange(6) % 3, torch.arange(6)), seeded()
        )
        worse = AWP()(model, lambda model: loss_of(model).value)
        assert isinstance(worse, Shifted)
        assert set(worse._tensors) == set(weights)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: GaussianNoise(std=0), "std is 0"),
        (lambda: DropConnect(p=1), "p is 1"),
        (lambda: RandomMatrix(std=-1), "std is -1"),
        (lambda: VariationalDropout(log_variance=math.inf), "log_variance is inf"),
        (lambda: VariationalKL(-1), "weight is -1"),
        (lambda: VariationalKL(1)(network()), "VariationalDropout, which no layer"),
    ],
)
def test_numbers_out_of_range_are_refused(make, told) -> None:
    with pytest.raises(ValueError, match=told):
        make()


class TestSwitches:
    def test_in_training_mode_only(self) -> None:
        model, x = GaussianNoise().attach(network()), images()
        assert not torch.equal(model[4].weight, model[4].weight)
        model.eval()
        assert torch.equal(model(x), detach(copy.deepcopy(model))(x))

    @pytest.mark.parametrize("training", [True, False])
    def test_always(self, training: bool) -> None:
        model = GaussianNoise(when="always").attach(network()).train(training)
        assert not torch.equal(model[0].weight, model[0].weight)
        with without_noise(model):
            assert torch.equal(model[0].weight, model[0].parametrizations.weight.original)
        assert not torch.equal(model[0].weight, model[0].weight)

    def test_it_takes_the_mode_of_the_layer_it_comes_to(self) -> None:
        model = LearnedNoise().attach(network().eval())
        assert not any(module.training for module in model.modules())

    @pytest.mark.parametrize("make", NOISES.values(), ids=NOISES)
    def test_one_draw(self, make) -> None:
        model, x = make().attach(network().eval()), images()
        mean = model(x)
        with one_draw(model, seeded(1)):
            first = model(x)
            assert torch.equal(first, model(x))
            with without_noise(model):
                assert torch.equal(model(x), mean)
            with one_draw(model, seeded(2)):
                assert not torch.equal(model(x), first)
            assert torch.equal(model(x), first)
            assert torch.equal(copy.deepcopy(model)(x), first)
        assert torch.equal(model(x), mean)
        assert not torch.equal(first, mean)

    def test_they_end_with_an_error_too(self) -> None:
        model = GaussianNoise(when="always").attach(network())
        with pytest.raises(KeyError), without_noise(model):
            raise KeyError
        assert not torch.equal(model[0].weight, model[0].weight)

    def test_attaching_draws_nothing(self) -> None:
        state = torch.get_rng_state()
        model = network()
        after = torch.get_rng_state()
        for make in EVERY:
            make().attach(model)
        assert torch.equal(torch.get_rng_state(), after)
        torch.set_rng_state(state)


@pytest.mark.parametrize("make", EVERY)
class TestLeftAsFound:
    def test_on_leaves_no_trace(self, make) -> None:
        model = network()
        names = list(model.state_dict())
        before = copy.deepcopy(model.state_dict())
        parameters, x = list(model.parameters()), images()
        with make().on(model) as same:
            assert same is model
            assert list(model.state_dict()) != names
            torch.func.functional_call(model, dict(model.named_buffers()), (x,)).sum().backward()
        assert list(model.state_dict()) == names
        assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
        assert all(p.grad is not None for p in parameters)
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, before[name]) or "1." in name, name
        assert type(model[0]) is nn.Conv2d
        assert [type(module) for module in model.modules()] == [
            type(module) for module in network().modules()
        ]

    def test_on_leaves_what_was_attached_before(self, make) -> None:
        model = WeightNorm().attach(GaussianNoise().attach(network()))
        before = copy.deepcopy(model.state_dict())
        with make().on(model):
            pass
        assert all(map(torch.equal, model.state_dict().values(), before.values()))
        assert [type(t).__name__ for t in model[0].parametrizations.weight] == [
            "AdditiveNoise", "Normalised",
        ]  # fmt: skip

    def test_detach_leaves_the_mean_weights(self, make) -> None:
        model = WeightNorm().attach(make().attach(network())).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("lengths"):
                    parameter.mul_(1.5)
        expected = model(images())
        assert detach(model) is model
        assert list(model.state_dict()) == list(network().state_dict())
        torch.testing.assert_close(model(images()), expected)

    def test_copies_are_independent(self, make) -> None:
        model = make().attach(network()).eval()
        twin = copy.deepcopy(model)
        detach(twin)
        assert type(twin[0]) is nn.Conv2d
        assert torch.equal(model(images()), twin(images()))
        twin = copy.deepcopy(model)
        nn.init.zeros_(twin[4].parametrizations.weight.original)
        assert model[4].weight.abs().sum() > 0

    def test_through_pickle_and_safetensors(self, make, tmp_path) -> None:
        model, x = make().attach(network()), images()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1)
        safetensors.torch.save_model(model, str(tmp_path / "model.safetensors"))
        fresh = make().attach(network())
        safetensors.torch.load_model(fresh, str(tmp_path / "model.safetensors"))
        sent = pickle.loads(pickle.dumps(model))
        loaded = make().attach(network())
        loaded.load_state_dict(model.state_dict())
        for other in (fresh, sent, loaded):
            torch.manual_seed(0)
            expected = model(x)
            torch.manual_seed(0)
            assert torch.equal(other(x), expected)
            model[1].reset_running_stats()
        detach(sent)
        assert list(sent.state_dict()) == list(network().state_dict())

    def test_functional_call(self, make) -> None:
        model, x = make().attach(network()).eval(), images()
        parameters = {name: p.detach() for name, p in model.named_parameters()}

        def loss(parameters: dict) -> torch.Tensor:
            return torch.func.functional_call(model, parameters, (x,)).square().sum()

        with one_draw(model, seeded()):
            gradients = torch.func.grad(loss)(parameters)
            model(x).square().sum().backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(gradients[name], parameter.grad)
        zeros = {name: torch.zeros_like(p) for name, p in parameters.items()}
        with without_noise(model):
            assert loss(zeros) == 0

    def test_under_a_batched_gradient(self, make) -> None:
        model, x = make().attach(network()).eval(), images()
        parameters = {name: p.detach() for name, p in model.named_parameters()}

        def loss(parameters: dict, x: torch.Tensor) -> torch.Tensor:
            return torch.func.functional_call(model, parameters, (x[None],)).square().sum()

        with one_draw(model, seeded()):
            each = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
            total = torch.func.grad(lambda p: sum(loss(p, row) for row in x))(parameters)
        for name, gradients in each.items():
            torch.testing.assert_close(gradients.sum(0), total[name], rtol=1e-4, atol=1e-5)

    def test_ema_averages_the_stored_weights(self, make) -> None:
        model = make().attach(network())
        shadow = copy.deepcopy(model)
        before = {name: p.detach().clone() for name, p in shadow.named_parameters()}
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1.0)
        EMA(decay=0.5).after_step(shadow, model, step=1000)
        for name, parameter in shadow.named_parameters():
            torch.testing.assert_close(parameter, before[name] + 0.5)

    @pytest.mark.parametrize("search", [AWP(gamma=0.1), SAM(rho=0.5)], ids=["awp", "sam"])
    def test_searches_go_around_it(self, make, search) -> None:
        model = make().attach(network())
        before = copy.deepcopy(model.state_dict())
        batch = Batch(images(), torch.arange(6) % 3, torch.arange(6))
        loss_of = Plain().craft(model, batch, seeded())
        with one_draw(model, seeded()):
            worse = search(model, lambda model: loss_of(model).value)
            assert all(map(torch.equal, model.state_dict().values(), before.values()))
            assert loss_of(worse).value > loss_of(model).value
        loss_of(worse).value.backward()
        assert all(p.grad is not None for p in model.parameters())


def test_frozen_layers_get_no_noise_to_learn() -> None:
    model = network()
    model[0].requires_grad_(False)
    LearnedNoise().attach(model)
    assert not model[0].parametrizations.weight[0].coefficients.requires_grad
    assert model[4].parametrizations.weight[0].coefficients.requires_grad


def test_no_certificate_for_one_draw() -> None:
    model = GaussianNoise(when="always").attach(network()).eval()
    with pytest.raises(brolly.certify.Unsupported, match="draws random numbers"):
        IntervalBounds().proves(model, images(), torch.arange(6) % 3, Linf(0.001))


def test_as_published() -> None:
    assert LearnedNoise.as_published() == LearnedNoise(initial=0.25, per="layer", when="always")
    assert DropConnect.as_published() == DropConnect(p=0.5, layers="linear")
