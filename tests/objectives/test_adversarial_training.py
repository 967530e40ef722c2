"""Adversarial objectives on the real path: recipe, `fit`, worse weights, bfloat16."""

import pytest
import torch
from oracles.objectives import batch, generator, normed

import brolly
from brolly import ALP, AWP, DKL, FAT, HAT, IKL, L2, MART, PGD, SAM, SCORE, Linf
from brolly.training import Validation

RECIPE = """
name: adversarial
data: {{name: digits}}
model: {{name: mlp, hidden: [16]}}
threat: {threat}
objective: {objective}
weights: [{{name: {weights}}}]
precision: {precision}
epochs: 5
"""

LINF, EUCLIDEAN = ("linf:0.02", "awp", "bfloat16"), ("l2:0.1", "sam", "float32")


@pytest.mark.parametrize(
    ("name", "mode"),
    [("mart", LINF), ("mart-published", EUCLIDEAN), ("score", LINF), ("score-published", EUCLIDEAN),
     ("dkl", EUCLIDEAN), ("ikl", LINF), ("ikl-published", EUCLIDEAN), ("alp", EUCLIDEAN),
     ("fat", LINF), ("fat-published", EUCLIDEAN)],
    ids=lambda value: value if isinstance(value, str) else value[0],
)  # fmt: skip
def test_a_recipe_trains(name, mode):
    threat, weights, precision = mode
    objective = f"{{name: {name}, attack: {{steps: 2}}}}"
    recipe = brolly.Recipe.from_text(
        RECIPE.format(objective=objective, threat=threat, weights=weights, precision=precision)
    )
    assert brolly.Recipe.from_text(recipe.to_yaml()) == recipe
    data = brolly.recipes.build_data(recipe)
    history = brolly.fit(
        brolly.recipes.build_model(recipe, data),
        data,
        objective=recipe.build_objective(data.bounds),
        weights=recipe.build_weight_search(),
        precision=recipe.precision,
        epochs=recipe.epochs,
        validation=Validation(examples=200, train_examples=0, steps=1, every=5),
        device="cpu",
    )
    assert history.epochs[-1].validation_clean > 0.5
    assert history.epochs[-1].train_loss < history.epochs[0].train_loss


ATTACK = PGD(Linf(0.1), steps=2)


@pytest.mark.parametrize(
    "objective",
    [MART(ATTACK), HAT(ATTACK, normed()), SCORE(ATTACK), DKL(ATTACK), IKL(ATTACK), ALP(ATTACK),
     FAT(PGD(L2(0.5), steps=2), tau=1)],
    ids=lambda objective: type(objective).__name__,
)  # fmt: skip
@pytest.mark.parametrize("search", [AWP(), SAM()], ids=["awp", "sam"])
def test_the_loss_at_worse_weights_is_of_the_same_inputs(objective, search):
    model, examples = normed(dropout=0.0), batch(torch.float32)
    seen = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    loss_of = objective.craft(model, examples, generator())
    seen.clear()
    plain = loss_of(model).value
    first, seen[:] = list(seen), []
    worse = search(model, lambda model: loss_of(model).value)
    seen.clear()
    loss = loss_of(worse).value
    assert all(map(torch.equal, first, seen))
    assert len(first) == len(seen) > 0
    assert loss > plain
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("unused", [{"momentum": 1.0}, {"restarts": 2}], ids=str)
def test_an_attack_with_what_training_does_not_do_is_refused(unused):
    attack = PGD(Linf(0.1), **unused)
    found = [
        kind
        for kind in vars(brolly.objectives).values()
        if isinstance(kind, type) and "attack" in getattr(kind, "__dataclass_fields__", ())
    ]
    assert {brolly.PGDTraining, brolly.TRADES, FAT, brolly.RST} < set(found)
    for kind in found:
        needed = {HAT: {"helper": normed()}, brolly.RST: {"labelled": 1}}.get(kind, {})
        with pytest.raises(ValueError, match=f"expected 1 and 0, as {kind.__name__} takes"):
            kind(attack, **needed)
