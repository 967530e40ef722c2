"""A training that is interrupted and goes on ends with the bits of one that never was."""

from pathlib import Path

import pytest
import torch
from torch import nn

from brolly import AWP, EMA, NFGSM, SWA, Dataset, Linf, Plateau, RMSprop, RunFolder, Shift, fit
from brolly.penalties import L2
from brolly.training import Adam, Validation, WarmRestarts, Warmup
from brolly.training._randomness import global_randomness, restore_global_randomness

EPOCHS = 4
SHARED = {
    "objective": NFGSM(Linf(0.1)), "epochs": EPOCHS, "batch_size": 16, "seed": 3, "clip": 0.5,
    "penalty": L2(1e-3), "augment": [Shift(1)],
    "validation": Validation(examples=20, train_examples=10, steps=2),
}  # fmt: skip
EVERYTHING = {
    "ema-awp": {
        "average": EMA(decay=0.9), "weights": AWP(warmup=1), "optimizer": RMSprop(momentum=0.5),
        "schedule": Warmup(length=1, then=Plateau(patience=0, gamma=0.5)),
    },
    "swa-awp": {
        "average": SWA(start=1), "weights": AWP(), "optimizer": Adam(),
        "schedule": WarmRestarts(period=1),
    },
    "swa-accumulate": {"average": SWA(start=2), "accumulate": 3},
}  # fmt: skip


def blobs() -> Dataset:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(96) % 3
    x = 0.3 * torch.rand(96, 1, 4, 4, generator=generator)
    x[torch.arange(96), 0, y] += 0.6
    return Dataset.from_tensors("blobs", (x, y), (x[:10], y[:10]), validation=0.25)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2),
        nn.Flatten(), nn.Linear(64, 3),
    )  # fmt: skip


def train(path: Path, stop: tuple[int, ...] = (), **options):
    """Trains in a folder; interrupted at each of the steps `stop`, it is started anew."""
    model = network()

    def interrupt(step: int, *_: float) -> None:
        if stop and step == stop[0]:
            raise KeyboardInterrupt

    try:
        history = fit(model, blobs(), run=RunFolder(path), on_step=interrupt, **SHARED, **options)
    except KeyboardInterrupt:
        return train(path, stop[1:], **options)
    assert not stop
    return model.state_dict(), RunFolder(path).load_state(), history


def same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return one == other


@pytest.mark.parametrize("options", EVERYTHING.values(), ids=EVERYTHING)
def test_with_everything_switched_on(options: dict, tmp_path: Path) -> None:
    weights, state, history = train(tmp_path / "whole", **options)
    steps = 2 if "accumulate" in options else 4
    again = train(tmp_path / "stopped", (1, steps + 1, 3 * steps), **options)
    assert same(weights, again[0])
    for name in ("model", "shadow", "best", "optimizer", "order", "noise", "global", "scores"):
        assert same(state[name], again[1][name]), name
    assert [r.train_loss for r in history.epochs] == [r.train_loss for r in again[2].epochs]
    assert len(history.epochs) == EPOCHS


def test_the_generator_of_a_gpu_is_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    generators = {"cuda:1": torch.Generator().manual_seed(5)}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda at: generators[at].get_state())
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, at: generators[at].set_state(state)
    )
    state = global_randomness("cuda:1")
    drawn = torch.rand(3, generator=generators["cuda:1"])
    restore_global_randomness(state, "cpu")  # goes on elsewhere: the GPU is left alone
    assert not torch.equal(torch.rand(3, generator=generators["cuda:1"]), drawn)
    restore_global_randomness(state, "cuda:1")
    assert torch.equal(torch.rand(3, generator=generators["cuda:1"]), drawn)
    del state["global_cuda"]  # as earlier versions kept it
    restore_global_randomness(state, "cuda:1")
    assert not torch.equal(torch.rand(3, generator=generators["cuda:1"]), drawn)
