import pytest
import torch
from torch import Tensor, nn

from brolly.data import Split
from brolly.evaluation import preflight
from brolly.models import Normalize

CHECKS = [
    "input range", "eval mode", "normalisation inside", "output shape", "logits", "determinism",
    "batch independence", "NaN", "input gradient", "clean accuracy",
]  # fmt: skip


class Wrapped(nn.Module):
    """A good model with a fault."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.normalize = Normalize([0.0] * 3, [1.0] * 3)
        self.model = model
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.model(self.normalize(x))


class Probable(Wrapped):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


class NaNAtBounds(Wrapped):
    def forward(self, x: Tensor) -> Tensor:
        white = (x == 1).flatten(1).all(1, keepdim=True)
        return super().forward(x).masked_fill(white, float("nan"))


class Infinite(Wrapped):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 0


class Randomised(Wrapped):
    def __init__(self, model: nn.Module, noise: float = 10.0) -> None:
        super().__init__(model)
        self.noise = noise

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return logits + self.noise * torch.randn_like(logits)


class BatchNormed(Wrapped):
    """No running statistics: the batch's own are used, in eval mode too."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.normalize = nn.BatchNorm2d(3, affine=False, track_running_stats=False)


class Detached(Wrapped):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


class Blind(Wrapped):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 0 + self.model[1].bias


class Featureless(Wrapped):
    """The gradient is zero everywhere, though the graph is whole."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.round())


class Raising(Wrapped):
    def forward(self, x: Tensor) -> Tensor:
        raise KeyError("no such layer")


class TwoOutputs(Wrapped):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = super().forward(x)
        return logits, logits


class FourAxes(Wrapped):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[..., None, None]


class TooFew(Wrapped):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, :2]


class Inverted(Wrapped):
    def forward(self, x: Tensor) -> Tensor:
        return -super().forward(x)


class NormalisedTwice(Wrapped):
    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.more = Normalize([0.0] * 3, [1.0] * 3)


def status(findings: list) -> dict[str, str]:
    return {finding.check: finding.status for finding in findings}


def message(findings: list, check: str) -> str:
    (found,) = [finding.message for finding in findings if finding.check == check]
    return found


def test_a_good_model_passes_every_check(problem) -> None:
    assert status(preflight(Wrapped(problem.model), problem.split)) == dict.fromkeys(CHECKS, "pass")


@pytest.mark.parametrize(
    ("kind", "check", "expected", "words"),
    [
        (Probable, "logits", "fail", "probabilities"),
        (NaNAtBounds, "NaN", "fail", "1 of 62 inputs give NaN"),
        (Infinite, "NaN", "fail", "62 of 62 inputs give NaN or infinite"),
        (Randomised, "determinism", "fail", "predictions change on"),
        (lambda model: Randomised(model, 0.0), "determinism", "pass", "agree to the bit"),
        (lambda model: Randomised(model, 1e-5), "determinism", "warn", "two forward passes differ"),
        (BatchNormed, "batch independence", "fail", "alone and in a batch differ by up to"),
        (Detached, "input gradient", "fail", "carries no gradient"),
        (Featureless, "input gradient", "warn", "(60/60)"),
        (Raising, "output shape", "fail", "forward pass failed with KeyError: 'no such layer'"),
        (TwoOutputs, "output shape", "fail", "returned a tuple; expected one tensor"),
        (FourAxes, "output shape", "fail", "returned shape (60, 3, 1, 1)"),
        (TooFew, "output shape", "fail", "(batch, 2) for 3 classes"),
        (Inverted, "clean accuracy", "fail", "no better than chance"),
        (NormalisedTwice, "normalisation inside", "warn", "2 layers normalise"),
        (lambda model: model, "normalisation inside", "warn", "no Normalize layer found"),
        (lambda model: Wrapped(model).train(), "eval mode", "warn", "in training mode"),
    ],
)
def test_a_fault_is_found(problem, kind, check: str, expected: str, words: str) -> None:
    torch.manual_seed(0)
    findings = preflight(kind(problem.model), problem.split)
    assert status(findings)[check] == expected
    assert words in message(findings, check)


def test_a_model_that_cannot_run_ends_the_list(problem) -> None:
    findings = preflight(Raising(problem.model), problem.split)
    assert [finding.check for finding in findings] == CHECKS[:4]


def test_a_model_that_only_takes_whole_batches_is_reported_not_raised(problem) -> None:
    class Whole(Wrapped):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) != 60:
                raise RuntimeError("built for 60 inputs")
            return super().forward(x)

    findings = preflight(Whole(problem.model), problem.split)
    assert status(findings)["batch independence"] == "fail"
    assert "built for 60 inputs" in message(findings, "batch independence")


def test_inputs_outside_the_declared_bounds(problem) -> None:
    findings = preflight(Wrapped(problem.model), problem.split, bounds=(0.0, 0.5))
    assert status(findings)["input range"] == "fail"


def test_a_frozen_part_does_not_hide_the_rest_in_training_mode(problem) -> None:
    model = Wrapped(problem.model).train()
    model.model.eval()
    assert "2 submodules are in training mode" in message(
        preflight(model, problem.split), "eval mode"
    )


def test_the_model_is_left_as_it_was(problem) -> None:
    model = Wrapped(nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(), *problem.model)).train()
    torch.manual_seed(1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    preflight(model, problem.split)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(random, torch.get_rng_state())


def test_only_the_first_examples_are_tried(problem) -> None:
    findings = preflight(Wrapped(problem.model), problem.split, examples=25)
    assert message(findings, "clean accuracy").endswith("/25)")


def test_a_single_example_is_enough(problem) -> None:
    split = Split(
        problem.split.inputs[:1], problem.split.labels[:1], 1.0, "test", "one", ("0", "1", "2")
    )
    assert [f.check for f in preflight(Wrapped(problem.model), split)] == CHECKS
