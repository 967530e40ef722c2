from pathlib import Path

import pytest
import torch
import yaml

import brolly
from brolly import (
    EMA,
    L2,
    NFGSM,
    PGD,
    SGD,
    TRADES,
    AdamW,
    Linf,
    MultiStep,
    OneCycle,
    PGDTraining,
    Recipe,
    Shift,
)
from brolly.data import Dataset
from brolly.models import SmallCNN
from brolly.recipes import SHIPPED, build_data, build_model, train_recipe
from brolly.training import RunFolder

TINY = ["data.examples=100", "batch_size=10", "model.width=2"]


def random_images(size: int, classes: int = 10) -> Dataset:
    x = torch.rand(100, 1, size, size, generator=torch.Generator().manual_seed(0))
    y = torch.arange(100) % classes
    return Dataset.from_tensors("random", (x, y), (x, y))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_comes_back_from_its_own_yaml(name: str, tmp_path: Path) -> None:
    recipe = Recipe.load(name)
    file = tmp_path / "again.yaml"
    file.write_text(recipe.to_yaml())
    again = Recipe.load(file)
    assert again == recipe
    assert (again.sha256, again.folder) == (recipe.sha256, recipe.folder)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_builds_a_network_that_its_objective_can_train(name: str) -> None:
    recipe = Recipe.load(name)
    data = random_images(8 if recipe.data.name == "digits" else 28)
    model = build_model(recipe, data)
    x = data.train.inputs[:2]
    for augment in (entry.build() for entry in recipe.data.augment):
        x = augment(x, torch.Generator())
    assert model(x).shape == (2, 10)
    assert recipe.name == name
    assert recipe.build_objective().threat in (None, recipe.build_threat())


def test_shipped_recipes_have_folders_of_their_own() -> None:
    assert {"digits-plain", "digits-robust"} <= set(SHIPPED)
    assert len({Recipe.load(name).folder for name in SHIPPED}) == len(SHIPPED)


def test_a_recipe_builds_what_python_would_write() -> None:
    recipe = Recipe.load(
        "digits-robust",
        [
            "threat=l2:0.5",
            "objective={name: trades, beta: 3, attack: {name: pgd, steps: 4}}",
            "optimizer={name: adamw, lr: 1e-3}",
            "schedule={name: multistep, at: [2, 500 steps]}",
            "average.decay=0.9",
            "data.augment=[{name: shift, pixels: 1}]",
        ],
    )
    assert recipe.build_objective() == TRADES(PGD(L2(0.5), steps=4), beta=3.0)
    assert recipe.optimizer.build() == AdamW(lr=1e-3)
    assert recipe.schedule.build() == MultiStep(at=(2, "500 steps"))
    assert recipe.average is not None
    assert recipe.average.build() == EMA(decay=0.9)
    assert [entry.build() for entry in recipe.data.augment] == [Shift(1)]


def test_what_a_recipe_leaves_out_is_the_constructors_default(tmp_path: Path) -> None:
    file = tmp_path / "short.yaml"
    file.write_text(
        "{name: short, data: {name: digits}, model: {name: small-cnn}, threat: linf:0.1, "
        "objective: {name: n-fgsm}}"
    )
    recipe = Recipe.load(file)
    assert recipe.optimizer.build() == SGD()
    assert recipe.schedule.build() == OneCycle()
    assert recipe.build_objective() == NFGSM(Linf(0.1))
    assert recipe.average is None


def test_the_threat_takes_the_bounds_of_the_data() -> None:
    recipe = Recipe.load("digits-plain", ["threat=linf:0.5"])
    assert recipe.build_threat((-2.0, 2.0)) == Linf(0.5, (-2.0, 2.0))


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("epochs=3", "epochs", 3),
        ("optimizer.lr=1e-3", "optimizer.lr", 0.001),
        ("optimizer.lr=1/8", "optimizer.lr", 0.125),
        ("optimizer.lr=2", "optimizer.lr", 2.0),
        ("optimizer.nesterov=no", "optimizer.nesterov", False),
        ("threat=linf:8/255", "threat", "linf:8/255"),
        ("average=", "average", None),
        ("patience=null", "patience", None),
        ("name=a=b", None, None),
        ("data.validation=1/4", "data.validation", 0.25),
        ("data.augment=[{name: flip, probability: 1/4}]", "data.augment.0.probability", 0.25),
        ("validation.steps=3", "validation.steps", 3),  # a key the file does not have
        ("model={name: mlp, hidden: [5, 4]}", "model.hidden", [5, 4]),
        ("objective.noise=3/2", "objective.noise", 1.5),
    ],
)
def test_overrides(override: str, path: str | None, value: object) -> None:
    if path is None:
        with pytest.raises(ValueError, match=r"name: is 'a=b'"):
            Recipe.load("digits-robust", [override])
        return
    found = yaml.safe_load(Recipe.load("digits-robust", [override]).to_yaml())
    for key in path.split("."):
        found = found[int(key) if key.isdigit() else key]
    assert found == value


MINIMAL = """
{name: pen, data: {name: digits}, model: {name: mlp, hidden: [8]}, threat: linf:0.1,
 objective: {name: n-fgsm}, penalties: [{name: l1, weight: 1e-4}], weights: [{name: awp}]}
"""


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optimizer.lr=0.05", "optimizer={name: sgd, lr: 0.05}"),
        ("optimizer.name=adamw", "optimizer={name: adamw}"),
        ("schedule.warmup=0.2", "schedule={name: one-cycle, warmup: 0.2}"),
        ("weights.0.gamma=0.02", "weights=[{name: awp, gamma: 0.02}]"),
        ("penalties.0={name: l2, weight: 1}", "penalties=[{name: l2, weight: 1}]"),
        ("model.hidden.0=9", "model={name: mlp, hidden: [9]}"),
    ],
)
def test_an_override_goes_into_what_the_recipe_leaves_to_its_default(
    override: str, expected: str
) -> None:
    recipe = Recipe.from_text(MINIMAL, [override])
    assert recipe == Recipe.from_text(MINIMAL, [expected])
    assert recipe.folder != Recipe.from_text(MINIMAL).folder


@pytest.mark.parametrize("path", ["weights.1.gamma", "weights.-1.gamma", "weights.x", "weights.1"])
def test_an_override_of_a_place_that_a_list_has_not(path: str) -> None:
    place = path.split(".")[1]
    with pytest.raises(
        ValueError, match=rf"'weights' is a list of length 1, .* no '{place}' in it; "
    ):
        Recipe.from_text(MINIMAL, [f"{path}=1"])


def test_an_attack_that_is_left_out_is_pgd_as_attacks_have_it() -> None:
    short, *long = (
        Recipe.from_text(MINIMAL, [f"objective={{name: trades{attack}}}"])
        for attack in ("", ", attack: {}", ", attack: {name: pgd}")
    )
    assert short.build_objective() == TRADES(PGD(Linf(0.1)))
    assert {each.folder for each in long} == {short.folder}
    steps = Recipe.from_text(MINIMAL, ["objective={name: pgd}", "objective.attack.steps=3"])
    assert steps.build_objective() == PGDTraining(PGD(Linf(0.1), steps=3))


def test_of_two_overrides_of_one_key_the_later_wins() -> None:
    assert Recipe.load("digits-plain", ["epochs=3", "epochs=4"]).epochs == 4


def test_the_folder_follows_the_values_not_their_spelling(tmp_path: Path) -> None:
    plain = Recipe.load("digits-plain")
    assert Recipe.load("digits-plain", ["optimizer.lr=1/10", "seed=0"]).folder == plain.folder
    assert plain.folder == f"digits-plain-{plain.sha256[:8]}"
    changed = [
        Recipe.load("digits-plain", [change]).folder
        for change in ("seed=1", "epochs=13", "optimizer.lr=0.11", "model.width=17", "average=")
    ]
    assert len({plain.folder, *changed}) == 6


def test_the_hash_of_a_recipe_is_the_same_tomorrow() -> None:
    # Run folders are found by it. If this fails, folders of earlier versions are trained again.
    assert Recipe.load("digits-plain").folder == "digits-plain-2ca40dbd"
    assert Recipe.load("digits-robust").folder == "digits-robust-0f716fb5"
    assert Recipe.from_text(MINIMAL).folder == "pen-fda403c8"
    pgd = Recipe.from_text(MINIMAL, ["objective={name: pgd, attack: {name: pgd}}"])
    assert pgd.folder == "pen-5e8f9317"


def test_weights_are_drawn_under_the_seed_and_leave_the_global_generator_alone() -> None:
    data = random_images(8)
    torch.manual_seed(5)
    before = torch.get_rng_state()

    def weights(seed: int) -> list[torch.Tensor]:
        recipe = Recipe.load("digits-plain", [*TINY, f"seed={seed}"])
        return list(build_model(recipe, data).parameters())

    first = weights(0)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    assert all(torch.equal(a, b) for a, b in zip(first, weights(0), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, weights(1), strict=True))


def test_the_network_normalises_by_the_statistics_of_its_data() -> None:
    data = random_images(8)
    model = build_model(Recipe.load("digits-plain", TINY), data)
    assert isinstance(model, SmallCNN)
    assert model[0].mean.tolist() == pytest.approx(data.statistics.mean)


def test_data_is_cut_to_the_examples_asked_for() -> None:
    data = build_data(Recipe.load("digits-plain", [*TINY, "data.validation=1/2"]))
    assert (len(data.train), len(data.validation), len(data.test)) == (100, 700, 397)
    with pytest.raises(ValueError, match=r"data.examples is 1261, but digits has 1260"):
        build_data(Recipe.load("digits-plain", ["data.examples=1261"]))


PARTS = [
    "penalties=[{name: l2, weight: 1e-3, covers: all}]",
    "weights=[{name: awp, gamma: 0.005, warmup: 1}]",
    "clip=1",
]


def test_penalties_weights_and_clipping_reach_the_training(tmp_path: Path) -> None:
    recipe = Recipe.load("digits-robust", [*PARTS, "epochs=2", "data.examples=256"])
    run = RunFolder(tmp_path / "run")
    history = train_recipe(recipe, run)
    assert all(record.logs["penalty"] > 0 for record in history.epochs)
    assert recipe.build_weight_search() == brolly.AWP(gamma=0.005, warmup=1)
    assert Recipe.load(run.recipe) == recipe


def test_a_warmup_goes_around_another_schedule() -> None:
    entry = "schedule={name: warmup, length: 5, then: {name: step, every: 500 steps}}"
    recipe = Recipe.load("digits-robust", [entry, "average={name: swa, start: 20}"])
    schedule = brolly.Warmup(length=5, then=brolly.Step(every="500 steps"))
    assert recipe.schedule.build() == schedule
    assert recipe.average.build() == brolly.SWA(start=20)
    with pytest.raises(ValueError, match=r"schedule.then: name 'stap' is unknown.*'step'"):
        Recipe.load("digits-robust", [entry.replace("name: step", "name: stap")])
    with pytest.raises(ValueError, match="SWA starts after 20 epochs of 20"):
        Recipe.load("digits-robust", ["average={name: swa, start: 20}", "epochs=20"])


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "adagrad"])
def test_every_optimizer_has_a_name(name: str) -> None:
    recipe = Recipe.load("digits-robust", [f"optimizer={{name: {name}, lr: 1/100}}"])
    assert type(recipe.optimizer.build()).__name__.lower() == name


def test_parts_that_do_not_go_together_are_told_all_at_once() -> None:
    with pytest.raises(
        ValueError, match=r"(?s)\n  weights.0: warmup '3 weeks' has.*\n  recipe: acc"
    ):
        Recipe.load("digits-robust", ["weights=[{name: awp, warmup: 3 weeks}]", "accumulate=2"])
    with pytest.raises(ValueError, match=r"(?s)weights has awp and sam.*AWP would search"):
        Recipe.load("digits-robust", ["weights=[{name: awp}, {name: sam}]", "accumulate=2"])
