"""A study measures what it says, on models whose answers are known."""

import dataclasses
import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from brolly import L0, L1, L2, Linf, Threat
from brolly.data import Split
from brolly.evaluation import Array, Study, _study_parts, study

#: Two classes on a line: class 1 where the first of three values is above one half.
LINE = torch.tensor([[0.9, 0.5, 0.5], [0.7, 0.2, 0.5], [0.3, 0.5, 0.1], [0.4, 0.5, 0.5]])
LABELS = torch.tensor([1, 1, 0, 1])  # the last one is wrong
DISTANCES = [0.4, 0.2, 0.2, 0.0]


class Halves(nn.Module):
    """Logit of class 1: ten times what the first value is above one half."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(3, 2)
        with torch.no_grad():
            self.line.weight.copy_(torch.tensor([[0.0, 0, 0], [10, 0, 0]]))
            self.line.bias.copy_(torch.tensor([0.0, -5]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.line(x)


def split(inputs: torch.Tensor = LINE, labels: torch.Tensor = LABELS) -> Split:
    return Split(inputs, labels, 1.0, "test", "line", ("low", "high"))


@pytest.fixture(scope="module")
def found() -> Study:
    return study(Halves().line, split(), Linf(0.25), examples=4, command="brolly study line")


@pytest.fixture
def few_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the random search is not what a test is about, it takes most of its time."""
    monkeypatch.setattr(_study_parts, "QUERIES", (1, 3))


def test_clean_and_budgets(found: Study) -> None:
    assert (found.clean.hits, found.clean.total) == (3, 4)
    assert [curve.kind for curve in found.budgets] == ["steps", "restarts", "queries"]
    for curve in found.budgets:
        # Only the example at 0.4 holds at 0.25, whatever is spent: one step is enough.
        assert curve.points[-1].robust.hits == 1
        assert all(a.robust.hits >= b.robust.hits for a, b in pairwise(curve.points))
        assert all(a.budget < b.budget for a, b in pairwise(curve.points))


def test_minimal_distances(found: Study) -> None:
    assert np.allclose(np.array(found.minimal.distance, dtype=float), DISTANCES, atol=0.02)
    assert found.minimal.robust(0.25).hits == 1
    assert found.minimal.robust(0.0).hits == 3


def test_certified_radii_of_a_linear_model_are_exact(found: Study) -> None:
    assert found.certified is not None
    for point in found.certified.points:
        held = sum(distance > point.eps for distance in DISTANCES)
        assert point.robust.hits == held, point
    assert found.certified.points[-1].robust.hits == 0


def test_gradients(found: Study) -> None:
    gradients = found.gradients
    assert gradients.label == (1, 1, 0, 1)
    assert gradients.prediction == (1, 1, 0, 0)
    assert np.array_equal(gradients.inputs.values, LINE.numpy())
    # Cross-entropy: -10 (1 - p) for class 1, 10 p for class 0, and nothing in the other values.
    p = torch.sigmoid(10 * LINE[:, 0] - 5)
    expected = torch.where(LABELS == 1, -10 * (1 - p), 10 * p)
    assert np.allclose(gradients.gradients.values[:, 0], expected, atol=1e-5)
    assert not gradients.gradients.values[:, 1:].any()


def test_surface_has_equal_scales(found: Study) -> None:
    surface = found.surface
    assert surface is not None
    assert surface.index == (0, 1, 2)
    margin = surface.margin.values[0]
    middle = len(margin) // 2
    steps = np.linspace(-surface.extent, surface.extent, len(margin)) * 0.25
    # The steepest direction of the first input is -1 in the first value; bounds cut at 1.
    first = np.clip(0.9 - steps, 0, 1)
    assert np.allclose(margin[middle], 5 - 10 * first, atol=1e-5)
    # The random one has +-1 there: a step as long.
    assert np.allclose(
        np.sort(margin[:, middle]), np.sort(5 - 10 * np.clip(0.9 + steps, 0, 1)), atol=1e-5
    )


@pytest.mark.parametrize(
    ("threat", "kinds"),
    [
        (L2(0.25), ["steps", "restarts", "queries"]),
        (L1(0.25), ["steps", "restarts", "queries"]),
        (L0(1), ["steps"]),
    ],
)
@pytest.mark.usefixtures("few_queries")
def test_other_norms(threat: Threat, kinds: list[str]) -> None:
    seen = study(Halves(), split(), threat)
    assert [curve.kind for curve in seen.budgets] == kinds
    left = 0 if threat.kind == "l0" else 1
    followed = [curve for curve in seen.budgets if curve.kind != "queries"]  # Square is random
    assert all(curve.points[-1].robust.hits == left for curve in followed)
    distance = [1.0, 1.0, 1.0, 0.0] if threat.kind == "l0" else DISTANCES
    assert np.allclose(np.array(seen.minimal.distance, dtype=float), distance, atol=0.02)
    assert seen.surface is not None
    assert math.isfinite(float(seen.surface.margin.values.sum()))


def test_it_survives_saving(found: Study, tmp_path) -> None:
    found.save(tmp_path / "study.json")
    assert Study.load(tmp_path / "study.json") == found
    values = torch.tensor([[0.1, math.pi]])
    assert np.array_equal(Array.of(values).values, values.numpy())


def test_same_seed_same_study(found: Study) -> None:
    again = study(Halves().line, split(), Linf(0.25), examples=4, batch_size=3)
    moving = {"seconds", "created", "command", "gradients"}  # the last to rounding
    for field in dataclasses.fields(Study):
        if field.name not in moving:
            assert getattr(again, field.name) == getattr(found, field.name), field.name


@pytest.mark.usefixtures("few_queries")
def test_the_model_is_left_as_it_is() -> None:
    model = nn.Sequential(Halves(), nn.BatchNorm1d(2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    study(model, split(), Linf(0.1))
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_model_that_is_always_wrong() -> None:
    seen = study(Halves(), split(labels=1 - LABELS).first(3), Linf(0.1))
    assert seen.clean.hits == 0
    assert seen.surface is None
    assert seen.minimal.distance == (0.0, 0.0, 0.0)


@pytest.mark.usefixtures("few_queries")
def test_a_model_that_draws_random_numbers_is_told() -> None:
    model = nn.Sequential(nn.Dropout(0.0), Halves(), Noisy())
    seen = study(model, split(), Linf(0.1))
    assert any("random" in warning for warning in seen.warnings)
    assert seen.certified is None


class Refusing(Halves):
    """Raises where the first value is above 0.8."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if (x[:, 0] > 0.8).any():
            raise RuntimeError("too bright")
        return super().forward(x)


@pytest.mark.usefixtures("few_queries")
def test_a_model_that_raises_on_some_inputs_fails_there() -> None:
    seen = study(Refusing(), split(), Linf(0.15))
    assert seen.clean.hits == 2  # without the input at 0.9
    assert any("too bright" in warning for warning in seen.warnings)
    assert seen.minimal.distance[0] == 0
    assert seen.gradients.prediction == (-1, 1, 0, 0)


class Noisy(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.01 * torch.randn_like(x)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="eps above 0"):
        study(Halves(), split(), Linf(0.0))
    with pytest.raises(ValueError, match="eps above 0"):
        study(Halves(), split(), L2(math.inf))
    with pytest.raises(ValueError, match="examples is 0"):
        study(Halves(), split(), Linf(0.1), examples=0)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1}', '{"schema": 99}'])
def test_damaged_files_are_refused(tmp_path, text: str) -> None:
    path = tmp_path / "study.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"study\.json"):
        Study.load(path)


def test_arrays_that_do_not_fit_their_shape_are_refused(found: Study, tmp_path) -> None:
    path = tmp_path / "study.json"
    found.save(path)
    value = json.loads(path.read_text())
    value["gradients"]["inputs"]["shape"] = [7, 7]
    path.write_text(json.dumps(value))
    with pytest.raises(ValueError, match="shape"):
        Study.load(path)
