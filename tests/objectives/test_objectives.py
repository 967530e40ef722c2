"""Objectives against slow transcriptions of their equations, and what they leave untouched."""

import copy
import dataclasses
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from oracles.objectives import (
    THREATS,
    Watched,
    ascent,
    batch,
    ce_of,
    check_loss_and_gradients,
    draws,
    generator,
    noise,
    normed,
    slow_cross_entropy,
    slow_gradient,
    slow_kl,
    smooth,
)
from torch import nn

from brolly import (
    ALP,
    ATTA,
    DKL,
    FGSMRS,
    HAT,
    IKL,
    L2,
    MART,
    NFGSM,
    PGD,
    RST,
    SCORE,
    TRADES,
    VAT,
    Batch,
    Dataset,
    GradAlign,
    Linf,
    Objective,
    PGDTraining,
    Plain,
)


def test_plain_is_the_mean_cross_entropy():
    model, examples = smooth(), batch()
    check_loss_and_gradients(
        Plain(), model, examples, lambda: slow_cross_entropy(model(examples.x), examples.y)
    )


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("options", [{}, {"noise": 1.0, "step": 0.5}])
def test_nfgsm_steps_from_wide_noise_and_is_not_projected(threat, options):
    model, examples = smooth(), batch()
    x, y = examples.x, examples.y
    k, alpha = options.get("noise", 2.0), options.get("step", 1.0)
    noisy = (x + noise(threat, x, draws(examples), k * threat.eps)).clamp(0, 1)
    gradient = slow_gradient(model, ce_of(y), noisy)
    x_adv = (noisy + alpha * threat.eps * ascent(threat, gradient)).clamp(0, 1)
    if not options:
        assert (threat.distance(x_adv, x) > threat.eps * 1.2).any()  # outside the ball
    check_loss_and_gradients(
        NFGSM(threat, **options), model, examples, lambda: slow_cross_entropy(model(x_adv), y)
    )


def test_nfgsm_noise_fills_twice_the_ball():
    examples, watched = batch(count=200), Watched(smooth())
    inner = examples._replace(x=examples.x * 0.2 + 0.4)  # far from the bounds
    NFGSM(Linf(0.1))(watched, inner, generator())
    moves = (watched.inputs[0] - inner.x).abs()
    assert 0.199 < float(moves.max()) <= 0.2 + 1e-12
    assert 0.095 < float(moves.mean()) < 0.105


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_fgsmrs_projects(threat):
    model, examples = smooth(), batch()
    x, y = examples.x, examples.y
    start = (x + noise(threat, x, draws(examples), threat.eps)).clamp(0, 1)
    gradient = slow_gradient(model, ce_of(y), start)
    stepped = start + 1.25 * threat.eps * ascent(threat, gradient)
    if isinstance(threat, Linf):
        x_adv = (x + (stepped - x).clamp(-threat.eps, threat.eps)).clamp(0, 1)
    else:
        x_adv = threat.project(stepped, x)
    assert (threat.distance(stepped, x) > threat.eps).any()
    assert threat.contains(x_adv, x).all()
    check_loss_and_gradients(
        FGSMRS(threat), model, examples, lambda: slow_cross_entropy(model(x_adv), y)
    )


def split(examples):
    """A training split as long as the batch's indices ask for."""
    blank = torch.zeros(200, *examples.x.shape[1:]), torch.zeros(200, dtype=torch.long)
    return Dataset.from_tensors("blank", blank, blank, validation=blank, classes=("0", "1")).train


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_atta_goes_on_where_each_example_stopped(threat):
    """Steps add up over calls, and a batch in another order finds its own perturbations."""
    model, examples = smooth(), batch()
    x, y = examples.x, examples.y
    objective = ATTA(threat, step=0.4).begin(split(examples), "cpu")
    point = (x + noise(threat, x, draws(examples), threat.eps)).clamp(0, 1)
    for call in range(3):
        gradient = slow_gradient(model, ce_of(y), point)
        point = threat.project(point + 0.4 * threat.eps * ascent(threat, gradient), x)
        rows = torch.arange(len(x)) if call % 2 == 0 else torch.arange(len(x)).flip(0)
        shuffled = Batch(x[rows], y[rows], examples.index[rows])
        watched = Watched(model)
        objective(watched, shuffled, generator())
        torch.testing.assert_close(watched.inputs[-1], point[rows], rtol=0, atol=2e-3)
        point = watched.inputs[-1][rows]
        point = threat.project(x + (point - x).half().double(), x)  # the memory's precision
    assert (threat.distance(point, x) > 0.8 * threat.eps).any()


def test_atta_remembers_in_the_copy_that_was_begun_alone():
    objective, examples = ATTA(Linf(0.2)), batch()
    first, second = (objective.begin(split(examples), "cpu") for _ in range(2))
    assert first == second == objective
    first(smooth(), examples, generator())
    assert objective.state() == {}
    assert first.state()["seen"].sum() == len(examples.x)
    assert not second.state()["seen"].any()
    second.load_state({name: value.clone() for name, value in first.state().items()})
    values = [each(smooth(), examples, generator(9)).value for each in (first, second)]
    assert values[0] == values[1]
    assert values[0] != objective(smooth(), examples, generator(9)).value


def test_atta_wants_a_step():
    with pytest.raises(ValueError, match="step is 0"):
        ATTA(Linf(0.1), step=0)


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("random_start", [True, False])
def test_pgd_training_trains_on_the_last_point_after_all_steps(threat, random_start):
    model, examples = smooth(), batch()
    x, y = examples.x, examples.y
    attack = PGD(threat, steps=5, step_size=0.3 * threat.eps, random_start=random_start)
    point = x
    if random_start:
        point = (x + noise(threat, x, draws(examples), threat.eps)).clamp(0, 1)
    for _ in range(5):
        gradient = slow_gradient(model, ce_of(y), point)
        point = threat.project(point + 0.3 * threat.eps * ascent(threat, gradient), x)
    check_loss_and_gradients(
        PGDTraining(attack), model, examples, lambda: slow_cross_entropy(model(point), y)
    )


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_trades_is_cross_entropy_plus_beta_times_divergence(threat):
    model, examples = smooth(), batch()
    x, y = examples.x, examples.y
    clean = model(x).detach()
    point = threat.project(x + 0.001 * draws(examples).normal(x), x)
    for _ in range(4):
        gradient = slow_gradient(model, lambda logits, k: slow_kl(clean[k : k + 1], logits), point)
        point = threat.project(point + 0.4 * threat.eps * ascent(threat, gradient), x)
    objective = TRADES(PGD(threat, steps=4, step_size=0.4 * threat.eps), beta=3.0)

    def expected():
        logits = model(x)
        return slow_cross_entropy(logits, y) + 3 * slow_kl(logits, model(point))

    check_loss_and_gradients(objective, model, examples, expected)
    loss = objective(model, examples, generator())
    assert set(loss.logs) == {"natural", "divergence"}
    torch.testing.assert_close(loss.value, loss.logs["natural"] + 3 * loss.logs["divergence"])
    assert not any(part.requires_grad for part in loss.logs.values())
    assert float(loss.logs["divergence"]) > 0.001


@pytest.mark.parametrize(
    ("objective", "forwards"),
    [
        (Plain(), 1),
        (NFGSM(Linf(0.1)), 2),
        (FGSMRS(Linf(0.1)), 2),
        (ATTA(Linf(0.1)), 2),
        (PGDTraining(PGD(Linf(0.1), steps=7)), 8),
        (TRADES(PGD(Linf(0.1), steps=7)), 10),
        (GradAlign(Linf(0.1)), 3),
        (VAT(L2(0.5), iterations=2), 5),
        (RST(PGD(Linf(0.1), steps=7), labelled=120), 10),
        (MART(PGD(Linf(0.1), steps=7)), 9),
        (SCORE(PGD(Linf(0.1), steps=7)), 10),
        (DKL(PGD(Linf(0.1), steps=7)), 10),
        (IKL(PGD(Linf(0.1), steps=7)), 10),
        (ALP(PGD(Linf(0.1), steps=7)), 8),  # the last on clean and adversarial inputs at once
    ],
    ids=lambda value: type(value).__name__ if dataclasses.is_dataclass(value) else "",
)
def test_cost_of_a_step_in_forward_passes(objective, forwards):
    watched = Watched(smooth())
    objective(watched, batch(), generator())
    assert len(watched.inputs) == forwards


@pytest.mark.parametrize("beta", [0.0, 2.0])
def test_trades_weighs_the_divergence(beta):
    examples = batch()
    loss = TRADES(PGD(Linf(0.1), steps=2), beta=beta)(smooth(), examples, generator())
    torch.testing.assert_close(loss.value, loss.logs["natural"] + beta * loss.logs["divergence"])


def test_label_smoothing_spreads_mass_over_all_classes():
    model, examples = smooth(), batch()
    for kind in (NFGSM, FGSMRS, ATTA):
        watched = Watched(model)
        loss = kind(Linf(0.1), label_smoothing=0.3)(watched, examples, generator())
        target = F.one_hot(examples.y, 4) * 0.7 + 0.3 / 4
        expected = -(target * model(watched.inputs[-1]).log_softmax(1)).sum(1).mean()
        torch.testing.assert_close(loss.value, expected)


class FirstFour(nn.Module):
    """A helper of any precision: which of the first four values is the largest."""

    def forward(self, x):
        return x.flatten(1)[:, :4]


@dataclasses.dataclass(frozen=True)
class Crafted:
    """An objective of some crafting mode, and which inputs its last forward passes see."""

    make: Callable[[str], Objective]
    forwards: int = 1  # of the training step
    adversarial: Callable[[list[torch.Tensor]], torch.Tensor] = lambda inputs: inputs[-1]

    def __call__(self, mode):
        return self.make(mode)


LINF = PGD(Linf(0.1), steps=3)
CRAFTED = {
    "nfgsm": Crafted(lambda mode: NFGSM(Linf(0.1), mode=mode)),
    "fgsm-rs": Crafted(lambda mode: FGSMRS(Linf(0.1), mode=mode)),
    "atta": Crafted(lambda mode: ATTA(Linf(0.1), mode=mode)),
    "pgd-l2": Crafted(lambda mode: PGDTraining(PGD(L2(0.5), steps=3), mode=mode)),
    "trades": Crafted(lambda mode: TRADES(LINF, mode=mode), 2),
    "gradalign": Crafted(  # a random point, then the one that is trained on
        lambda mode: GradAlign(Linf(0.1), mode=mode), 1, lambda inputs: torch.cat(inputs[-2:], 1)
    ),
    "vat": Crafted(lambda mode: VAT(L2(0.5), mode=mode), 2),
    "rst": Crafted(lambda mode: RST(LINF, labelled=120, mode=mode), 2),
    "mart": Crafted(lambda mode: MART(LINF, mode=mode), 2),
    "hat": Crafted(lambda mode: HAT(LINF, FirstFour(), mode=mode), 3, lambda inputs: inputs[-2]),
    "score": Crafted(lambda mode: SCORE(LINF, mode=mode), 2),
    "dkl": Crafted(lambda mode: DKL(LINF, mode=mode), 2),
    "ikl": Crafted(lambda mode: IKL(LINF, mode=mode), 2),
    "alp": Crafted(lambda mode: ALP(LINF, mode=mode), 1, lambda inputs: inputs[-1][16:]),
}


@pytest.fixture(params=CRAFTED)
def crafted(request):
    return CRAFTED[request.param]


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_crafting_leaves_running_statistics_to_the_training_forward(crafted, mode):
    watched, examples = Watched(normed(dropout=0.0)), batch(torch.float32)
    alone = copy.deepcopy(watched.network)
    crafted(mode)(watched, examples, generator())
    for x in watched.inputs[-crafted.forwards :]:
        alone(x)
    before = normed(dropout=0.0).state_dict()
    after = watched.network.state_dict()
    for name, buffer in alone.named_buffers():
        assert torch.equal(after[name], buffer), name
        assert not torch.equal(after[name], before[name]), name


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_crafting_in_eval_and_in_train_mode_differ(crafted, dropout):
    found = {}
    for mode in ("eval", "train"):
        watched = Watched(normed(dropout))
        crafted(mode)(watched, batch(torch.float32), generator())
        found[mode] = crafted.adversarial(watched.inputs)
        crafting = watched.modes[: -crafted.forwards]
        assert len(crafting) > 0
        for modes in crafting:
            assert all(modes) if mode == "train" else not any(modes)
        assert all(all(modes) for modes in watched.modes[-crafted.forwards :])
    assert (found["eval"] != found["train"]).any()


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_each_submodule_keeps_its_mode(crafted, mode):
    watched = Watched(normed())
    watched.network[1].eval()  # frozen BatchNorm
    watched.network[3].eval()
    before = [module.training for module in watched.modules()]
    frozen = copy.deepcopy(watched.network[1].state_dict())
    crafted(mode)(watched, batch(torch.float32), generator())
    assert [module.training for module in watched.modules()] == before
    for name, value in watched.network[1].state_dict().items():
        assert torch.equal(value, frozen[name])
    if mode == "train":
        assert len(set(watched.modes)) == 1


def test_modes_and_buffers_survive_an_exception(crafted):
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = normed()

        def forward(self, x):
            out = self.network(x)
            raise (
                RuntimeError("out of luck") if self.network[1].training else RuntimeError(out.sum())
            )

    model = Fails()
    model.network[3].eval()
    before = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    with pytest.raises(RuntimeError):
        crafted("eval")(model, batch(torch.float32), generator())
    assert [module.training for module in model.modules()] == before[1]
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[0][name])


def test_the_generator_alone_decides(crafted):
    def run(global_seed, seed):
        watched = Watched(smooth())
        torch.manual_seed(global_seed)
        state = torch.get_rng_state()
        loss = crafted("train")(watched, batch(), generator(seed))
        assert torch.equal(torch.get_rng_state(), state)
        return crafted.adversarial(watched.inputs), loss.value.detach()

    first, again, other = run(0, 5), run(1, 5), run(0, 6)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_dropout_while_crafting_follows_from_the_generator(crafted):
    found = []
    for global_seed in (0, 1):
        watched = Watched(normed(0.5))
        torch.manual_seed(global_seed)
        crafted("train")(watched, batch(torch.float32), generator())
        found.append(crafted.adversarial(watched.inputs))
    assert torch.equal(*found)


def test_noise_belongs_to_the_example_not_to_its_place_in_the_batch(crafted):
    examples, order = batch(), torch.randperm(16, generator=generator(9))
    moved = Batch(*(part[order] for part in examples))
    found = []
    for one in (examples, moved):
        watched = Watched(smooth())
        crafted("eval")(watched, one, generator())
        found.append(crafted.adversarial(watched.inputs))
    torch.testing.assert_close(found[0][order], found[1], rtol=0, atol=1e-12)
    elsewhere = examples._replace(index=examples.index + 1)
    watched = Watched(smooth())
    crafted("eval")(watched, elsewhere, generator())
    assert not torch.allclose(found[0], crafted.adversarial(watched.inputs), atol=1e-6)


def test_crafting_leaves_no_gradients_and_no_changed_inputs(crafted):
    model, examples = smooth(), batch()
    before = examples.x.clone()
    loss = crafted("eval")(model, examples, generator())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(examples.x, before)
    assert examples.x.grad is None
    loss.value.backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in model.parameters())


def test_crafted_inputs_stay_in_other_bounds(crafted):
    objective = crafted("eval")
    wide = (-3.0, 5.0)
    threat = dataclasses.replace(objective.threat, bounds=wide, eps=2.0)
    if hasattr(objective, "attack"):
        objective = dataclasses.replace(
            objective, attack=dataclasses.replace(objective.attack, threat=threat)
        )
    else:
        objective = dataclasses.replace(objective, adversary=threat)
    examples, watched = batch(), Watched(smooth())
    objective(watched, examples._replace(x=examples.x * 8 - 3), generator())
    x = crafted.adversarial(watched.inputs)
    assert wide[0] <= float(x.min()) < 0
    assert 1 < float(x.max()) <= wide[1]


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_gradients_reach_all_weights_under_bfloat16(crafted, mode):
    model = normed(dropout=0.0)
    seen = []
    hook = model[-1].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        loss = crafted(mode)(model, batch(torch.float32), generator())
    hook.remove()
    assert set(seen) == {torch.bfloat16}
    assert loss.value.dtype == torch.float32  # computed from logits cast up
    loss.value.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert model[0].weight.grad.abs().max() > 0
    assert model[-1].weight.grad.abs().max() > 0


def test_published_presets():
    linf, attack = Linf(8 / 255), PGD(Linf(8 / 255), steps=10)
    assert NFGSM.as_published(linf) == NFGSM(
        linf, noise=2.0, step=1.0, label_smoothing=0.0, mode="train"
    )
    assert FGSMRS.as_published(linf) == FGSMRS(linf, step=1.25, label_smoothing=0.0, mode="train")
    assert PGDTraining.as_published(attack) == PGDTraining(attack, mode="train")
    assert TRADES.as_published(attack) == TRADES(attack, beta=6.0, spread=0.001, mode="eval")
    assert TRADES.as_published(attack, beta=1.0).beta == 1


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: NFGSM(Linf(0.1), noise=-1.0), "noise is -1.0; expected 0 or more"),
        (lambda: NFGSM(Linf(0.1), step=0.0), "step is 0.0; expected more than 0"),
        (lambda: NFGSM(Linf(0.1), label_smoothing=-0.1), "label_smoothing is -0.1"),
        (lambda: FGSMRS(Linf(0.1), step=-1.0), "step is -1.0"),
        (lambda: FGSMRS(Linf(0.1), label_smoothing=5.0), r"is 5.0; expected a number in \[0, 1\]"),
        (lambda: ATTA(Linf(0.1), label_smoothing=1.5), "label_smoothing is 1.5"),
        (lambda: ATTA(Linf(0.1), step=0.0), "step is 0.0"),
    ],
)
def test_single_steps_refuse_numbers_out_of_range(make, told):
    with pytest.raises(ValueError, match=told):
        make()


def test_the_threat_is_known():
    attack = PGD(L2(0.5))
    assert Plain().threat is None
    assert NFGSM(Linf(0.1)).threat == FGSMRS(Linf(0.1)).threat == Linf(0.1)
    assert TRADES(attack).threat == PGDTraining(attack).threat == L2(0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"beta": -1.0}, "beta is -1.0; expected 0 or more"), ({"spread": 0.0}, "spread is 0.0"),
     ({"beta": float("nan")}, "beta is nan")],
)  # fmt: skip
def test_what_trades_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        TRADES(PGD(Linf(0.1)), **options)


def test_a_model_that_cuts_the_graph_is_told():
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = smooth()

        def forward(self, x):
            return self.network(x.detach()).detach()

    with pytest.raises(ValueError, match="carries no gradient"):
        NFGSM(Linf(0.1))(Cut(), batch(), generator())
