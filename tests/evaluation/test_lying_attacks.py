"""The evaluator believes no attack: neither its inputs nor what it says of them."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brolly import Attack, AttackResult, Linf, evaluate
from brolly.attacks import Cost
from brolly.evaluation import HELD, Judge

Returned = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class Liar(Attack):
    """Returns whatever it likes, with whatever claim."""

    returns: Returned
    claims: bool

    name: ClassVar[str] = "liar"

    def search(self, search) -> None:
        raise AssertionError("never called")

    def __call__(self, model, x, y, *, target=None, generator=None, index=None) -> AttackResult:
        claim = torch.full((len(x),), self.claims)
        return AttackResult(self.returns(model, x, y), claim, torch.zeros(len(x)), Cost())


def corner(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """The worst corner of a linear model against its runner-up class."""
    weight = model[1].weight.detach()
    runner_up = model(x).scatter(1, y[:, None], -torch.inf).argmax(1)
    direction = (weight[runner_up] - weight[y]).sign().reshape(x.shape)
    return x + eps * direction


def run(problem, returns: Returned, claims: bool):
    # `returns` is no setting; an evaluation that is not saved does not mind.
    attack = Liar(problem.threat, returns, claims)
    return evaluate(
        problem.model, problem.split, problem.threat, attacks=[attack], curve_examples=0
    )


def test_clean_inputs_called_successes_break_nothing(problem) -> None:
    result = run(problem, lambda model, x, y: x, claims=True)
    assert result.robust == result.clean
    (warning,) = result.warnings
    assert warning == (f"liar claimed {result.clean.hits} successes that the evaluator refuted")


def test_inputs_outside_the_ball_are_put_back(problem) -> None:
    far = run(problem, lambda model, x, y: corner(model, x, y, 100.0), claims=True)
    near = run(problem, lambda model, x, y: corner(model, x, y, 0.05).clamp(0, 1), claims=True)
    assert np.array_equal(far.broken_by, near.broken_by)
    holds = problem.holds(0.05).numpy()
    assert (far.broken_by[holds] == HELD).all()
    broken = far.broken_by >= 0
    assert broken.any()
    # What is kept is what was judged, not what the attack returned.
    assert (far.distance[broken] <= 0.05 + 1e-6).all()
    for picture in far.pictures:
        assert picture.adversarial.min() >= 0
        assert picture.adversarial.max() <= 1
        assert np.abs(picture.adversarial - picture.clean).max() <= 0.05 + 1e-6


def test_an_image_of_another_class_is_no_adversarial_example(problem) -> None:
    x, y = problem.split.inputs, problem.split.labels
    other = x[[int((y != label).nonzero()[0, 0]) for label in y]]
    result = run(problem, lambda model, x, y: other[: len(x)], claims=True)
    assert (result.broken_by[problem.holds(0.05).numpy()] == HELD).all()


def test_success_that_is_kept_secret_counts(problem) -> None:
    result = run(problem, lambda model, x, y: corner(model, x, y, 0.05), claims=False)
    assert result.robust.hits < result.clean.hits
    assert not result.warnings


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_inputs_that_are_no_numbers_do_not_count(problem, value: float) -> None:
    result = run(problem, lambda model, x, y: torch.full_like(x, value), claims=True)
    assert (result.broken_by[problem.holds(0.05).numpy()] == HELD).all()
    broken = result.broken_by >= 0
    assert np.isfinite(result.distance[broken]).all()
    if value != value:
        assert not broken.any()


def test_the_judge_wants_an_input_inside_the_threat_that_is_taken_for_another_class(
    problem,
) -> None:
    x, y = problem.split.inputs, problem.model(problem.split.inputs).argmax(1)
    judge = Judge(problem.model)
    broken, logits = judge.breaks(Linf(0.05), x, y, corner(problem.model, x, y, 1.0))
    assert torch.equal(broken, logits.argmax(1) != y)
    assert broken.any()
    assert not judge.breaks(Linf(0.0), x, y, corner(problem.model, x, y, 1.0))[0].any()
