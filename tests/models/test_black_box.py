"""Black boxes: what they answer, count and refuse."""

import copy

import numpy as np
import pytest
import torch
from oracles.networks import Function, inputs, mlp
from torch import nn

import brolly
from brolly import PGD, BlackBox, HopSkipJump, Linf, QueryBudgetExhausted, Square


def halves(x: torch.Tensor) -> torch.Tensor:
    return (x.flatten(1).mean(1) > 0.5).long()


def test_labels_become_logits_and_queries_are_counted() -> None:
    box = BlackBox(halves, returns="labels", classes=3)
    x = torch.tensor([[0.1, 0.2], [0.9, 0.8]], dtype=torch.float64)
    assert torch.equal(box(x), torch.tensor([[1, 0, 0], [0, 1, 0]], dtype=torch.float64))
    box(x[:1])
    assert box.queries == 3


@pytest.mark.parametrize("kind", ["tensor", "numpy"])
def test_scores_pass_through(kind: str) -> None:
    model, x = mlp(), inputs(5)
    box = BlackBox(lambda x: model(x).detach() if kind == "tensor" else model(x).detach().numpy())
    assert torch.equal(box(x), model(x).detach())


def test_a_numpy_function_of_labels() -> None:
    box = BlackBox(lambda x: np.array([1] * len(x)), returns="labels", classes=2)
    assert box(torch.zeros(3, 2)).argmax(1).tolist() == [1, 1, 1]


def test_a_copy_has_the_same_counter() -> None:
    box = BlackBox(halves, returns="labels", classes=2)
    copy.deepcopy(nn.Sequential(box))(torch.zeros(2, 2))
    assert box.queries == 2


def test_the_budget_is_kept() -> None:
    box = BlackBox(halves, returns="labels", classes=2, budget=5)
    box(torch.zeros(3, 2))
    with pytest.raises(QueryBudgetExhausted, match="3 more queries would exceed the budget of 5"):
        box(torch.zeros(3, 2))
    box(torch.zeros(2, 2))
    assert box.queries == 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"budget": 0}, "budget is 0; expected 1 or more"),
        ({"returns": "labels"}, "classes is missing"),
        ({"returns": "labels", "classes": 1}, "classes is 1; expected 2 or more"),
    ],
)
def test_bad_arguments(options, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        BlackBox(halves, **options)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (torch.tensor([0, 2]), "labels from 0 to 2; expected 0 to 1"),
        (torch.tensor([0]), r"shape \(1,\) for a batch of 2"),
        (torch.tensor([0.0, 1.0]), "float32 of shape"),
    ],
)
def test_bad_labels(answer: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        BlackBox(lambda x: answer, returns="labels", classes=2)(torch.zeros(2, 3))


def test_scores_of_other_classes() -> None:
    with pytest.raises(ValueError, match="scores of 4 classes; expected 5"):
        BlackBox(lambda x: mlp()(x), classes=5)(inputs(2))


@pytest.mark.parametrize("returns", ["scores", "labels"])
def test_gradient_attacks_say_what_to_use(returns: str) -> None:
    model = mlp()
    box = BlackBox(
        lambda x: model(x) if returns == "scores" else model(x).argmax(1),
        returns=returns,
        classes=4,
    )
    x = inputs(3)
    with pytest.raises(ValueError, match=r"carries no gradient.*HopSkipJump") as caught:
        PGD(Linf(0.1))(box, x, model(x).argmax(1))
    assert ("NES" in str(caught.value)) == (returns == "scores")
    assert box.queries == 3


@pytest.mark.parametrize("budget", [24, 100, 130])
def test_an_attack_returns_what_it_has(budget: int) -> None:
    model, x = mlp(), inputs(24)
    y = model(x).argmax(1)
    box = BlackBox(lambda x: model(x).detach(), budget=budget)
    result = Square(Linf(0.06), queries=1000)(box, x, y)
    assert box.queries <= budget
    assert result.cost.forwards == box.queries
    assert torch.equal(model(result.x).argmax(1) != y, result.success)
    assert result.success.any() == (budget > 24)
    assert not result.success.all()


def test_a_budget_too_small_for_the_clean_inputs() -> None:
    box = BlackBox(halves, returns="labels", classes=2, budget=2)
    attack = HopSkipJump(Linf(float("inf")))
    with pytest.raises(ValueError, match="budget does not suffice for the clean inputs"):
        attack(box, torch.zeros(3, 2), torch.zeros(3).long())


def onnx_file(path, first="batch", kind=1):
    onnx = pytest.importorskip("onnx")
    weight = np.array([[1, -1], [0.5, 2], [0, 1]], dtype=np.float32 if kind == 1 else np.float64)
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["z"])],
        "linear",
        [helper.make_tensor_value_info("x", kind, [first, 3])],
        [helper.make_tensor_value_info("z", kind, [first, 2])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return torch.from_numpy(weight).double()


@pytest.mark.parametrize("kind", [1, 11])
def test_an_onnx_file(tmp_path, kind: int) -> None:
    weight = onnx_file(tmp_path / "net.onnx", kind=kind)
    box = BlackBox.from_onnx(tmp_path / "net.onnx", budget=500)
    x = inputs(4, (3,))
    torch.testing.assert_close(box(x).double(), x @ weight, atol=1e-6, rtol=0)
    assert box.queries == 4
    y = (x @ weight).argmax(1)
    result = Square(Linf(0.9), queries=50)(box, x, y)
    assert result.success.any()
    assert torch.equal((result.x @ weight).argmax(1) != y, result.success)


def test_onnx_files_that_do_not_do(tmp_path) -> None:
    with pytest.raises(ValueError, match="cannot be opened as an ONNX network"):
        BlackBox.from_onnx(tmp_path / "none.onnx")
    onnx_file(tmp_path / "fixed.onnx", first=1)
    with pytest.raises(ValueError, match="batches of 1 only; export it with a dynamic"):
        BlackBox.from_onnx(tmp_path / "fixed.onnx")


def test_onnx_without_the_runtime(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"pip install 'brolly\[onnx\]'"):
        BlackBox.from_onnx(tmp_path / "none.onnx")


def test_inside_another_model() -> None:
    box = brolly.BlackBox(lambda x: mlp()(x).detach())
    x = inputs(3)
    assert torch.equal(nn.Sequential(Function(lambda x: x), box)(x), mlp()(x).detach())
