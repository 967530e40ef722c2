"""Every broken defence is caught by the check that names it; no sound model raises an alarm."""

import pytest
import torch
from broken_defences.zoo import BROKEN, SOUND, examined

from brolly import Evaluation
from brolly.evaluation.checks import NAMES

#: Checks that only `full` runs, or gives the queries they need.
FULL = ("black-box-beats-white-box", "random-model", "loss-scale")


def alarms(evaluation: Evaluation) -> dict[str, str]:
    return {
        check.name: f"{check.status}: {check.verdict}"
        for check in evaluation.checks
        if check.status in ("warn", "fail")
    }


def test_the_zoo_has_its_inhabitants():
    assert len(BROKEN) == 16
    assert len(SOUND) == 5
    assert {defence.caught_by for defence in BROKEN.values()} <= set(NAMES)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_defence_is_caught_by_the_check_that_names_it(name: str):
    named = BROKEN[name].caught_by
    evaluation = examined(name, 0, "full" if named in FULL else "cheap")
    found = alarms(evaluation)
    assert named in found, found
    trust, reason = evaluation.trust
    assert trust in ("doubtful", "broken")
    assert trust == "broken" or named in reason


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_model_raises_no_alarm(name: str):
    evaluation = examined(name, 0)
    assert alarms(evaluation) == {}
    assert evaluation.trust[0] == "trusted"


@pytest.mark.parametrize("name", ["JPEG", "noisy weights", "certified"])
def test_the_same_seed_trains_the_same_model(name: str):
    defence = (BROKEN | SOUND)[name]
    first, second = defence.build(5).state_dict(), defence.build(5).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
