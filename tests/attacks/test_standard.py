"""Ensembles: members in turn, each on what still stands."""

import pytest
import torch
from oracles.networks import Recorder, inputs, mlp, predictions

from brolly import APGD, FGSM, L1, L2, PGD, Linf, Square, parse_threat, quick, standard
from brolly.attacks import CATALOGUE, ENSEMBLES, Ensemble, attacks_named


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("shape", [(6,), (1, 4, 4), (5, 2)], ids=["vectors", "images", "sequences"])
@pytest.mark.parametrize("text", ["linf:0.05", "l2:0.15", "l1:0.3"])
def test_quick_works_for_any_classes_and_shapes(text: str, shape, classes: int) -> None:
    model, x, threat = mlp(shape, classes), inputs(12, shape), parse_threat(text)
    y = predictions(model, x)
    result = quick(threat)(model, x, y)
    assert threat.contains(result.x, x).all()
    assert torch.equal(result.success, predictions(model, result.x) != y)
    assert result.success.any()


def test_standard_is_the_published_one() -> None:
    ce, targeted, fab, square = standard(Linf(0.1)).attacks
    assert (ce.name, ce.steps, ce.restarts) == ("apgd-ce", 100, 1)
    assert (targeted.name, targeted.steps, targeted.targets) == ("apgd-t", 100, 9)
    assert (fab.name, fab.steps, fab.targets, fab.nearest) == ("fab-t", 100, 9, False)
    assert (square.name, square.queries, square.share) == ("square", 5000, 0.8)


@pytest.mark.parametrize("threat", [Linf(0.04), L2(0.1), L1(0.2)], ids=str)
def test_it_breaks_what_any_member_breaks(threat) -> None:
    model, x = mlp(), inputs(300)
    y = predictions(model, x)
    members = (APGD(threat, steps=1), Square(threat, queries=60))
    together = Ensemble(threat, members)(model, x, y)
    first = Ensemble(threat, members[:1])(model, x, y)
    assert 0 < first.success.sum() < together.success.sum()
    assert threat.contains(together.x, x).all()
    assert torch.equal(together.success, predictions(model, together.x) != y)


def test_a_member_meets_only_what_stands() -> None:
    model, x = mlp(), inputs(40)
    y = predictions(model, x)
    broken = FGSM(Linf(0.05))(model, x, y).success
    assert broken.any()
    watched = Recorder(model)
    Ensemble(Linf(0.05), (FGSM(Linf(0.05)), PGD(Linf(0.05), steps=1)))(watched, x, y)
    assert len(watched.seen[-2]) == (~broken).sum()


def test_members_of_another_threat() -> None:
    with pytest.raises(ValueError, match=r"pgd attacks inside Linf\(eps=0.2.*ensemble is for"):
        Ensemble(Linf(0.1), (PGD(Linf(0.2)),))
    with pytest.raises(ValueError, match="attacks is empty"):
        Ensemble(Linf(0.1), ())


def test_names_and_their_attacks() -> None:
    for name, entry in CATALOGUE.items():
        threat = parse_threat(f"{entry.attack.kinds[0]}:1")
        try:
            attack = entry.build(threat)
        except TypeError:
            pytest.fail(f"{name} cannot be built from a threat alone")
        assert attack.name == name
        assert entry.attack.__doc__
    named = attacks_named("pgd, quick,square", Linf(0.1))
    assert [attack.name for attack in named] == ["pgd", "apgd-ce", "apgd-t", "square"]
    for name, ensemble in ENSEMBLES.items():
        assert ensemble(Linf(0.1)).name == name


@pytest.mark.parametrize("name", ["apgd-cd", "", "pgd,"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(ValueError, match=r"is unknown.*`brolly attacks` lists them"):
        attacks_named(name, Linf(0.1))


def test_an_attack_says_who_searches_what_it_does_not() -> None:
    with pytest.raises(ValueError, match=r"PGD does not search l1:5.*For l1 use .*APGD"):
        PGD(L1(5))
    with pytest.raises(ValueError, match=r"PGD needs a finite eps.*FAB"):
        PGD(Linf(float("inf")))
