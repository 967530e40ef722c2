"""What is wrong with a recipe is told in its own words, all at once."""

import re
from pathlib import Path

import pytest

from brolly import Recipe
from brolly.recipes import build_data, build_model

PYDANTIC = re.compile(r"Value error|pydantic|validation error|type=|valid tuple|parse string")


def complaint(*overrides: str) -> list[str]:
    with pytest.raises(ValueError, match="errors:") as caught:
        Recipe.load("digits-robust", overrides)
    message = str(caught.value)
    assert not PYDANTIC.search(message)
    first, *problems = message.split("\n")
    assert first == "digits-robust has errors:"
    return [problem.strip() for problem in problems]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        # unknown keys and names
        ("epoch=3", "epoch: unknown key. Did you mean 'epochs'?"),
        ("pgd=3", "pgd: unknown key. Known: "),
        ("lr=0.1", "lr: unknown key; write optimizer.lr"),
        (
            "gamma=0.1",
            "gamma: unknown key; write objective.gamma or weights.0.gamma or schedule.gamma",
        ),
        ("augment=[]", "augment: unknown key; write data.augment"),
        ("objective={name: trades, steps: 3}", "objective.steps: unknown key; write objective.a"),
        ("average.decay=null", "average.decay: None is not a number"),
        ("model.widht=3", "model.widht: unknown key. Did you mean 'width'?"),
        ("data.exmaples=3", "data.exmaples: unknown key. Did you mean 'examples'?"),
        ("validation.step=3", "validation.step: unknown key. Did you mean 'steps'?"),
        (
            "objective={name: trades, attack: {name: pgd, stepsize: 0.1}}",
            "objective.attack.stepsize: unknown key. Did you mean 'step_size'?",
        ),
        ("data.augment=[{name: flip, p: 1}]", "data.augment.0.p: unknown key. Known: "),
        ("average.rate=1", "average.rate: unknown key. Known: decay, name."),
        ("optimizer.name=adamx", "optimizer: name 'adamx' is unknown. Did you mean 'adam'?"),
        ("objective.name=trade", "objective: name 'trade' is unknown. Did you mean 'trades'?"),
        (
            "data.augment=[{name: shift}, {name: flop}]",
            "data.augment.1: name 'flop' is unknown. Did you mean 'flip'?",
        ),
        ("data.name=digit", "data.name: data set 'digit' is unknown. Did you mean 'digits'?"),
        ("threat=linv:0.1", "threat: threat 'linv:0.1' is unknown. Did you mean 'linf'?"),
        # wrong types
        ("epochs=three", "epochs: is 'three'; expected a whole number"),
        ("seed=1.5", "seed: is 1.5; expected a whole number"),
        ("optimizer.lr=fast", "optimizer.lr: 'fast' is not a number; write for example 0.1, "),
        ("optimizer.nesterov=7", "optimizer.nesterov: is 7; expected true or false"),
        ("model={name: mlp, hidden: 5}", "model.hidden: is 5; expected a list"),
        ("model={name: mlp, hidden: [a]}", "model.hidden.0: is 'a'; expected a whole number"),
        ("threat=[1]", "threat: is [1]; expected text"),
        ("optimizer=sgd", "optimizer: is 'sgd'; expected keys, beginning with a name: {name: sgd"),
        ("data=5", "data: is 5; expected keys"),
        ("model=", "model: is None; expected keys"),
        ("schedule={name: step}", "schedule.every: missing; it has no default"),
        ("precision=float16", "precision: is 'float16'; expected one of 'float32', 'bfloat16'"),
        ("name=a/b", "name: is 'a/b'; "),
        ("epochs=0", "epochs: is 0; input should be greater than or equal to 1"),
        ("weights.0.gamma=1", "weights: is {'0': {'gamma': 1}}; expected a list"),
        # a value of several types, a key that is the name of a component elsewhere
        (
            "penalties=[{name: l1, weight: 1, covers: biases}]",
            "penalties.0.covers: is 'biases'; expected one of 'weights', 'no_norm', 'all'",
        ),
        ("data.size=big", "data.size: is 'big'; expected a whole number or a list"),
        ("schedule={name: cosine, warmup: [1]}", "schedule.warmup: is [1]; expected a whole "),
        ("weights=[{name: awp, warmup: [1]}]", "weights.0.warmup: is [1]; expected a whole "),
        # keys of others
        (
            "objective={name: trades, label_smoothing: 0.1}",
            "objective.label_smoothing: unknown key. Known: attack, beta, mode, name, spread. "
            "label_smoothing is for plain, fgsm-rs, n-fgsm, atta.",
        ),
        ("optimizer.betas=[0.9, 0.99]", "optimizer.betas: unknown key. Known: "),
        # what only the constructors know
        ("optimizer.lr=-1", "optimizer: lr is -1.0; expected more than 0"),
        ("schedule.warmup=2", "schedule: warmup is 2.0; expected "),
        ("schedule={name: step, every: soon}", "schedule: every: 'soon' is not a number"),
        ("weights=[{name: awp, warmup: soon}]", "weights.0: warmup: 'soon' is not a number; "),
        ("weights=[{name: sam, warmup: -1}]", "weights.0: warmup is -1.0; expected 0 or more"),
        ("average.decay=1.5", "average: decay is 1.5; expected "),
        ("data.augment=[{name: flip, probability: 3}]", "data.augment.0: probability is 3.0; "),
        (
            "objective={name: trades, beta: -1, attack: {name: pgd}}",
            "objective: beta is -1.0; expected ",
        ),
        ("objective={name: hat}", "objective.helper: missing; it has no default"),
        (
            "objective={name: trades, attack: {name: pgd, step_size: 1}}",
            "objective: step_size is 1, but the ball of linf:0.15 is 0.3 wide; expected ",
        ),
        ("threat=linf:8", "threat: eps is 8, but inputs in [0.0, 1.0] can change by 1 at most. "),
        ("threat=linf:-1", "threat: eps is -1.0; expected "),
        ("threat=linf", "threat: threat 'linf' has no radius; write for example linf:8/255"),
    ],
)
def test_a_mistake_is_told_with_its_path(override: str, expected: str) -> None:
    (problem,) = complaint(override)
    assert problem.startswith(expected)


def test_all_mistakes_are_told_at_once() -> None:
    problems = complaint(
        "epoch=3",
        "model.widht=3",
        "optimizer.lr=-1",
        "schedule.warmup=2",
        "objective={name: trades, attack: {name: pgd, step_size: 1}}",
        "data.augment=[{name: flip, probability: 3}]",
        "batch_size=many",
    )
    assert sorted(problem.partition(":")[0] for problem in problems) == [
        "batch_size",
        "data.augment.0",
        "epoch",
        "model.widht",
        "objective",
        "optimizer",
        "schedule",
    ]


ACCUMULATE = "recipe: accumulate is 2, but {} would search for worse weights for each batch alone; "


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["weights=[{name: sam}]", "accumulate=2", "epochs=0"],
            ["epochs: is 0; ", ACCUMULATE.format("SAM")],
        ),
        (  # the wrong one counts by its name
            ["weights=[{name: sam}, {name: awp, gamma: -1}]", "accumulate=2", "threat=linf:-1",
             "objective={name: trades, attack: {step_size: 1}}"],
            ["weights.1: gamma is -1", "threat: eps is -1", ACCUMULATE.format("SAM"),
             "recipe: weights has sam and awp, which search for worse weights; use one"],
        ),
        (  # of a list, what is right in it; of data, what is right of it
            ["weights=[{name: same}, {name: awp}]", "data.augment=[{name: shift}]",
             "data.examples=0", "accumulate=2", "objective={name: atta, stepp: 1}"],
            ["weights.0: name 'same'", "data.examples: is 0", "objective.stepp: unknown",
             ACCUMULATE.format("AWP"), "recipe: ATTA remembers a perturbation"],
        ),
        (  # an argument that is missing takes the whole part with it
            ["penalties=[{name: elastic-net}, {name: l1, weight: 1e-3, proximal: true}]",
             "weights=[{name: weight-norm}]"],
            ["penalties.0.weight: missing", "recipe: L1 with proximal=True would act"],
        ),
        (  # nothing speaks against SWA where it is not known for how long
            ["epochs=0", "average={name: swa, start: 30}", "accumulate=x"],
            ["epochs: is 0", "accumulate: is 'x'"],
        ),
        (  # augmentation is judged whatever it is of
            ["data.name=digitz", "data.augment=[{name: flip}]", "objective={name: atta}"],
            ["data.name: data set 'digitz'", "recipe: ATTA remembers a perturbation"],
        ),
        (["model={name: resnt, dual: true}", "objective={name: advprop}"], ["model: name 'resnt'"]),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_told_beside_what_is_wrong(
    overrides: list[str], expected: list[str]
) -> None:
    problems = complaint(*overrides)
    assert len(problems) == len(expected)
    for start in expected:
        assert any(problem.startswith(start) for problem in problems), (start, problems)


def test_layers_are_told_by_their_kind_where_a_penalty_cannot_act_on_them() -> None:
    penalties = "penalties=[{name: max-norm}, {name: l1, weight: 1e-3, proximal: true}]"
    problems = complaint("weights=[{name: weight-norm}]", penalties)
    for problem, kind in zip(problems, ("MaxNorm", "L1 with proximal=True"), strict=True):
        assert problem.startswith(
            f"recipe: {kind} would act on what Conv2d, Linear layers store, from which a "
            "parametrization (such as weight normalisation, or noise on weights) computes the "
            f"weights that they use; leave out {kind}, or the parametrization (in a recipe an "
            "entry of weights), or in Python "
        )


def test_an_objective_is_not_judged_by_a_threat_that_is_wrong_itself() -> None:
    (problem,) = complaint(
        "threat=linf:8", "objective={name: trades, attack: {name: pgd, step_size: 1}}"
    )
    assert problem.startswith("threat: ")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("lr", "'lr' is no override; write key.path=value, e.g. optimizer.lr=0.1"),
        ("=1", "'=1' is no override"),
        ("threat.eps=1", "'threat.eps=1': 'threat' holds no keys"),
        ("seed=[1", "'seed=[1': the value is not YAML: "),
    ],
)
def test_an_override_that_is_none(override: str, expected: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(expected)):
        Recipe.load("digits-plain", [override])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a: [1,", "is not YAML: "),
        (b"\xff\xfe\x00", "is not YAML: "),
        (b"- name: x\n- epochs: 3\n", "holds list; expected keys and values"),
        (b"", "holds NoneType; expected keys and values"),
        (b"just text", "holds str; expected keys and values"),
        (b"null: 3", "has errors:\n  name: missing; it has no default\n  data: missing; "),
        (b"name: x", "has errors:\n  data: missing; it has no default\n  model: missing; "),
    ],
)
def test_a_file_that_is_no_recipe(content: bytes, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="^" + re.escape(f"{file} {expected}")):
        Recipe.load(file)


def test_a_recipe_that_is_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'digits-plane' is neither .* mean 'digits-plain'\?"):
        Recipe.load("digits-plane")
    with pytest.raises(ValueError, match=r"neither a shipped recipe nor a file\. Known: digits"):
        Recipe.load(tmp_path)


def test_a_batch_larger_than_the_data() -> None:
    recipe = Recipe.load("digits-plain", ["data.examples=100", "batch_size=101"])
    with pytest.raises(ValueError, match=r"batch_size is 101, but digits has 100 .* 1 to 100"):
        build_data(recipe)


def test_a_network_of_impossible_size() -> None:
    recipe = Recipe.load("digits-plain", ["model={name: mlp, hidden: [-3]}"])
    with pytest.raises(ValueError, match=r"model"):
        build_model(recipe, build_data(recipe))
