"""Soft labels, MixUp and CutMix against their equations; what the generator decides."""

import random

import pytest
import torch
from torch import nn

import brolly
from brolly import Batch, CutMix, MixUp, Plain
from brolly._draws import Draws


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 9), nn.Tanh(), nn.Linear(9, 4)).double()


def batch(count=16):
    x = torch.rand(count, 1, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Batch(x, torch.arange(count) % 4, torch.arange(count) * 3 + 100)


def generator(seed=5):
    return torch.Generator().manual_seed(seed)


def seen(objective, examples, seed=5):
    """The loss, and the inputs that the network was given."""
    model, inputs = network(), []
    model.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    loss = objective(model, examples, generator(seed))
    (x,) = inputs
    return model, loss, x


def slow_cross_entropy(row, label):
    return float(row.logsumexp(0) - row[int(label)])


def test_plain_takes_soft_labels_and_the_entropy() -> None:
    model, examples = network(), batch()
    loss = Plain(label_smoothing=0.2, confidence=0.3)(model, examples, generator())
    expected, entropies = 0.0, 0.0
    for row, label in zip(model(examples.x).detach(), examples.y, strict=True):
        p = row.exp() / row.exp().sum()
        entropy = -float((p * p.log()).sum())
        smooth = sum(slow_cross_entropy(row, k) for k in range(4)) / 4
        expected += 0.8 * slow_cross_entropy(row, label) + 0.2 * smooth - 0.3 * entropy
        entropies += entropy
    assert float(loss.value.detach()) == pytest.approx(expected / 16, rel=1e-9)
    assert float(loss.logs["entropy"]) == pytest.approx(entropies / 16, rel=1e-9)
    assert not loss.logs["entropy"].requires_grad


def test_the_confidence_penalty_has_the_gradient_of_the_entropy() -> None:
    """dH/dz_k = -p_k (log p_k + H)."""
    logits = torch.randn(16, 4, dtype=torch.float64, requires_grad=True)
    values = [Plain(confidence=c)(Fixed(logits), batch(), generator()).value for c in (0.5, 0.0)]
    (gradient,) = torch.autograd.grad(values[0] - values[1], logits)
    p = logits.softmax(1)
    entropy = -(p * p.log()).sum(1, keepdim=True)
    torch.testing.assert_close(gradient, 0.5 * p * (p.log() + entropy) / 16)


class Fixed(nn.Module):
    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, x):
        return self.logits


def next_in_ring(examples, seed=5):
    """Each example's partner: the one with the next higher uniform number."""
    draws = Draws.from_generator(generator(seed), examples.index)
    numbers = draws.uniform(torch.empty(len(examples.x), dtype=torch.float64)).tolist()
    higher = [sorted(n for n in numbers if n > own) or sorted(numbers) for own in numbers]
    return [numbers.index(rest[0]) for rest in higher]


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_is_between_two_examples_in_inputs_and_labels(alpha) -> None:
    examples = batch()
    model, loss, x = seen(MixUp(alpha=alpha), examples)
    share = random.Random(Draws.from_generator(generator(), examples.index).seed).betavariate(
        alpha, alpha
    )
    expected = 0.0
    for i, j in enumerate(next_in_ring(examples)):
        torch.testing.assert_close(x[i], share * examples.x[i] + (1 - share) * examples.x[j])
        row = model(x[i : i + 1])[0].detach()
        expected += share * slow_cross_entropy(row, examples.y[i])
        expected += (1 - share) * slow_cross_entropy(row, examples.y[j])
    assert float(loss.value.detach()) == pytest.approx(expected / 16, rel=1e-9)
    loss.value.backward()
    assert all(p.grad.abs().max() > 0 for p in model.parameters())


def test_cutmix_pastes_boxes_and_weighs_labels_by_what_is_left() -> None:
    examples, areas = batch(), set()
    for seed in range(6):
        model, loss, x = seen(CutMix(), examples, seed)
        expected = 0.0
        draws = Draws.from_generator(generator(seed), examples.index)
        side = (1 - random.Random(draws.seed).betavariate(1, 1)) ** 0.5
        draws.uniform(torch.empty(16, 2, dtype=torch.float64))  # the centres come first
        numbers = draws.uniform(torch.empty(16, dtype=torch.float64)).tolist()
        for i, own in enumerate(numbers):
            j = numbers.index(min([n for n in numbers if n > own] or numbers))
            pasted = x[i, 0] != examples.x[i, 0]
            assert torch.equal(x[i, 0][pasted], examples.x[j, 0][pasted])
            count = int(pasted.sum())
            if count:
                at = pasted.nonzero()
                height, width = (at.amax(0) - at.amin(0) + 1).tolist()
                assert count == height * width  # a box, whole
                assert height <= int(6 * side)
                assert width <= int(8 * side)
                areas.add(count)
            row = model(x[i : i + 1])[0].detach()
            share = 1 - count / 48
            expected += share * slow_cross_entropy(row, examples.y[i])
            expected += (1 - share) * slow_cross_entropy(row, examples.y[j])
        assert float(loss.value.detach()) == pytest.approx(expected / 16, rel=1e-9)
    assert len(areas) > 5


def test_cutmix_leaves_some_batches_alone() -> None:
    examples = batch()
    untouched = [
        torch.equal(seen(CutMix(probability=0.5), examples, seed)[2], examples.x)
        for seed in range(40)
    ]
    assert 8 < sum(untouched) < 34
    _, loss, x = seen(CutMix(probability=0.0), examples)
    assert torch.equal(x, examples.x)
    torch.testing.assert_close(loss.value, Plain()(network(), examples, generator()).value)


@pytest.mark.parametrize("objective", [MixUp(), CutMix()])
def test_the_generator_decides_and_the_order_of_the_batch_does_not(objective) -> None:
    examples = batch()
    _, loss, x = seen(objective, examples)
    torch.manual_seed(99)
    assert torch.equal(seen(objective, examples)[2], x)
    assert not torch.equal(seen(objective, examples, 6)[2], x)
    rows = torch.randperm(16)
    _, shuffled, other = seen(objective, Batch(*(part[rows] for part in examples)))
    assert torch.equal(other, x[rows])
    torch.testing.assert_close(shuffled.value, loss.value)


@pytest.mark.parametrize("objective", [MixUp(), CutMix()])
def test_no_example_is_its_own_partner(objective) -> None:
    two = Batch(*(part[:2] for part in batch()))
    for seed in range(10):
        _, _, x = seen(objective, two, seed)
        changed = x != two.x
        assert torch.equal(x[changed], torch.where(changed, x, two.x)[changed])
        if isinstance(objective, MixUp):
            assert changed.all()
            torch.testing.assert_close(x.sum(0), two.x.sum(0))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: MixUp(alpha=0.0), "alpha is 0"),
        (lambda: CutMix(alpha=-1.0), "alpha is -1"),
        (lambda: CutMix(probability=2.0), "probability is 2"),
        (lambda: Plain(label_smoothing=1.5), "label_smoothing is 1.5"),
        (lambda: Plain(confidence=-1.0), "confidence is -1"),
        (
            lambda: CutMix()(nn.Identity(), batch()._replace(x=torch.zeros(16, 3)), generator()),
            "expected images",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, told) -> None:
    with pytest.raises(ValueError, match=told):
        make()


def test_fit_learns_with_them() -> None:
    data = brolly.load_data("digits")
    for objective in (MixUp(alpha=0.5), CutMix(), Plain(label_smoothing=0.1, confidence=0.1)):
        torch.manual_seed(0)
        model = brolly.models.MLP(64, classes=10, hidden=[16], normalize=data.statistics)
        history = brolly.fit(model, data, objective=objective, epochs=3)
        assert history.epochs[-1].validation_clean > 0.5


def test_recipes_name_them() -> None:
    found = {
        text: brolly.Recipe.load("digits-plain", [f"objective={text}"]).build_objective()
        for text in (
            "{name: mixup, alpha: 1/5}",
            "{name: cutmix, probability: 0.5}",
            "{name: plain, label_smoothing: 0.1, confidence: 0.2}",
        )
    }
    assert list(found.values()) == [
        MixUp(alpha=0.2), CutMix(probability=0.5), Plain(label_smoothing=0.1, confidence=0.2),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["mart", "mart-published"])
def test_soft_labels_are_refused_with_the_reason_where_the_loss_has_no_room_for_them(name) -> None:
    overrides = [
        f"objective={{name: {name}, attack: {{steps: 2}}, label_smoothing: 0.1}}",
        "weights=[{name: sam}]",
        "accumulate=2",
    ]
    with pytest.raises(ValueError, match="errors:") as raised:
        brolly.Recipe.load("digits-robust", overrides)
    _, soft, other = str(raised.value).split("\n")
    assert soft == (
        "  objective.label_smoothing: MART looks at the probability of the one right class, which "
        "soft labels do not have; label_smoothing is for plain, fgsm-rs, n-fgsm, atta"
    )
    assert "SAM would search for worse weights for each batch alone" in other
