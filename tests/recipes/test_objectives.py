"""Objectives by their names in recipes."""

import pytest

import brolly
from brolly import (
    L2,
    PGD,
    RST,
    VAT,
    FreeTraining,
    GradAlign,
    InputGradientPenalty,
    JacobianPenalty,
    RunFolder,
)
from brolly.recipes import load_run, train_recipe

RECIPE = """
name: {name}
data: {{name: digits, examples: 256}}
model: {{name: mlp, hidden: [16]}}
threat: l2:0.5
objective: {objective}
validation: {{examples: 100, train_examples: 0, steps: 1}}
epochs: 1
"""

L2_HALF = L2(0.5)
NAMED = {
    "{name: free, replays: 4}": FreeTraining(L2_HALF, replays=4),
    "{name: gradalign, weight: 1/2}": GradAlign(L2_HALF, weight=0.5),
    "{name: gradalign-published}": GradAlign.as_published(L2_HALF),
    "{name: vat, labelled: 50}": VAT(L2_HALF, labelled=50),
    "{name: vat-published, labelled: 50}": VAT.as_published(L2_HALF, labelled=50),
    "{name: rst, labelled: 50, weight: 0.2, attack: {steps: 3}}": RST(
        PGD(L2_HALF, steps=3), labelled=50, weight=0.2
    ),
    "{name: input-gradient, weight: 2}": InputGradientPenalty(weight=2.0),
    "{name: jacobian, projections: 2}": JacobianPenalty(projections=2),
}


def recipe_of(name, objective):
    return brolly.Recipe.from_text(RECIPE.format(name=name, objective=objective))


def train(folder, name, objective):
    run = RunFolder(folder / name)
    with run.locked():
        return train_recipe(recipe_of(name, objective), run, device="cpu")


@pytest.mark.parametrize("entry", NAMED)
def test_a_recipe_builds_what_python_does(entry) -> None:
    recipe = recipe_of("named", entry)
    assert recipe.build_objective() == NAMED[entry]
    assert brolly.Recipe.from_text(recipe.to_yaml()) == recipe


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("{name: rst, attack: {steps: 3}}", "objective.labelled: missing"),
        ("{name: free, replays: 0}", "replays is 0"),
        ("{name: vat, xi: 0}", "xi is 0"),
    ],
)
def test_a_recipe_tells_what_is_wrong(entry, told) -> None:
    with pytest.raises(ValueError, match=told):
        recipe_of("wrong", entry)


def test_free_steps_do_not_go_with_a_search_for_worse_weights() -> None:
    text = RECIPE.format(name="both", objective="{name: free}")
    with pytest.raises(ValueError, match="leave weights out"):
        brolly.Recipe.from_text(text + "weights: [{name: awp}]\n")


def test_a_recipe_names_the_run_of_its_teacher(tmp_path) -> None:
    train(tmp_path, "plain", "{name: plain}")
    entry = f"{{name: rst, labelled: 40, attack: {{steps: 1}}, teacher: {tmp_path / 'plain'}}}"
    history = train(tmp_path, "student", entry)
    data = brolly.recipes.build_data(recipe_of("student", entry))
    model = brolly.recipes.build_model(recipe_of("student", entry), data)
    teacher = load_run(tmp_path / "plain")[1]
    objective = RST(PGD(L2_HALF, steps=1), teacher, labelled=40)
    again = brolly.fit(model, data, objective=objective, epochs=1, device="cpu")
    assert again.epochs[0].train_loss == history.epochs[0].train_loss
