"""Steps of the optimiser: gradients gathered over batches, clipped, penalised."""

import dataclasses

import pytest
import torch
from torch import nn

import brolly
from brolly import SGD, Plain
from brolly.penalties import Penalty, Sum, covered
from brolly.training import Constant


@pytest.fixture(scope="module")
def data():
    data = brolly.load_data("digits")
    return dataclasses.replace(data, train=data.train.first(256))


def train(data, lr=0.1, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    steps: list[tuple[int, int, float]] = []
    history = brolly.fit(
        model, data, objective=Plain(), epochs=1, optimizer=SGD(lr=lr, momentum=0, weight_decay=0),
        schedule=Constant(), on_step=lambda *at: steps.append(at), **options,
    )  # fmt: skip
    return model, history, steps


def test_accumulated_batches_step_like_one_large_batch(data) -> None:
    large, one, steps = train(data, batch_size=128)
    small, other, fewer = train(data, batch_size=32, accumulate=4)
    assert [at[:2] for at in steps] == [at[:2] for at in fewer] == [(1, 2), (2, 2)]
    for a, b in zip(large.parameters(), small.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    for history, told in ((one, steps), (other, fewer)):
        assert history.epochs[0].train_loss == pytest.approx(sum(loss for *_, loss in told) / 2)
    assert [loss for *_, loss in steps] == pytest.approx([loss for *_, loss in fewer])


def test_batches_left_over_make_a_step_of_their_own(data) -> None:
    assert train(data, batch_size=32, accumulate=3)[2][-1][:2] == (3, 3)


def test_clipping_bounds_the_step(data) -> None:
    torch.manual_seed(0)
    start = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    moved = train(data, lr=1.0, batch_size=256, clip=0.01)[0]
    differences = [
        (a - b).detach() for a, b in zip(start.parameters(), moved.parameters(), strict=True)
    ]
    assert torch.cat([d.flatten() for d in differences]).norm() == pytest.approx(0.01, rel=1e-3)


@dataclasses.dataclass(frozen=True)
class Pull(Penalty):
    """Sum of the weights, and their rounding after each step."""

    weight: float
    rates: list[float] = dataclasses.field(default_factory=list)

    def __call__(self, model):
        return self.weight * sum(p.sum() for p in covered(model, "weights").values())

    def after_step(self, model, lr):
        self.rates.append(lr)


def test_a_penalty_adds_its_gradient_and_acts_after_the_step(data) -> None:
    penalty = Pull(0.5)
    plain, without, _ = train(data, batch_size=256)
    pulled, history, _ = train(data, batch_size=256, penalty=penalty + Pull(0.25))
    torch.testing.assert_close(pulled[1].weight, plain[1].weight - 0.1 * 0.75)
    assert torch.equal(pulled[1].bias, plain[1].bias)
    assert penalty.rates == [0.1]
    gap = history.epochs[0].train_loss - without.epochs[0].train_loss
    assert gap == pytest.approx(history.epochs[0].logs["penalty"], abs=1e-6)


def test_a_sum_of_penalties_is_flat() -> None:
    one, two, three = Pull(1), Pull(2), Pull(3)
    assert (one + two) + three == one + (two + three) == Sum((one, two, three))


@pytest.mark.parametrize(
    ("covers", "names"),
    [
        ("all", {"0.weight", "0.bias", "1.weight", "1.bias", "3.weight"}),
        ("no_norm", {"0.weight", "0.bias", "3.weight"}),
        ("weights", {"0.weight", "3.weight"}),
        (lambda name, parameter: name == "0.bias", {"0.bias"}),
    ],
)
def test_what_a_penalty_covers_is_explicit(covers, names) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2, bias=False)
    )
    assert set(covered(model, covers)) == names
    model[0].requires_grad_(False)
    left = names - {"0.weight", "0.bias"}
    if left:
        assert set(covered(model, covers)) == left
    else:
        with pytest.raises(ValueError, match="no trainable parameter"):
            covered(model, covers)
