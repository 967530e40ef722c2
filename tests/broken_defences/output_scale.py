"""Defences that hold because the loss of the attack underflows.

Accuracies in the docstrings are of the first 100 test examples at seed 0, against Linf 0.1:
clean; against PGD on the cross-entropy (20 steps), which is what a careless evaluation reports;
and against an attack on logits of moderate size.
"""

from __future__ import annotations

import functools

import torch
from broken_defences.training import dense, normalize, plain, seeded, train, training_data
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

#: Of the softmax while distilling.
TEMPERATURE = 100.0


def cold_loss(model: nn.Module, x: Tensor, y: Tensor, temperature: float) -> Tensor:
    """Cross-entropy at a temperature: the model learns logits that are larger by as much."""
    return cross_entropy(model(x) / temperature, y)


@functools.cache
def confident(seed: int) -> nn.Module:
    """A network with margins of about 100, whose probabilities are 0 and 1 in float32."""
    with seeded(seed):
        loss = functools.partial(cold_loss, temperature=20.0)
        return train(nn.Sequential(normalize(), dense()), loss, rate=1e-2)


def softmax_output(seed: int) -> nn.Module:
    """Probabilities as output: an attack's softmax meets numbers of at most 1.

    Against the advice of Carlini et al. 2019, "On evaluating adversarial robustness".
    Clean 96, PGD 78, Square 81; transferred from its own logits 41.
    """
    return nn.Sequential(confident(seed), nn.Softmax(dim=1)).eval()


def doubled_softmax(seed: int) -> nn.Module:
    """A softmax of a softmax: what a network that ends in one gives to who adds another.

    Clean 96, PGD 78, Square 81; transferred from its own logits 41.
    """
    return nn.Sequential(confident(seed), nn.Softmax(dim=1), nn.Softmax(dim=1)).eval()


class Scale(nn.Module):
    """Multiplies logits by a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def scaled_logits(seed: int) -> nn.Module:
    """Logits times 1000 (what Carlini & Wagner 2016 saw behind defensive distillation).

    Cross-entropy and its gradient are exactly zero. Clean 99, PGD 98; the plain network in it 53.
    """
    return nn.Sequential(plain(seed), Scale(1000.0)).eval()


def distilled(seed: int) -> nn.Module:
    """Defensive distillation (Papernot et al. 2016); broken by Carlini & Wagner 2016.

    Teacher and student learn at temperature 100, and the student is used at 1. Clean 95, PGD 93;
    targeted margins (APGD-T) 36.
    """
    loss = functools.partial(cold_loss, temperature=TEMPERATURE)
    inputs, _ = training_data()
    with seeded(seed):
        teacher = train(nn.Sequential(normalize(), dense()), loss, epochs=60, rate=1e-2)
        with torch.no_grad():
            soft = (teacher(inputs) / TEMPERATURE).softmax(1)
        student = nn.Sequential(normalize(), dense())
        return train(student, loss, epochs=60, rate=1e-2, inputs=inputs, labels=soft)


class MeanProbability(nn.Module):
    """The mean of the probabilities of several networks."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([member(x).softmax(1) for member in self.members]).mean(0)


def ensemble(seed: int) -> nn.Module:
    """The mean probability of five confident networks, fed to attacks as logits.

    As in evaluations of ensembles and Bayesian networks that Zimmermann 2019 and Tramer et al.
    2020 took up. Clean 96, PGD 75, Square 79; transferred from the mean of the logits 45.
    """
    loss = functools.partial(cold_loss, temperature=20.0)
    with seeded(seed):
        others = [train(nn.Sequential(normalize(), dense()), loss, rate=1e-2) for _ in range(4)]
    return MeanProbability([confident(seed), *others]).eval()
