"""What attacks refuse: each message says what was given, what was expected, what to write."""

import jaxtyping
import pytest
import torch
from oracles.networks import Function, inputs, mlp
from torch import nn

from brolly import APGD, FGSM, L2, PGD, APGDTargeted, Linf

MODEL = mlp(classes=4)
X, Y = inputs(3), torch.tensor([0, 1, 2])
ATTACKS = {
    "fgsm": FGSM(Linf(0.1)),
    "pgd": PGD(Linf(0.1), steps=2),
    "apgd": APGD(Linf(0.1), steps=2),
    "apgd-t": APGDTargeted(Linf(0.1), steps=2),
}
all_attacks = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)


@pytest.fixture(autouse=True)
def _as_users_have_it():
    """Without the shape checks of the tests, which would speak first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def message(call, *args, **kwargs) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call(*args, **kwargs)
    return str(caught.value)


def says(text: str, *fragments: str) -> None:
    for fragment in fragments:
        assert fragment in text


# Settings


def test_eps_of_8_bit_images() -> None:
    text = message(Linf, 8.0)
    says(text, "eps is 8", "[0.0, 1.0]", "write 8/255", "Linf(8, bounds=(0, 255))")
    Linf(8, bounds=(0, 255))


@all_attacks
def test_l2_eps_beyond_the_diagonal(attack) -> None:
    other = type(attack)(L2(128.0))
    says(message(other, MODEL, X, Y), "eps is 128", "(6,)", "2.449 apart", "write 128/255")
    says(message(other, MODEL, X, Y), "L2(..., bounds=(0, 255))")


@pytest.mark.parametrize("step_size", [0.21, 2.0, 0.0, -0.1, float("nan")])
def test_steps_longer_than_the_ball(step_size: float) -> None:
    text = message(PGD, Linf(0.1), steps=10, step_size=step_size)
    says(text, f"step_size is {step_size:.6g}", "linf:0.1 is 0.2 wide", "Write for example 0.025")
    PGD(Linf(0.1), step_size=0.2)


@pytest.mark.parametrize(
    ("kind", "settings", "given"),
    [
        (PGD, {"steps": 0}, "steps is 0"),
        (PGD, {"steps": -3}, "steps is -3"),
        (PGD, {"restarts": 0}, "restarts is 0"),
        (APGD, {"steps": 0}, "steps is 0"),
        (APGD, {"restarts": 0}, "restarts is 0"),
        (APGDTargeted, {"steps": 0}, "steps is 0"),
        (APGDTargeted, {"targets": 0}, "targets is 0"),
    ],
)
def test_counts_below_one(kind, settings, given: str) -> None:
    says(message(kind, Linf(0.1), **settings), given, "expected 1 or more")


def test_unknown_loss() -> None:
    says(message(APGD, Linf(0.1), loss="cw"), "loss is 'cw'", "expected 'ce' or 'dlr'")


# Inputs


@all_attacks
def test_inputs_outside_the_bounds(attack) -> None:
    says(
        message(attack, MODEL, 4 * X - 2, Y),
        "inputs span [-1.",
        "declared bounds [0.0, 1.0]",
        "brolly.models.Normalize",
        "Linf(0.1, bounds=(low, high))",
    )
    says(message(attack, MODEL, X.log().log(), Y), "inputs span [nan, nan]")


@all_attacks
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_integer_inputs(attack, dtype: torch.dtype) -> None:
    says(message(attack, MODEL, X.to(dtype), Y), f"inputs are {dtype}", "x.float() / 255")


@all_attacks
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_inputs(attack, dtype: torch.dtype) -> None:
    text = message(attack, MODEL, X.to(dtype), Y)
    says(text, f"inputs are {dtype}", "float32 or float64", "x.float()", "torch.autocast")


# Labels, targets, indices


@all_attacks
@pytest.mark.parametrize(("label", "name"), [(4, "label 4"), (-1, "label -1")])
def test_labels_out_of_range(attack, label: int, name: str) -> None:
    text = message(attack, MODEL, X, torch.tensor([0, label, 1]))
    says(text, name, "position 1", "4 classes", "expected 0 to 3")


@all_attacks
@pytest.mark.parametrize(("target", "name"), [(4, "target 4"), (-1, "target -1")])
def test_targets_out_of_range(attack, target: int, name: str) -> None:
    text = message(attack, MODEL, X, Y, target=torch.tensor([1, 2, target]))
    says(text, name, "position 2", "4 classes", "expected 0 to 3")


@all_attacks
@pytest.mark.parametrize("what", ["labels", "targets", "indices"])
def test_integers_of_the_wrong_kind(attack, what: str) -> None:
    def call(values: torch.Tensor) -> str:
        given = {"y": Y, "target": None, "index": None}
        given[{"labels": "y", "targets": "target", "indices": "index"}[what]] = values
        return message(attack, MODEL, X, **given)

    says(call(Y.double()), f"{what} are torch.float64", "expected integers", ".long()")
    says(call(Y > 0), f"{what} are torch.bool", "expected integers", ".long()")
    for wrong in (Y[:2], torch.cat([Y, Y]), Y[:, None], torch.tensor(1), Y[:1]):
        says(call(wrong), f"{what} have shape {tuple(wrong.shape)}", "(3, 6)", "expected (3,)")


def test_one_hot_labels() -> None:
    text = message(ATTACKS["pgd"], MODEL, X, nn.functional.one_hot(Y, 4))
    says(text, "labels have shape (3, 4)", "expected (3,)")


# Models


@all_attacks
@pytest.mark.parametrize("shape", [(3,), (3, 4, 2), (2, 4), (3, 1), (4, 3)])
def test_logits_of_other_shapes(attack, shape: tuple[int, ...]) -> None:
    model = Function(lambda x: x.sum() + torch.zeros(shape, dtype=x.dtype))
    says(
        message(attack, model, X, Y),
        f"returned shape {shape}",
        "batch of 3",
        "logits of shape (3, classes)",
        "at least 2 classes",
    )


@all_attacks
@pytest.mark.parametrize(
    ("wrap", "name"), [(lambda z: (z, z), "tuple"), (lambda z: {"logits": z}, "dict")]
)
def test_outputs_that_are_no_tensor(attack, wrap, name: str) -> None:
    text = message(attack, Function(lambda x: wrap(MODEL(x))), X, Y)
    says(text, f"returned a {name}", "one tensor of logits", "Wrap the model")


CUTS = {
    "detach": lambda x: MODEL(x).detach(),
    "numpy": lambda x: torch.from_numpy(MODEL(x).detach().numpy()),
    "no-grad": torch.no_grad()(lambda x: MODEL(x)),
}


@all_attacks
@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_outputs_without_a_graph(attack, cut) -> None:
    y = MODEL(X).argmax(1)
    says(message(attack, Function(cut), X, y), "carries no gradient", "torch.no_grad, detach")


@all_attacks
def test_outputs_that_do_not_depend_on_the_input(attack) -> None:
    weight = nn.Parameter(torch.eye(4, dtype=torch.float64)[0])
    model = Function(lambda x: weight.expand(len(x), 4))
    text = message(attack, model, X, torch.zeros(3, dtype=torch.long))
    says(text, "does not depend on its input", "expected logits computed from it")


@all_attacks
def test_models_that_are_no_module(attack) -> None:
    text = message(attack, lambda x: MODEL(x), X, Y)
    says(text, "the model is a function", "expected a torch.nn.Module")


@all_attacks
def test_errors_leave_the_model_alone(attack) -> None:
    model = mlp(classes=4).train()
    state = torch.get_rng_state()
    message(attack, model, X, torch.tensor([0, 1, 9]))
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)
