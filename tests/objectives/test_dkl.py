"""The decoupled and the improved Kullback-Leibler divergence against their equations."""

import dataclasses

import pytest
import torch
from oracles.objectives import (
    THREATS,
    Watched,
    batch,
    check_loss_and_gradients,
    draws,
    generator,
    slow_climb,
    slow_cross_entropy,
    smooth,
    trades_point,
)

import brolly
from brolly import AWP, DKL, IKL, PGD, TRADES, Batch, Dataset, Linf, RunFolder
from brolly.objectives._dkl import paired_differences
from brolly.training import Validation


def slow_pairs(z, z_adv, w):
    """1/4 sum_jk w_j w_k ((z_j - z_k) - (z'_j - z'_k))^2, pair by pair."""
    total, classes = z.new_zeros(()), range(len(z))
    for j in classes:
        for k in classes:
            total = total + w[j] * w[k] * ((z[j] - z[k]) - (z_adv[j] - z_adv[k])) ** 2
    return total / 4


def slow_soft(z, z_adv):
    return -(z.softmax(0).detach() * z_adv.log_softmax(0)).sum()


def slow_dkl(clean, adversarial, y, mse, soft):
    each = [
        mse * slow_pairs(z, z_adv.detach(), z.softmax(0).detach()) + soft * slow_soft(z, z_adv)
        for z, z_adv in zip(clean, adversarial, strict=True)
    ]
    return slow_cross_entropy(clean, y) + torch.stack(each).mean()


def slow_ikl(clean, adversarial, y, mse, soft, weights):
    each = [
        mse * slow_pairs(z, z_adv, weights[label]) + soft * slow_soft(z, z_adv)
        for z, z_adv, label in zip(clean, adversarial, y.tolist(), strict=True)
    ]
    return slow_cross_entropy(clean, y) + torch.stack(each).mean()


def test_the_variance_is_the_sum_over_pairs():
    torch.manual_seed(0)
    z, z_adv = torch.randn(2, 5, 7, dtype=torch.float64)
    w = torch.randn(5, 7, dtype=torch.float64).softmax(1)
    expected = torch.stack([slow_pairs(*rows) for rows in zip(z, z_adv, w, strict=True)])
    torch.testing.assert_close(paired_differences(z - z_adv, w), expected)


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_dkl_is_its_equation(threat):
    model, examples = smooth(), batch()
    point = trades_point(model, threat, examples, steps=4, step=0.4 * threat.eps)
    attack = PGD(threat, steps=4, step_size=0.4 * threat.eps)
    objective = DKL(attack, mse=3.0, soft=2.0)
    check_loss_and_gradients(
        objective,
        model,
        examples,
        lambda: slow_dkl(model(examples.x), model(point), examples.y, 3.0, 2.0),
    )
    logs = objective(model, examples, generator()).logs
    parts = logs["natural"] + 3 * logs["mse"] + 2 * logs["soft"]
    torch.testing.assert_close(objective(model, examples, generator()).value, parts)


def gradients(objective, model, examples):
    value = objective(model, examples, generator()).value
    return torch.autograd.grad(value, list(model.parameters()))


def test_with_equal_weights_dkl_has_the_gradient_of_trades():
    """Theorem 1 of the paper."""
    model, examples, attack = smooth(), batch(), PGD(Linf(0.2), steps=3)
    trades = gradients(TRADES(attack, beta=5.0), model, examples)
    equal = gradients(DKL(attack, mse=5.0, soft=5.0), model, examples)
    other = gradients(DKL(attack, mse=0.0, soft=5.0), model, examples)
    for left, right, without in zip(trades, equal, other, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-13)
        assert not torch.allclose(left, without, rtol=1e-4)


def ikl_point(model, threat, examples, weights, *, steps, step):
    x, clean = examples.x, model(examples.x).detach()
    start = threat.project(x + 0.001 * draws(examples).normal(x), x)

    def improved(logits, k):
        w = weights[int(examples.y[k])]
        return slow_pairs(clean[k], logits[0], w) + slow_soft(clean[k], logits[0])

    return slow_climb(model, threat, improved, start, x, steps=steps, step=step)


def split(count):
    blank = torch.zeros(count, 1, 3, 4), torch.zeros(count, dtype=torch.long)
    return Dataset.from_tensors("blank", blank, blank, validation=blank, classes=("0", "1")).train


def class_means(model, examples, temperature):
    """Mean softened probabilities of each class, by hand."""
    means = []
    for label in range(4):
        rows = [z for z, y in zip(model(examples.x), examples.y, strict=True) if y == label]
        means.append(torch.stack([(z / temperature).softmax(0) for z in rows]).mean(0).detach())
    return torch.stack(means)


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("epoch", [0, 1])
def test_ikl_is_its_equation(threat, epoch):
    """With uniform weights in the first epoch, and those of the epoch before in the second."""
    model, examples = smooth(), batch()
    attack = PGD(threat, steps=4, step_size=0.4 * threat.eps)
    objective = IKL(attack, mse=3.0, soft=2.0, temperature=0.5).begin(split(200), "cpu")
    weights = torch.full((4, 4), 0.25, dtype=torch.float64)
    if epoch:
        weights = class_means(model, examples, 0.5)
        for half in (slice(0, 5), slice(5, 16)):  # an epoch of two batches
            objective(model, Batch(*(part[half] for part in examples)), generator())
    point = ikl_point(model, threat, examples, weights, steps=4, step=0.4 * threat.eps)
    loss_of = objective.craft(model, examples, generator())  # once: a third epoch would begin
    check_loss_and_gradients(
        lambda model, *_: loss_of(model),
        model,
        examples,
        lambda: slow_ikl(model(examples.x), model(point), examples.y, 3.0, 2.0, weights),
    )


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("step", [None, 0.1])
def test_as_published_eps_and_steps_grow_in_equal_parts(threat, step):
    attack = PGD(threat, steps=5, step_size=step)
    objective = IKL.as_published(attack).begin(split(200), "cpu")
    for epoch in range(1, 5):
        grown = objective.at(epoch, 4)
        assert grown.threat == threat.with_eps(epoch / 4 * threat.eps)
        assert grown.attack.step == pytest.approx(epoch / 4 * attack.step)
        assert grown.attack.steps == 5
    assert objective.attack == attack
    examples = batch()
    objective.at(1, 4)(smooth(), examples, generator())
    assert memory_of(objective)["met"][examples.index].all()  # they share the memory
    assert IKL(attack).at(1, 4) == IKL(attack)


def test_fit_trains_with_the_eps_of_each_epoch():
    data = brolly.load_data("digits")
    data = dataclasses.replace(data, train=data.train.first(64))
    network = brolly.models.MLP(64, classes=10, hidden=[16], normalize=data.statistics)
    watched = Watched(network)
    spans = []

    def measure(record):  # crafting begins near the clean inputs, which come first
        clean, *_, last = (x for x in watched.inputs if len(x) == 64)
        spans.append(float((last - clean).abs().max()))
        watched.inputs.clear()

    brolly.fit(
        watched, data, objective=IKL.as_published(PGD(Linf(0.1), steps=5)), epochs=4,
        batch_size=64, on_epoch=measure, device="cpu",
        validation=Validation(examples=10, train_examples=0, steps=1),
    )  # fmt: skip
    assert spans == pytest.approx([0.025, 0.05, 0.075, 0.1], abs=1e-6)


def memory_of(objective):
    return {name: value.clone() for name, value in objective.state().items()}


def test_classes_that_an_epoch_had_no_examples_of_keep_their_means():
    model, examples = smooth(), batch()
    objective = IKL(PGD(Linf(0.1), steps=1)).begin(split(200), "cpu")
    half = Batch(*(part[examples.y < 2] for part in examples))
    for epoch in (examples, half, half):
        objective(model, epoch, generator())
    torch.testing.assert_close(memory_of(objective)["means"], class_means(model, examples, 4.0))


def test_means_are_counted_once_a_step_and_exact_under_autocast():
    model, examples = smooth(torch.float32), batch(torch.float32)
    objective = IKL(PGD(Linf(0.1), steps=1)).begin(split(200), "cpu")
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        loss_of = objective.craft(model, examples, generator())
        worse = AWP()(model, lambda model: loss_of(model).value)
        loss_of(worse)
    sums = memory_of(objective)["sums"]
    torch.testing.assert_close(sums.sum(1), torch.full((4,), 4.0), rtol=1e-6, atol=0)


def test_the_memory_belongs_to_the_copy_that_was_begun_alone():
    objective, examples = IKL(PGD(Linf(0.1), steps=1)), batch()
    first, second = (objective.begin(split(200), "cpu") for _ in range(2))
    assert first == second == objective
    first(smooth(), examples, generator())
    assert objective.state() == {}
    assert not memory_of(second)["met"].any()
    second.load_state(memory_of(first))
    values = [each(smooth(), examples, generator(9)).value for each in (first, second)]
    assert values[0] == values[1] != objective(smooth(), examples, generator(9)).value


@dataclasses.dataclass
class Interrupted(Exception):
    epoch: int


def test_a_run_that_was_interrupted_ends_with_the_same_bits(tmp_path):
    data = brolly.load_data("digits")
    data = dataclasses.replace(data, train=data.train.first(256))

    def train(run=None, stop=None):
        def watch(record):
            if record.epoch == stop:
                raise Interrupted(record.epoch)

        torch.manual_seed(0)
        model = brolly.models.MLP(64, classes=10, hidden=[16], normalize=data.statistics)
        brolly.fit(
            model,
            data,
            objective=IKL(PGD(Linf(0.05), steps=2), grows=True),
            weights=AWP(),
            epochs=3,
            run=run,
            on_epoch=watch,
            validation=Validation(examples=64, train_examples=0, steps=1),
            device="cpu",
        )
        return model

    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    with pytest.raises(Interrupted):
        train(folder, stop=2)
    whole, resumed = train(), train(folder)
    assert all(map(torch.equal, whole.parameters(), resumed.parameters()))


@pytest.mark.parametrize("kind", [DKL, IKL])
def test_numbers_out_of_range_are_refused_at_once(kind):
    with pytest.raises(ValueError, match=r"mse is -1.*soft is -2.*spread is 0"):
        kind(PGD(Linf(0.1)), mse=-1.0, soft=-2.0, spread=0.0)


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ValueError, match=r"temperature is 0.0; expected more than 0"):
        IKL(PGD(Linf(0.1)), temperature=0.0)
