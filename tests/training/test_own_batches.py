"""Training on batches that others make, and on classes drawn equally often."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from brolly import (
    ATTA,
    NFGSM,
    SWA,
    VAT,
    Batches,
    Dataset,
    Flip,
    Linf,
    Recipe,
    RunFolder,
    Shift,
    fit,
)
from brolly.recipes import train_recipe
from brolly.training import Validation

FEW = {"validation": Validation(examples=10, train_examples=0, steps=1), "seed": 3, "epochs": 2}


def blobs():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(96, 1, 4, 4, generator=generator), torch.arange(96) % 3
    return Dataset.from_tensors("blobs", (x, y), (x[:10], y[:10]), validation=0.25)


def network(dropout):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(dropout),
        nn.Flatten(), nn.Linear(64, 3),
    )  # fmt: skip


def weights(model):
    return torch.cat([tensor.flatten().float() for tensor in model.state_dict().values()])


def loader(with_index=False, **options):
    train = blobs().train
    parts = (train.scaled(train.inputs), train.labels)
    if with_index:
        parts += (torch.arange(len(train)),)
    return DataLoader(TensorDataset(*parts), batch_size=16, **options)


def trained(dropout=0.0, **options):
    model = network(dropout)
    fit(model, blobs(), **FEW, **options)
    return weights(model)


def test_a_loader_trains_as_batches_do():
    ours = Batches(blobs().train, 16)
    expected = trained(batches=ours, objective=NFGSM(Linf(0.1)))
    assert torch.equal(trained(batches=loader(), objective=NFGSM(Linf(0.1))), expected)
    bytes_ = [((x * 255).byte(), y) for x, y in loader()]
    assert not torch.equal(trained(batches=bytes_, objective=NFGSM(Linf(0.1))), expected)


@pytest.mark.parametrize(("own", "average"), [(False, None), (True, SWA(start=1))])
def test_a_loader_that_shuffles_goes_on_where_it_was(tmp_path, own, average):
    def batches():
        generator = torch.Generator().manual_seed(5) if own else None
        return loader(shuffle=True, generator=generator)

    def interrupt(step, *_):
        if step == 7:
            raise KeyboardInterrupt

    options = {"average": average, "dropout": 0.2}
    once = trained(batches=batches(), **options)
    with pytest.raises(KeyboardInterrupt):
        trained(batches=batches(), run=RunFolder(tmp_path), on_step=interrupt, **options)
    assert torch.equal(trained(batches=batches(), run=RunFolder(tmp_path), **options), once)


def test_objectives_that_tell_examples_apart_need_the_index():
    remembering, few = ATTA(Linf(0.1)), VAT(Linf(0.1), labelled=10)
    for objective in (remembering, few):
        with pytest.raises(ValueError, match=r"let it give \(x, y, index\)"):
            trained(batches=loader(), objective=objective)
    ours = trained(batches=Batches(blobs().train, 16), objective=remembering)
    assert torch.equal(trained(batches=loader(with_index=True), objective=remembering), ours)
    trained(batches=loader(), objective=VAT(Linf(0.1)))


def test_what_does_not_go_with_batches():
    for options in ({"augment": [Flip()]}, {"balanced": True}):
        with pytest.raises(ValueError, match="batches comes with its own order"):
            trained(batches=loader(), **options)
    moved = Batches(blobs().train, 16, generator=torch.Generator(), augment=[Shift(1)])
    with pytest.raises(ValueError, match="ATTA remembers a perturbation for each pixel"):
        trained(batches=moved, objective=ATTA(Linf(0.1)))
    with pytest.raises(ValueError, match=r"ATTA tells examples apart .* leave balanced out"):
        trained(balanced=True, batch_size=16, objective=ATTA(Linf(0.1)))


def test_balanced_training_goes_on_where_it_was(tmp_path):
    def interrupt(step, *_):
        if step == 6:
            raise KeyboardInterrupt

    options = {"balanced": True, "batch_size": 16, "augment": [Shift(1)]}
    once = trained(**options)
    with pytest.raises(KeyboardInterrupt):
        trained(run=RunFolder(tmp_path), on_step=interrupt, **options)
    assert torch.equal(trained(run=RunFolder(tmp_path), **options), once)
    assert not torch.equal(trained(**{**options, "balanced": False}), once)


def test_a_recipe_can_balance(tmp_path):
    overrides = ["data.balanced=true", "data.examples=64", "batch_size=32", "epochs=1"]
    quick = ["objective={name: plain}", "validation={examples: 1, train_examples: 0, steps: 1}"]

    def weights_of(balanced, folder):
        recipe = Recipe.load("digits-robust", [*overrides, *quick, f"data.balanced={balanced}"])
        run = RunFolder(tmp_path / folder)
        train_recipe(recipe, run, device="cpu")
        return torch.cat([w.flatten() for w in load_file(run.model).values()])

    assert not torch.equal(weights_of("true", "a"), weights_of("false", "b"))
    assert torch.equal(weights_of("false", "c"), weights_of("false", "d"))
    with pytest.raises(ValueError, match=r"ATTA tells examples apart .* leave balanced out"):
        Recipe.load("digits-robust", [*overrides, "objective={name: atta}"])
