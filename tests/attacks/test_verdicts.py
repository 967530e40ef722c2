"""Example by example, against the verdicts of the reference implementation of AutoAttack."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from brolly import L1, L2, Linf, Square, standard
from brolly.attacks import Ensemble

FILE = Path(__file__).parents[1] / "oracles" / "pyautoattack_verdicts.safetensors"
THREATS = {"linf": Linf(0.12), "l2": L2(0.5), "l1": L1(1.5)}
#: The members of the ensemble; its last is slow, and seldom finds what the others did not.
ATTACKS = ("apgd-ce", "apgd-t", "fab-t")


@pytest.fixture(scope="module")
def verdicts():
    saved = load_file(FILE)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    state = {name[6:]: value for name, value in saved.items() if name.startswith("model.")}
    model.load_state_dict(state)
    return model.eval(), saved


def members(kind: str):
    return dict(zip((*ATTACKS, "square"), standard(THREATS[kind]).attacks, strict=True))


@pytest.mark.parametrize("kind", THREATS)
def test_the_ensemble_breaks_the_same_examples(verdicts, kind: str) -> None:
    model, saved = verdicts
    theirs = ~saved[f"{kind} standard"]
    square = Square(THREATS[kind], queries=300)
    attacks = (*(members(kind)[name] for name in ATTACKS), square)
    ours = Ensemble(THREATS[kind], attacks)(model, saved["x"], saved["y"])
    assert 10 < theirs.sum() < 90
    assert torch.equal(ours.success, theirs)


@pytest.mark.parametrize("kind", THREATS)
@pytest.mark.parametrize("name", ATTACKS)
def test_each_attack_breaks_nearly_the_same_examples(verdicts, name: str, kind: str) -> None:
    """Their random numbers are others, so a few examples at the boundary may differ."""
    model, saved = verdicts
    theirs = ~saved[f"{kind} {name}"]
    ours = members(kind)[name](model, saved["x"], saved["y"]).success
    assert not (ours & saved[f"{kind} standard"]).any()  # no more than is there
    assert (theirs & ~ours).sum() <= (2 if kind == "l1" else 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["linf", "l2"])
def test_square_breaks_more(verdicts, kind: str) -> None:
    """Each example has windows of its own here; there, the whole batch shares one."""
    model, saved = verdicts
    theirs = ~saved[f"{kind} square"]
    ours = Square(THREATS[kind], queries=2500)(model, saved["x"], saved["y"]).success
    assert not (theirs & ~ours).any()
    assert not (ours & saved[f"{kind} standard"]).any()
