"""Each check on a problem where its answer is known; the zoo tries them on real defences."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from brolly import APGD, FGSM, L1, L2, PGD, Evaluation, Linf, Square, evaluate
from brolly.data import Split
from brolly.evaluation import Check, Subject, run_checks
from brolly.evaluation._guard import Guarded
from brolly.evaluation.checks import NAMES


@pytest.fixture(scope="module")
def split() -> Split:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(60, 1, 4, 4, generator=generator)
    y = (x.flatten(1)[:, :8].sum(1) > x.flatten(1)[:, 8:].sum(1)).long()
    return Split(x, y, 1.0, "test", "halves", ("right", "left"))


class Halves(nn.Module):
    """Knows the rule: which half of the image is brighter."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 2)
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor([[-1.0] * 8 + [1.0] * 8, [1.0] * 8 + [-1.0] * 8]))
            self.linear.bias.zero_()

    def logits(self, x):
        return self.linear(x.flatten(1))

    def forward(self, x):
        return self.logits(x)


def look(model: nn.Module, split: Split, full: bool = False, eps: float = 0.02, **changes):
    threat = Linf(eps)
    changes.setdefault("attacks", [APGD(threat), APGD(threat, loss="dlr")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = evaluate(model.eval(), split, threat, checks="full" if full else "cheap",
                          curve_examples=20, **changes)  # fmt: skip
    return result, {check.name: check for check in result.checks}


def alarms(found: dict[str, Check]) -> set[str]:
    return {name for name, check in found.items() if check.status in ("warn", "fail")}


def test_a_sound_model_raises_no_alarm(split: Split) -> None:
    result, found = look(Halves(), split, full=True)
    assert alarms(found) == set()
    assert tuple(found) == NAMES
    assert result.trust == (
        "trusted",
        f"{sum(c.status == 'pass' for c in found.values())} checks passed",
    )
    assert "trusted" in result.verdict()
    for check in found.values():
        assert check.verdict[0].isupper() or check.verdict[0].isdigit()
        assert check.verdict.endswith(".")
        assert check.threshold
        assert check.page == f"docs/checks.md#{check.name}"


def test_the_cheap_ones_are_a_part_of_all(split: Split) -> None:
    _, found = look(Halves(), split)
    assert set(found) < set(NAMES)
    assert not {"more-steps", "unbounded-attack", "loss-scale"} & set(found)


class Rounding(Halves):
    def forward(self, x):
        return super().forward((4 * x).round() / 4)


class Random(Halves):
    def forward(self, x):
        return super().forward(x + 0.05 * torch.randn_like(x))


class Probabilities(Halves):
    def forward(self, x):
        return super().forward(x).softmax(1)


class Rejecting(Halves):
    def forward(self, x):
        logits = super().forward(x)
        return torch.cat([logits, logits.amin(1, keepdim=True) - 1], 1)


class Detached(Halves):
    def forward(self, x):
        return super().forward(x.detach())


class Optimising(Halves):
    def forward(self, x):
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(super().forward(leaf).sum(), leaf)
        return super().forward(x) + 0 * slope.flatten(1)[:, :2]


class StraightThrough(Halves):
    """Its gradient is that of another function."""

    def forward(self, x):
        other = super().forward(x.flip(-1) ** 2)
        return other + (super().forward(x) - other).detach()


class BatchMates(Halves):
    def forward(self, x):
        return super().forward(x - x.mean(0, keepdim=True) + 0.5)


class Twice(Halves):
    def __init__(self) -> None:
        super().__init__()

        class Normalize(nn.Module):
            def forward(self, x):
                return (x - 0.5) / 0.25

        self.one, self.two = Normalize(), Normalize()

    def forward(self, x):
        return super().forward(self.two(self.one(x)))


class Moving(Halves):
    """Updates running statistics in eval mode, too."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x):
        self.mean.mul_(0.9).add_(0.1 * x.detach().mean())
        return super().forward(x)


class Training(Halves):
    """Puts a part of itself back into training mode."""

    def forward(self, x):
        self.linear.train()
        return super().forward(x)


class NaN(Halves):
    def forward(self, x):
        logits = super().forward(x)
        return torch.where(x[:, 0, 0, :1] > 0.9, torch.nan, logits)


class Jumping(Halves):
    """Flips on specks of the input that no gradient shows."""

    def forward(self, x):
        logits = super().forward(x)
        speck = ((x.sum((1, 2, 3)) * 5000) % 10) < 1
        return torch.where(speck[:, None], logits.flip(1), logits)


@pytest.mark.parametrize(
    ("model", "name", "status"),
    [
        (Rounding, "input-gradients", "fail"),
        (Rounding, "finite-differences", "pass"),  # nearly everywhere the slope is 0, as it says
        (Random, "deterministic-forward", "warn"),
        (Random, "random-model", "warn"),
        (Probabilities, "logits-not-probabilities", "fail"),
        (Rejecting, "logits-not-probabilities", "fail"),
        (Optimising, "test-time-optimisation", "warn"),
        (StraightThrough, "finite-differences", "fail"),
        (BatchMates, "returned-examples", "fail"),
        (Twice, "data-hygiene", "fail"),
        (Moving, "model-hygiene", "fail"),
        (Training, "model-hygiene", "fail"),
        (NaN, "nan-logits", "fail"),
        (Jumping, "stable-predictions", "fail"),
        (Jumping, "noise-beats-white-box", "fail"),
    ],
)
def test_a_fault_is_found_by_the_check_that_names_it(split, model, name, status) -> None:
    random = name == "random-model"
    _, found = look(model(), split.first(20) if random else split, full=random)
    assert found[name].status == status, found[name].verdict


class UnitFeatures(nn.Sequential):
    """Normalises features, not inputs."""

    def __init__(self) -> None:
        class L2Normalize(nn.Module):
            def forward(self, x):
                return x / x.norm(dim=1, keepdim=True)

        super().__init__(Halves(), L2Normalize(), nn.Linear(2, 2))
        with torch.no_grad():
            self[2].weight.copy_(4 * torch.eye(2))
            self[2].bias.zero_()


def test_normalised_features_are_no_normalised_inputs(split: Split) -> None:
    assert look(UnitFeatures(), split)[1]["data-hygiene"].status == "pass"


@pytest.mark.parametrize("threat", [Linf(1e-3), L2(0.01), L1(0.02)])
def test_a_sound_model_that_holds_raises_no_alarm(split: Split, threat) -> None:
    result = evaluate(Halves(), split, threat, attacks=APGD(threat), curve_examples=60)
    assert result.curve[-1].robust.rate > 0.6
    assert alarms({check.name: check for check in result.checks}) == set()


def test_what_an_attack_meets_outside_the_ball_is_no_success(split: Split) -> None:
    threat = L1(0.6)
    result = evaluate(Halves(), split, threat, attacks=APGD(threat), curve_examples=0)
    found = {check.name: check for check in result.checks}
    assert 0 < result.robust.hits < len(split)
    assert found["silent-success"].status == "pass"


class Picky(Halves):
    """Raises what only a user's module would raise, near inputs that it answers."""

    def forward(self, x):
        if ((x.sum((1, 2, 3)) * 1000) % 7 < 0.5).any():
            raise KeyError("no such bucket")
        return super().forward(x)


def test_a_model_that_raises_anything_ends_no_check(split: Split) -> None:
    _, found = look(Picky(), split, full=True)
    assert tuple(found) == NAMES
    assert found["nan-logits"].status == "fail"
    assert found["gradient-graph"].status == "pass"


def test_an_input_that_a_model_raises_on_leaves_the_gradients_of_the_others(split: Split) -> None:
    class Narrow(Halves):
        def forward(self, x):
            if (x[:, 0, 0, 0] > 0.9).any():
                raise KeyError("too bright")
            return super().forward(x)

    x = split.inputs.clone().requires_grad_()
    bright = split.inputs[:, 0, 0, 0] > 0.9
    assert 0 < int(bright.sum()) < len(split)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Guarded(Narrow())(x)[:, 0].sum().backward()
    assert x.grad is not None
    assert (x.grad.isnan().flatten(1).any(1) == bright).all()


def test_a_cut_graph_is_told_where_the_attacks_need_none(split: Split) -> None:
    result, found = look(Detached(), split, attacks=Square(Linf(0.02), queries=20))
    assert found["gradient-graph"].status == "fail"
    assert found["input-gradients"].status == "not applicable"
    assert result.trust[0] == "broken"
    assert "gradient-graph" in result.trust[1]


def test_too_few_steps_are_told(split: Split) -> None:
    weak = PGD(Linf(0.1), steps=1, step_size=0.005)
    _, found = look(Halves(), split, full=True, eps=0.1, attacks=weak)
    assert found["loss-converged"].status == "warn"
    assert found["iterative-beats-single-step"].status == "fail"
    assert found["black-box-beats-white-box"].status == "fail"
    assert len(found["iterative-beats-single-step"].examples) >= 3
    _, sound = look(Halves(), split, eps=0.1, attacks=FGSM(Linf(0.1)))  # exact for a linear model
    assert "loss-converged" not in alarms(sound)


def test_too_few_examples_and_known_ones_are_told(split: Split) -> None:
    _, found = look(Halves(), split.first(10))
    assert found["data-hygiene"].status == "warn"
    assert "10 examples are too few" in found["data-hygiene"].verdict
    _, found = look(Halves(), split, train=split.first(5))
    assert found["data-hygiene"].status == "fail"
    assert found["data-hygiene"].examples == (0, 1, 2, 3, 4)


def subject(result: Evaluation, split: Split, **changes) -> Subject:
    model = changes.pop("model", None) or Halves().eval()
    none = torch.zeros(0, dtype=torch.long)
    return Subject(model, split, result.threat, result, none, split.inputs[:0], **changes)


def test_a_proof_that_is_broken_is_a_bug(split: Split) -> None:
    result, _ = look(Halves(), split, eps=0.1)
    both = dataclasses.replace(result, proved=result.broken_by >= 0)
    found = {check.name: check for check in run_checks(subject(both, split))}
    assert found["certified-below-attacked"].status == "fail"
    assert len(found["certified-below-attacked"].examples) == min(20, (both.broken_by >= 0).sum())
    honest = {check.name: check for check in run_checks(subject(result, split))}
    assert honest["certified-below-attacked"].status == "pass"


def test_another_model_than_the_one_evaluated_is_noticed(split: Split) -> None:
    result, _ = look(Halves(), split)
    other = Halves().eval()
    with torch.no_grad():
        other.linear.bias += 1e-3
    found = {check.name: check for check in run_checks(subject(result, split, model=other))}
    assert found["model-hygiene"].status == "fail"


def test_inputs_that_break_nothing_are_noticed(split: Split) -> None:
    result, _ = look(Halves(), split, eps=0.1)
    rows = torch.from_numpy(np.flatnonzero(result.broken_by >= 0))
    clean = dataclasses.replace(
        subject(result, split), adversarial_index=rows, adversarial=split.inputs[rows]
    )
    found = {check.name: check for check in run_checks(clean)}
    assert found["returned-examples"].status == "fail"
    assert found["returned-examples"].examples == tuple(rows.tolist()[:20])


def test_checks_leave_everything_as_it_was(split: Split) -> None:
    model = Halves().train()
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    result, _ = look(model.train(), split)
    model.train()
    before = run_checks(subject(result, split, model=model), full=True)
    assert torch.equal(state, torch.random.get_rng_state())
    assert model.training
    assert model.linear.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert run_checks(subject(result, split, model=model), full=True) == before
