"""Helper-based adversarial training against its equation."""

import copy

import numpy as np
import pytest
import torch
from oracles.objectives import (
    THREATS,
    Watched,
    batch,
    check_loss_and_gradients,
    generator,
    normed,
    slow_cross_entropy,
    slow_kl,
    smooth,
    trades_point,
)
from torch import nn

import brolly
from brolly import HAT, PGD, TRADES, Linf
from brolly.recipes import load_run, train_recipe
from brolly.training import RunFolder


def helper(classes=4):
    torch.manual_seed(7)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, classes)).double()


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_hat_is_its_equation(threat):
    model, examples = smooth(), batch()
    x, y = examples.x, examples.y
    point = trades_point(model, threat, examples, steps=4, step=0.4 * threat.eps)
    labels = torch.stack([row.argmax() for row in helper()(point)])
    beyond = x + 2.5 * (point - x)
    assert (labels != y).any()
    assert ((beyond < 0) | (beyond > 1)).any()  # not cut to the bounds
    attack = PGD(threat, steps=4, step_size=0.4 * threat.eps)
    objective = HAT(attack, helper(), h=2.5, beta=3.0, gamma=0.7)

    def expected():
        clean = model(x)
        trades = slow_cross_entropy(clean, y) + 3 * slow_kl(clean, model(point))
        return trades + 0.7 * slow_cross_entropy(model(beyond), labels)

    check_loss_and_gradients(objective, model, examples, expected)
    logs = objective(model, examples, generator()).logs
    parts = logs["natural"] + 3 * logs["divergence"] + 0.7 * logs["helper"]
    torch.testing.assert_close(objective(model, examples, generator()).value, parts)


def test_without_the_helpers_part_it_is_trades():
    model, examples, attack = smooth(), batch(), PGD(Linf(0.1), steps=3)
    hat = HAT(attack, helper(), gamma=0.0, beta=6.0)(model, examples, generator())
    torch.testing.assert_close(hat.value, TRADES(attack)(model, examples, generator()).value)


def test_cost_of_a_step():
    model, adviser = Watched(smooth()), Watched(helper())
    HAT(PGD(Linf(0.1), steps=7), adviser)(model, batch(), generator())
    assert (len(model.inputs), len(adviser.inputs)) == (11, 1)


def test_the_helper_is_asked_in_eval_mode_and_not_changed():
    adviser = Watched(normed())
    before = copy.deepcopy(adviser.network.state_dict())
    loss = HAT(PGD(Linf(0.1), steps=2), adviser)(normed(), batch(torch.float32), generator())
    loss.value.backward()
    assert not any(adviser.modes[0])
    assert adviser.network.training
    assert all(parameter.grad is None for parameter in adviser.parameters())
    for name, value in adviser.network.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_helper_of_other_classes_is_refused():
    with pytest.raises(ValueError, match=r"the helper gives \(16, 5\) logits, the model \(16, 4\)"):
        HAT(PGD(Linf(0.1), steps=1), helper(5))(smooth(), batch(), generator())


def test_numbers_out_of_range_are_refused_at_once():
    with pytest.raises(ValueError, match=r"h is -1.*beta is -2.*gamma is -3.*spread is 0"):
        HAT(PGD(Linf(0.1)), helper(), h=-1.0, beta=-2.0, gamma=-3.0, spread=0.0)


RECIPE = """
name: {name}
data: {{name: digits, examples: 256}}
model: {{name: mlp, hidden: [16]}}
threat: linf:0.05
objective: {objective}
validation: {{examples: 100, train_examples: 0, steps: 1}}
epochs: 1
"""


def train(folder, name, objective):
    recipe = brolly.Recipe.from_text(RECIPE.format(name=name, objective=objective))
    run = RunFolder(folder / name)
    with run.locked():
        return recipe, train_recipe(recipe, run, device="cpu")


def test_a_recipe_names_the_run_of_its_helper(tmp_path):
    train(tmp_path, "plain", "{name: plain}")
    adviser = load_run(tmp_path / "plain")[1]
    entry = f"{{name: hat, attack: {{steps: 2}}, helper: {tmp_path / 'plain'}}}"
    recipe, history = train(tmp_path, "hat", entry)
    assert brolly.Recipe.from_text(recipe.to_yaml()) == recipe

    data = brolly.recipes.build_data(recipe)
    model = brolly.recipes.build_model(recipe, data)
    objective = HAT(PGD(Linf(0.05), steps=2), adviser)
    again = brolly.fit(model, data, objective=objective, epochs=1, device="cpu")
    assert again.epochs[0].train_loss == history.epochs[0].train_loss
    (tmp_path / "plain").rename(tmp_path / "elsewhere")
    load_run(tmp_path / "hat")  # what was trained can do without its helper


def test_a_helper_of_another_data_set_is_refused_by_both_names(tmp_path):
    x, y = np.full((60, 8, 8), 9, np.uint8), np.arange(60) % 10
    np.savez(tmp_path / "others.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    text = RECIPE.format(name="others", objective="{name: plain}")
    others = brolly.Recipe.from_text(
        text, [f"data={{name: {tmp_path / 'others.npz'}}}", "batch_size=20"]
    )
    run = RunFolder(tmp_path / "others")
    with run.locked():
        train_recipe(others, run, device="cpu")
    entry = f"{{name: hat, attack: {{steps: 2}}, helper: {run.path}}}"
    told = "objective.helper: .*others was trained on others, and this recipe trains on digits"
    with pytest.raises(ValueError, match=told):
        train(tmp_path, "hat", entry)
    assert not (tmp_path / "hat").exists()


def test_a_helper_that_is_no_run_is_told(tmp_path):
    entry = f"{{name: hat, attack: {{steps: 2}}, helper: {tmp_path / 'nowhere'}}}"
    with pytest.raises(ValueError, match="nowhere is not a run: it has no recipe"):
        train(tmp_path, "hat", entry)
