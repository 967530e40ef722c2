"""Noise on weights in `fit`, in recipes and under `evaluate`."""

from pathlib import Path

import pytest
import torch
from torch import nn

import brolly
from brolly import AWP, EMA, NFGSM, PGD, Dataset, Linf, Recipe, RunFolder, evaluate, fit
from brolly.recipes import load_run, train_recipe
from brolly.training import Validation
from brolly.weights import (
    DropConnect,
    GaussianNoise,
    LearnedNoise,
    RandomMatrix,
    VariationalDropout,
    VariationalKL,
    WeightNorm,
    detach,
)

EVERYTHING = [
    WeightNorm(), GaussianNoise(kind="multiplicative"), LearnedNoise.as_published(),
    DropConnect(p=0.1, layers="linear"), VariationalDropout(), RandomMatrix(when="always"),
]  # fmt: skip


def blobs() -> Dataset:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(96) % 3
    x = 0.3 * torch.rand(96, 1, 4, 4, generator=generator)
    x[torch.arange(96), 0, y] += 0.6
    return Dataset.from_tensors("blobs", (x, y), (x[:10], y[:10]), validation=0.25)


def network(*parts) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )
    for part in parts:
        part.attach(model)
    return model


def train(run: RunFolder | None = None, stop: tuple[int, ...] = ()) -> dict[str, torch.Tensor]:
    """Trains with everything attached; interrupted at the steps `stop`, it is started anew."""
    model = network(*EVERYTHING)

    def interrupt(step: int, *_: float) -> None:
        if stop and step == stop[0]:
            raise KeyboardInterrupt

    try:
        fit(
            model, blobs(), objective=NFGSM(Linf(0.1)), penalty=VariationalKL(1e-3), weights=AWP(),
            average=EMA(decay=0.9), epochs=2, batch_size=16, seed=3, run=run, on_step=interrupt,
            validation=Validation(examples=20, train_examples=10, steps=2),
        )  # fmt: skip
    except KeyboardInterrupt:
        return train(run, stop[1:])
    assert not stop
    return model.state_dict()


def test_the_same_seed_gives_the_same_bits_also_after_interruptions(tmp_path: Path) -> None:
    torch.manual_seed(1)
    whole = train()
    torch.manual_seed(2)
    again = train(RunFolder(tmp_path), (1, 6))
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_what_the_noise_learns_is_trained() -> None:
    model = network(*EVERYTHING)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    fit(model, blobs(), penalty=VariationalKL(1e-3), epochs=1, batch_size=16)
    for name, parameter in model.named_parameters():
        assert not torch.equal(parameter, before[name]), name


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    model = network()
    fit(model, blobs(), epochs=5, batch_size=16)
    return model.eval()


def judged(model: nn.Module) -> brolly.Evaluation:
    data = blobs()
    attack = PGD(Linf(0.2), steps=3)
    return evaluate(
        model, data.test, Linf(0.2), attacks=[attack], curve_examples=0, device="cpu", checks=""
    )


def test_evaluate_averages_over_noise_that_stays_on(trained: nn.Module) -> None:
    plain = judged(trained)
    with GaussianNoise(when="always").on(trained):
        noisy = judged(trained)
    with GaussianNoise(when="train").on(trained):
        off = judged(trained)
    assert (plain.samples, noisy.samples, off.samples) == (1, 20, 1)
    assert any("draws random numbers" in warning for warning in noisy.warnings)
    assert noisy.attacks[0].name == "pgd-eot20"
    assert noisy.attacks[0].cost.backwards >= 20 * noisy.robust.hits
    assert (off.clean.hits, off.robust.hits) == (plain.clean.hits, plain.robust.hits)


RECIPE = """
name: noisy
data: {name: digits, examples: 200}
model: {name: mlp, hidden: [16]}
threat: linf:0.05
objective: {name: n-fgsm}
penalties: [{name: variational-kl, weight: 1/200}]
weights:
  - {name: awp, gamma: 0.01}
  - {name: weight-norm}
  - {name: gaussian-noise, std: 1/10, when: always}
  - {name: learned-noise, per: channel}
  - {name: dropconnect, p: 0.1, layers: linear}
  - {name: variational-dropout}
  - {name: random-matrix}
epochs: 1
validation: {examples: 20, train_examples: 0, steps: 1}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "noisy.yaml").write_text(RECIPE)
    return Recipe.load(tmp_path / "noisy.yaml")


def test_a_run_comes_back_with_its_noise(recipe: Recipe, tmp_path: Path) -> None:
    assert recipe.build_weight_search() == AWP(gamma=0.01)
    assert recipe.build_reparametrizations() == [
        WeightNorm(), GaussianNoise(std=0.1, when="always"), LearnedNoise(per="channel"),
        DropConnect(p=0.1, layers="linear"), VariationalDropout(), RandomMatrix(),
    ]  # fmt: skip
    run = RunFolder(tmp_path / "run")
    with run.locked():
        train_recipe(recipe, run, device="cpu")
    _, model, data = load_run(run.path)
    _, again, _ = load_run(run.path)
    x = data.test.scaled(data.test.inputs[:4])
    assert not torch.equal(model(x), model(x))
    assert all(map(torch.equal, model.state_dict().values(), again.state_dict().values()))
    assert torch.equal(detach(model)(x), detach(again)(x))


def test_two_searches_are_still_one_too_many(recipe: Recipe) -> None:
    entries = [*recipe.model_dump()["weights"], {"name": "sam"}]
    with pytest.raises(ValueError, match="weights has awp and sam"):
        Recipe.model_validate({**recipe.model_dump(), "weights": entries})
