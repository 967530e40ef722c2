"""The loss at the worst inputs: against its equation, and what it leaves untouched."""

import copy
import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import brolly
from brolly import L2, PGD, Batch, Linf, PGDTraining
from brolly.losses import adversarial_loss, dlr, margin

THREATS = [Linf(0.2), L2(0.7)]


def network(dtype=torch.float64):
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh(), nn.Dropout(0.3),
        nn.Flatten(), nn.Linear(48, 4),
    ).to(dtype)  # fmt: skip


def examples(dtype=torch.float64):
    x = torch.rand(8, 1, 3, 4, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return x, torch.arange(8) % 4


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_it_is_what_adversarial_training_minimises(threat) -> None:
    x, y = examples()
    values = []
    for loss in (
        lambda model, g: adversarial_loss(model, x, y, threat, steps=4, generator=g),
        lambda model, g: (
            PGDTraining(PGD(threat, steps=4))(model, Batch(x, y, torch.arange(8)), g).value
        ),
    ):
        model = network()
        torch.manual_seed(0)  # of dropout
        value = loss(model, torch.Generator().manual_seed(3))
        value.backward()
        values.append((value.detach(), *(p.grad.clone() for p in model.parameters())))
    assert all(map(torch.equal, *values))


@pytest.mark.parametrize(
    ("name", "loss"),
    [("ce", lambda z, y: F.cross_entropy(z, y)), ("margin", margin), ("dlr", dlr)],
)
def test_it_climbs_the_loss_that_it_returns(name, loss) -> None:
    """On a linear model one step of Linf finds the worst input."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).double()
    x, y = examples()
    x, y = x * 0.2 + 0.4, y % 2
    w = model[1].weight
    own = torch.where(y[:, None] == 0, w[:1] - w[1:], w[1:] - w[:1])
    worst = x - 0.1 * own.sign().reshape(x.shape)
    value = adversarial_loss(model, x, y, Linf(0.1), steps=3, loss=name)
    torch.testing.assert_close(value, loss(model(worst), y).mean())


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_it_crafts_in_eval_mode_and_leaves_the_model_as_found(threat) -> None:
    model, (x, y) = network(torch.float32), examples(torch.float32)
    model[3].eval()
    modes = [module.training for module in model.modules()]
    seen, inputs = [], []

    def watch(module, args) -> None:
        seen.append([m.training for m in module.modules()])
        inputs.append(args[0].detach().clone())

    handle = model.register_forward_pre_hook(watch)
    random = torch.get_rng_state()
    value = adversarial_loss(model, x, y, threat, steps=3)
    handle.remove()
    assert torch.equal(torch.get_rng_state(), random)
    assert len(seen) == 4
    assert not any(map(any, seen[:3]))
    assert seen[3] == modes == [module.training for module in model.modules()]
    assert all(threat.contains(each, x).all() for each in inputs)
    assert all(p.grad is None for p in model.parameters())
    alone = copy.deepcopy(network(torch.float32))
    alone(inputs[-1])
    assert torch.equal(model[1].running_mean, alone[1].running_mean)
    value.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_the_generator_moves_the_start() -> None:
    model, (x, y) = network().eval(), examples()

    def value(seed):
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return adversarial_loss(model, x, y, Linf(0.2), steps=1, generator=generator)

    assert value(1) == value(1) != value(2)
    assert value(None) == value(None)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"steps": 0}, "steps is 0; expected 1 or more"),
        ({"x": torch.full((8, 1, 3, 4), 3.0)}, r"inputs span \[3, 3\]"),
        ({"y": torch.zeros(3).long()}, r"of shape \(3,\) .*; expected one integer per example"),
        ({"y": torch.zeros(8)}, r"labels are torch.float32 .*; expected one integer per example"),
        ({"threat": "linf:0.1"}, r"threat is 'linf:0.1', of type str; expected .* Linf\(8 / 255\)"),
    ],
)
def test_what_it_refuses(options, told) -> None:
    x, y = examples(torch.float32)
    arguments = {"x": x, "y": y, "threat": Linf(0.1), **options}
    unwatched = inspect.unwrap(adversarial_loss)  # annotations are enforced in tests
    with pytest.raises(ValueError, match=told):
        unwatched(network(torch.float32), **arguments)


def test_a_plain_loop_with_it_makes_a_network_robust() -> None:
    data = brolly.load_data("digits")
    x, y = data.train.scaled(data.train.inputs)[:256], data.train.labels[:256]
    threat, values = Linf(0.1), {}
    for eps in (0.0, 0.1):
        torch.manual_seed(0)
        model = brolly.models.MLP(64, classes=10, hidden=[16], normalize=data.statistics)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(50):
            optimizer.zero_grad()
            adversarial_loss(model, x, y, Linf(eps), steps=2).backward()
            optimizer.step()
        values[eps] = float(adversarial_loss(model.eval(), x, y, threat).detach())
    assert values[0.1] < 0.8 * values[0.0]
