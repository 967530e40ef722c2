"""Evaluating what a DataLoader gives."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import brolly
from brolly.evaluation import preflight, transfer_matrix


def loader(split, **options):
    whole = TensorDataset(split.scaled(split.inputs), split.labels)
    return DataLoader(whole, batch_size=16, **options)


def test_a_loader_is_evaluated_as_its_split_is(problem, comparable, tmp_path):
    gathered = brolly.data.gather(loader(problem.split))
    options = {"curve_examples": 0, "checks": "", "attacks": brolly.APGD(problem.threat, steps=5)}
    expected = brolly.evaluate(problem.model, gathered, problem.threat, **options)
    found = brolly.evaluate(
        problem.model, loader(problem.split), problem.threat, evidence=tmp_path / "e.h5", **options
    )
    assert comparable(found) == comparable(expected)
    claims = brolly.verify(tmp_path / "e.h5", problem.model, loader(problem.split))
    assert all(claim.holds for claim in claims)
    other = list(loader(problem.split))[1:]
    with pytest.raises(ValueError, match="example 59, but list/test has 44"):
        brolly.verify(tmp_path / "e.h5", problem.model, other)


def test_other_functions_that_take_a_split_take_a_loader(problem):
    batches = loader(problem.split)
    model, threat = problem.model, problem.threat
    assert any(finding.status == "pass" for finding in preflight(model, batches))
    matrix = transfer_matrix({"one": model, "two": model}, batches, threat, examples=2)
    assert (matrix.data.name, matrix.clean[0].total) == ("TensorDataset", 2)


def test_words_for_what_is_no_split(problem):
    with pytest.raises(ValueError, match=r"expected values in \[0.0, 1.0\]. Leave normalisation"):
        brolly.evaluate(problem.model, [(torch.randn(9, 8), torch.zeros(9).long())], problem.threat)
