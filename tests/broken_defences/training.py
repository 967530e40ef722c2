"""The small networks that the zoo is built on, and how they are trained."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import brolly
from brolly.data import Dataset
from brolly.models import Normalize

#: What every defence of the zoo is evaluated against: on 8 x 8 digits a clear but small change.
THREAT = brolly.Linf(0.1)

#: `loss(model, x, y)`, a scalar.
TrainingLoss = Callable[[nn.Module, Tensor, Tensor], Tensor]


@functools.cache
def digits() -> Dataset:
    """1,260 training examples, 140 for validation and 397 test examples of 8 x 8 pixels."""
    return brolly.load_data("digits")


def training_data() -> tuple[Tensor, Tensor]:
    """Inputs `(n, 1, 8, 8)` in [0, 1] and labels `(n,)`."""
    split = digits().train
    return split.scaled(split.inputs), split.labels


def normalize() -> Normalize:
    """The first layer, with the statistics of the training data."""
    statistics = digits().statistics
    return Normalize(statistics.mean, statistics.std)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Weights and noise drawn inside depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def dense(features: int = 64, classes: int = 10, width: int = 128) -> nn.Sequential:
    """Two hidden layers of ReLU."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(features, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, classes),
    )


def plain_loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of the labels."""
    return cross_entropy(model(x), y)


def train(
    model: nn.Module,
    loss: TrainingLoss = plain_loss,
    *,
    epochs: int = 40,
    rate: float = 3e-3,
    inputs: Tensor | None = None,
    labels: Tensor | None = None,
) -> nn.Module:
    """Trains a model in place with Adam and a one-cycle schedule; returns it in eval mode.

    Args:
        model: Maps inputs to logits.
        loss: What to minimise.
        epochs: Passes over the training data, in batches of 128.
        rate: Highest learning rate.
        inputs, labels: What to train on; None: the training digits. Labels may be soft.
    """
    if inputs is None or labels is None:
        inputs, labels = training_data()
    batches = len(inputs) // 128
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * batches)
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(inputs))
        for rows in order[: batches * 128].split(128):
            optimizer.zero_grad()
            loss(model, inputs[rows], labels[rows]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@functools.cache
def plain(seed: int) -> nn.Module:
    """The undefended network that several defences are put around."""
    with seeded(seed):
        return train(nn.Sequential(normalize(), dense()))
