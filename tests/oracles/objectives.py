"""Objectives by slow transcription: small networks, a batch, and what they compute one by one."""

from __future__ import annotations

import torch
from torch import nn

from brolly import L2, Batch, Linf
from brolly._draws import Draws
from brolly.training import Validation

THREATS = [Linf(0.2), L2(0.7)]

#: Checks of a training that take next to no time.
BRIEF = Validation(examples=100, train_examples=0, steps=3)


class Watched(nn.Module):
    """Keeps the inputs that its network was given and the modes that it was in."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.inputs, self.modes = network, [], []

    def forward(self, x):
        self.inputs.append(x.detach().clone())
        self.modes.append(tuple(module.training for module in self.network.modules()))
        return self.network(x)


def smooth(dtype=torch.float64):
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 4)).to(dtype)


def normed(dropout=0.3):
    """A network that behaves otherwise in eval mode: BatchNorm and dropout."""
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Tanh(), nn.Dropout(dropout),
        nn.Flatten(), nn.Linear(72, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 4),
    )  # fmt: skip
    for _ in range(5):
        network(torch.rand(16, 1, 3, 4) * 3)
    return network


def batch(dtype=torch.float64, count=16):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, 1, 3, 4, generator=generator, dtype=dtype)
    return Batch(x, torch.arange(count) % 4, torch.arange(count) * 3 + 100)


def generator(seed=5):
    return torch.Generator().manual_seed(seed)


def draws(examples, seed=5):
    return Draws.from_generator(generator(seed), examples.index)


def slow_cross_entropy(logits, y):
    """-log softmax of the label, example by example."""
    each = [row.logsumexp(0) - row[int(label)] for row, label in zip(logits, y, strict=True)]
    return torch.stack(each).mean()


def slow_kl(p_logits, q_logits):
    """sum p log(p / q), example by example."""
    each = []
    for p_row, q_row in zip(p_logits, q_logits, strict=True):
        p, q = p_row.exp() / p_row.exp().sum(), q_row.exp() / q_row.exp().sum()
        each.append((p * (p / q).log()).sum())
    return torch.stack(each).mean()


def slow_gradient(model, loss, x):
    """Gradient of a mean over the batch, undone, one example at a time."""
    rows = []
    for k in range(len(x)):
        row = x[k : k + 1].clone().requires_grad_()
        rows.append(torch.autograd.grad(loss(model(row), k), row)[0])
    return torch.cat(rows)


def ascent(threat, gradient):
    if isinstance(threat, Linf):
        return gradient.sign()
    return gradient / gradient.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)


def noise(threat, x, random, radius):
    """Uniform in the ball of that radius."""
    if isinstance(threat, Linf):
        return (2 * random.uniform(x) - 1) * radius
    direction = random.normal(x)
    direction = direction / direction.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
    length = radius * random.uniform(x.new_empty(len(x), 1)) ** (1 / x[0].numel())
    return direction * length.reshape(-1, 1, 1, 1)


def ce_of(y):
    return lambda logits, k: slow_cross_entropy(logits, y[k : k + 1])


def check_loss_and_gradients(objective, model, examples, expected):
    """The value and all gradients of the weights are those of `expected(model)`."""
    loss = objective(model, examples, generator())
    value = expected()
    torch.testing.assert_close(loss.value, value, rtol=1e-9, atol=1e-12)
    parameters = list(model.parameters())
    mine = torch.autograd.grad(loss.value, parameters)
    theirs = torch.autograd.grad(value, parameters)
    for left, right in zip(mine, theirs, strict=True):
        assert left.abs().max() > 0
        torch.testing.assert_close(left, right, rtol=1e-8, atol=1e-11)


def slow_climb(model, threat, loss, point, x, *, steps, step):
    """PGD as it is written; the loss of row k is `loss(logits, k)`."""
    for _ in range(steps):
        gradient = slow_gradient(model, loss, point)
        point = threat.project(point + step * ascent(threat, gradient), x)
    return point


def pgd_point(model, threat, examples, *, steps, step):
    """The last point of PGD on the cross-entropy from a random point of the ball."""
    x = examples.x
    start = (x + noise(threat, x, draws(examples), threat.eps)).clamp(0, 1)
    loss = ce_of(examples.y)
    return slow_climb(model, threat, loss, start, x, steps=steps, step=step)


def trades_point(model, threat, examples, *, steps, step):
    """The last point of PGD on the divergence from next to the clean input."""
    x, clean = examples.x, model(examples.x).detach()
    start = threat.project(x + 0.001 * draws(examples).normal(x), x)

    def loss(logits, k):
        return slow_kl(clean[k : k + 1], logits)

    return slow_climb(model, threat, loss, start, x, steps=steps, step=step)
