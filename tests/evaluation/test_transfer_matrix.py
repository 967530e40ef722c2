import pytest
import torch
from torch import nn

from brolly.evaluation import Count, TransferMatrix, transfer_matrix


@pytest.fixture(scope="module")
def two(problems):
    return problems(2, examples=80, eps=0.05)


def constant(label: int) -> nn.Module:
    """The same class for every input."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].bias.copy_(torch.eye(2)[label])
    return model


def test_on_models_whose_weaknesses_are_known(two) -> None:
    models = {"one": two.model, "same": two.model, "constant": constant(1)}
    found = transfer_matrix(models, two.split, two.threat)
    robust, right = Count(int(two.holds(0.05).sum()), 80), Count(int(two.right.sum()), 80)
    ones = Count(int((two.split.labels == 1).sum()), 80)
    assert found.clean == (right, right, ones)
    assert found.accuracy[0] == found.accuracy[1] == (robust, robust, ones)
    assert found.accuracy[2][2] == ones
    # A constant model has no gradient to follow, so what is made for it is next to harmless.
    assert found.accuracy[2][0].hits > robust.hits
    assert [model.name for model in found.models] == list(models)


def test_it_is_written_down_and_read_back(two, tmp_path) -> None:
    models = {"one": two.model, "constant": constant(0)}
    found = transfer_matrix(models, two.split, two.threat, examples=10, command="brolly transfer")
    found.save(tmp_path / "transfer.json")
    assert TransferMatrix.load(tmp_path / "transfer.json") == found
    assert found.data.size == 10
    lines = repr(found).splitlines()
    assert lines[0] == "random/test, linf:0.05, n = 10, seed 0"
    assert [line.split("  ")[0] for line in lines[2:]] == [
        "accuracy of", "clean inputs", "made for one", "made for constant",
    ]  # fmt: skip
    assert all(str(count) in repr(found) for row in found.accuracy for count in row)


def test_mistakes(two) -> None:
    with pytest.raises(ValueError, match="there are 1 models; expected 2 or more"):
        transfer_matrix({"one": two.model}, two.split, two.threat)
    both = {"one": two.model, "two": two.model}
    with pytest.raises(ValueError, match="examples is 0; expected 1 to 80"):
        transfer_matrix(both, two.split, two.threat, examples=0)
