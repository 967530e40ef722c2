import math

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brolly import APGD, EOT, FAB, FGSM, L2, MIM, NIM, PGD, Linf, Transfer, evaluate, load_data
from brolly.attacks import Scaled
from brolly.data import Split
from brolly.evaluation import HELD, NO_PREDICTION, WRONG, default_attacks


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("eps", [0.0, 0.03, 0.1, 1.0])
def test_on_a_linear_model_the_robust_accuracy_is_exact(problems, classes: int, eps: float) -> None:
    problem = problems(classes, examples=100, eps=eps, seed=classes)
    result = evaluate(problem.model, problem.split, problem.threat, curve_examples=0)
    holds = problem.holds(eps).numpy()
    assert result.clean.hits == int(problem.right.sum())
    assert result.robust.hits == holds.sum()
    assert np.array_equal(result.broken_by == HELD, holds)
    assert np.array_equal(result.broken_by == WRONG, ~problem.right.numpy())


def test_the_problem_has_all_three_verdicts(problem) -> None:
    assert 0 < int(problem.holds(0.05).sum()) < int(problem.right.sum()) < len(problem.split)


def test_what_is_written_down_about_each_example(problem) -> None:
    x, y = problem.split.inputs, problem.split.labels
    result = evaluate(problem.model, problem.split, problem.threat, curve_examples=0)
    clean = problem.model(x).argmax(1).numpy()
    broken = result.broken_by >= 0
    assert np.array_equal(result.index, np.arange(60))
    assert np.array_equal(result.label, y.numpy())
    assert np.array_equal(result.clean_prediction, clean)
    assert np.array_equal(result.adversarial_prediction[~broken], clean[~broken])
    assert (result.adversarial_prediction[broken] != y.numpy()[broken]).all()
    assert np.isnan(result.distance[result.broken_by == HELD]).all()
    assert (result.distance[result.broken_by == WRONG] == 0).all()
    assert (result.distance[broken] > 0).all()
    assert (result.distance[broken] <= 0.05 + 1e-6).all()
    assert [a.broke for a in result.attacks] == [(result.broken_by == k).sum() for k in range(2)]
    assert [a.done for a in result.attacks] == [60, 60]
    assert len(result.pictures) == min(12, broken.sum())
    for picture in result.pictures:
        example = x[picture.index]
        assert torch.equal(torch.from_numpy(picture.clean), example)
        adversarial = torch.from_numpy(picture.adversarial)[None]
        assert problem.threat.contains(adversarial, example[None]).all()
        assert int(problem.model(adversarial).argmax()) == picture.adversarial_prediction
        assert picture.adversarial_prediction != picture.label == int(y[picture.index])
        assert picture.clean_prediction == picture.label


def test_each_attack_meets_the_examples_that_still_stand(problem) -> None:
    weak, strong = FGSM(problem.threat), PGD(problem.threat, steps=30)
    first = evaluate(problem.model, problem.split, problem.threat, attacks=[strong, weak])
    assert [a.broke for a in first.attacks][1] == 0
    standing = first.robust.hits
    assert first.attacks[1].cost.forwards <= 3 * standing
    assert first.attacks[0].settings["steps"] == 30


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_verdict_does_not_depend_on_the_batch(problem, comparable, batch_size: int) -> None:
    attacks = [PGD(problem.threat, steps=3), APGD(problem.threat, steps=5)]

    def run(size: int) -> dict:
        return comparable(
            evaluate(problem.model, problem.split, problem.threat, attacks=attacks,
                     batch_size=size, curve_examples=20, seed=3)
        )  # fmt: skip

    assert run(batch_size) == run(1000)


def test_the_seed_decides(problem, comparable) -> None:
    attacks = [PGD(problem.threat, steps=1)]  # so weak that its random start matters

    def run(seed: int) -> dict:
        result = evaluate(problem.model, problem.split, problem.threat, attacks=attacks, seed=seed)
        return comparable(result)

    assert run(1) == run(1)
    assert run(1)["examples"]["distance"] != run(2)["examples"]["distance"]


def test_the_first_examples_get_the_verdicts_they_get_among_all(problem) -> None:
    few = evaluate(problem.model, problem.split, problem.threat, examples=25, curve_examples=0)
    all_ = evaluate(problem.model, problem.split, problem.threat, curve_examples=0)
    assert np.array_equal(few.broken_by, all_.broken_by[:25])
    assert few.data.size == 25


def test_l2_is_judged_in_l2(problem) -> None:
    threat = L2(0.1)
    result = evaluate(problem.model, problem.split, threat, curve_examples=0)
    broken = result.broken_by >= 0
    assert broken.any()
    assert (result.distance[broken] <= 0.1 + 1e-6).all()
    # The L2 ball lies inside the Linf ball of the same radius.
    assert not (broken & problem.holds(0.1).numpy()).any()


class Fussy(nn.Module):
    """Batch statistics, dropout, a frozen part, a branch on data, and gradients lying about."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.frozen = nn.BatchNorm1d(12).eval()
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(12, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        x = self.drop(self.frozen(self.norm(x).flatten(1)))
        return torch.where(x.sum(1, keepdim=True) > 0, self.out(x), -self.out(x))


def fussy() -> Fussy:
    torch.manual_seed(0)
    model = Fussy()
    for number, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(number % 2 == 0)
        parameter.grad = torch.full_like(parameter, float(number)) if number % 2 == 0 else None
    return model


def test_the_model_is_left_as_it_was(problem) -> None:
    model = fussy()

    def state() -> list:
        return [
            {name: module.training for name, module in model.named_modules()},
            {name: tensor.tolist() for name, tensor in model.state_dict().items()},
            [(p.requires_grad, p.grad is not None and p.grad.tolist()) for p in model.parameters()],
            torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
            [tensor.data_ptr() for tensor in model.state_dict().values()],
        ]

    before = state()
    evaluate(model, problem.split, problem.threat, attacks=[PGD(problem.threat, steps=3)])
    assert state() == before


def test_a_model_in_training_mode_is_evaluated_in_eval_mode(problem, comparable) -> None:
    attacks = [PGD(problem.threat, steps=3)]
    training, still = fussy(), fussy().eval()
    assert training.training
    results = [
        comparable(evaluate(model, problem.split, problem.threat, attacks=attacks))
        for model in (training, still)
    ]
    assert results[0] == results[1]


class Rounded(nn.Module):
    """Logits that autocast would round: classes 0 and 1 are closer than bfloat16 can tell."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(12, 2, bias=False)
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor([[1.0], [1.001]]).expand(2, 12))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))


def test_verdicts_are_in_full_precision_under_autocast_too(problem) -> None:
    split = Split(
        problem.split.inputs, torch.ones(60, dtype=torch.int64), 1.0, "test", "ones", ("0", "1")
    )
    with torch.autocast("cpu", torch.bfloat16):
        assert (Rounded()(split.inputs).argmax(1) == 0).any()
        result = evaluate(Rounded(), split, Linf(0.0), attacks=[FGSM(Linf(0.0))], curve_examples=0)
    assert result.clean.hits == 60


class NaNs(nn.Module):
    """Not a number for bright inputs."""

    def __init__(self, model: nn.Module, above: float) -> None:
        super().__init__()
        self.model, self.above = model, above

    def forward(self, x: Tensor) -> Tensor:
        bright = x.flatten(1).mean(1, keepdim=True) > self.above
        return self.model(x).masked_fill(bright, float("nan"))


def test_nan_logits_are_failures(problem) -> None:
    bright = problem.split.inputs.flatten(1).mean(1).numpy()
    model = NaNs(problem.model, 0.55)
    result = evaluate(model, problem.split, problem.threat, curve_examples=0)
    assert (bright > 0.55).any()
    assert (result.broken_by[bright > 0.55] == WRONG).all()
    assert (result.clean_prediction[bright > 0.55] == NO_PREDICTION).all()
    count = (bright > 0.55).sum()
    assert f"{count} clean inputs give NaN logits; they count as wrong" in result.warnings


class BrightNaNs(nn.Module):
    """Class 0 for everything, with a gradient towards bright inputs, where it is NaN."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.flatten(1).mean(1)
        logits = torch.stack([1 - mean, 0 * mean], 1)
        return logits.masked_fill((mean > 0.6)[:, None], float("nan"))


def test_nan_logits_that_an_attack_finds_are_failures(problem) -> None:
    split = Split(
        problem.split.inputs * 0.5, torch.zeros(60, dtype=torch.int64), 1.0, "test", "dark",
        ("0", "1"),
    )  # fmt: skip
    result = evaluate(BrightNaNs(), split, Linf(0.5), attacks=[PGD(Linf(0.5))], curve_examples=0)
    assert (result.clean.hits, result.robust.hits) == (60, 0)
    assert (result.adversarial_prediction == NO_PREDICTION).all()


def test_probabilities_bring_a_warning(problem) -> None:
    attacks = [FGSM(problem.threat)]
    probable = nn.Sequential(*problem.model, nn.Softmax(1))
    for model, warned in ((probable, True), (problem.model, False)):
        result = evaluate(model, problem.split, problem.threat, attacks=attacks)
        assert any("probabilities" in warning for warning in result.warnings) == warned
        assert ("warning: the model seems to return probabilities" in repr(result)) == warned


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"examples": 0}, "examples is 0; random/test has 60, so expected 1 to 60"),
        ({"examples": 61}, "examples is 61; random/test has 60, so expected 1 to 60"),
        ({"attacks": []}, "attacks is empty; expected at least one"),
        ({"threat": Linf(math.inf)}, "threat is linf:inf, which everything lies in; give a radius"),
        (
            {"threat": Linf(math.inf), "attacks": FAB(Linf(math.inf))},
            "threat is linf:inf, which everything lies in; give a radius",
        ),
        ({"attacks": [FGSM(Linf(0.1))]}, "fgsm attacks inside .*0.1.* evaluation is for .*0.05"),
        ({"attacks": [FGSM(L2(0.05))]}, r"fgsm attacks inside L2\(.* is for Linf\("),
        ({"device": "tpu"}, r"device 'tpu' is not on this machine; expected one of \['cpu'"),
        ({"threat": Linf(0.05, (0.0, 0.5))}, r"inputs span .* expected values inside"),
        ({"batch_size": 0}, "batch_size is 0, .* expected 1 or more"),
        ({"curve_examples": -1}, "curve_examples is -1; expected .* 0 or more"),
    ],
)
def test_arguments_that_do_not_fit(problem, arguments: dict, message: str) -> None:
    arguments = {"threat": problem.threat, **arguments}
    with pytest.raises(ValueError, match=message):
        evaluate(problem.model, problem.split, **arguments)


def test_a_model_with_too_few_classes(problem) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with pytest.raises(ValueError, match="returns 2 logits, but random has 3 classes"):
        evaluate(model, problem.split, problem.threat)


def test_a_model_that_returns_no_logits(problem) -> None:
    with pytest.raises(ValueError, match=r"returned shape \(60, 3, 2, 2\).* expected logits"):
        evaluate(nn.Identity(), problem.split, problem.threat)


def test_an_empty_split(problem) -> None:
    with pytest.raises(ValueError, match="random/test is empty"):
        evaluate(problem.model, problem.split.first(0), problem.threat)


def test_a_whole_data_set_in_the_place_of_a_split(problem, monkeypatch) -> None:
    # What the users see, who have no type checks at run time.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"pass data\.test"):
        evaluate(problem.model, load_data("digits"), problem.threat)


def test_the_default_attacks_are_strong_and_complementary() -> None:
    first, second = default_attacks(Linf(0.1))
    assert (first.name, second.name) == ("apgd-ce", "apgd-t")
    assert first.threat == second.threat == Linf(0.1)
    assert (first.steps, second.steps, second.targets) == (100, 100, 9)


def test_searching_in_bfloat16_ends_with_verdicts_in_float32(problem) -> None:
    result = evaluate(problem.model, problem.split, problem.threat, precision="bfloat16",
                      curve_examples=0)  # fmt: skip
    assert result.precision == "bfloat16"
    holds = problem.holds(0.05).numpy()
    assert not ((result.broken_by != HELD) & holds).any()
    assert result.robust.hits - holds.sum() <= 2  # those whose margin is below the rounding


def test_settings_of_attacks_inside_attacks_can_be_saved(problem, tmp_path) -> None:
    """Also of a surrogate, named by its weights; and the evaluation can be gone on with."""
    surrogate = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    attacks = [
        EOT(PGD(problem.threat, steps=2), samples=2),
        Transfer(MIM(problem.threat, steps=2), surrogate),
        NIM(problem.threat, steps=2, refine=(Scaled(2),)),
    ]

    def run():
        return evaluate(
            problem.model, problem.split, problem.threat, attacks=attacks, curve_examples=0,
            save_to=tmp_path / "result.json",
        )  # fmt: skip

    first, again = run(), run()
    assert [dict(record.settings) for record in first.attacks] == [
        dict(record.settings) for record in again.attacks
    ]
    expectation, transfer, nesterov = (record.settings for record in first.attacks)
    assert (expectation["steps"], expectation["samples"]) == (2, 2)
    assert transfer["surrogate"].startswith("Sequential ")
    assert nesterov["refine"] == "(Scaled(copies=2),)"
