"""What an attack costs, and whom it still asks."""

import math

import pytest
import torch
from oracles.networks import Function, Recorder, inputs, mlp, predictions

from brolly import APGD, FGSM, PGD, APGDTargeted, Linf
from brolly.attacks import Cost

NOTHING = Linf(1e-9)  # too little to fool anything
ROWS = 7


@pytest.mark.parametrize(
    ("attack", "forwards", "backwards"),
    [
        (FGSM(NOTHING), 3, 1),
        (PGD(NOTHING, steps=1), 3, 1),
        (PGD(NOTHING, steps=20), 22, 20),
        (PGD(NOTHING, steps=20, random_start=False, momentum=0.9), 22, 20),
        (PGD(NOTHING, steps=5, restarts=3), 19, 15),
        (APGD(NOTHING, steps=1), 3, 1),
        (APGD(NOTHING, steps=10), 12, 10),
        (APGD(NOTHING, loss="dlr", steps=5, restarts=2), 13, 10),
        (APGDTargeted(NOTHING, steps=5, targets=9), 19, 15),  # three wrong classes
        (APGDTargeted(NOTHING, steps=5, targets=2), 13, 10),
    ],
)
def test_cost_of_examples_that_stand(attack, forwards: int, backwards: int) -> None:
    model = mlp(classes=4)
    x = inputs(ROWS)
    recorder = Recorder(model)
    result = attack(recorder, x, predictions(model, x))
    assert not result.success.any()
    assert result.cost.forwards == forwards * ROWS == sum(map(len, recorder.seen))
    assert result.cost.backwards == backwards * ROWS
    assert sum(recorder.with_graph) == backwards
    assert result.cost.seconds > 0


@pytest.mark.parametrize(
    "attack",
    [
        PGD(Linf(0.08), steps=12),
        PGD(Linf(0.08), steps=4, restarts=3, momentum=1.0),
        APGD(Linf(0.08), steps=12),
        APGD(Linf(0.08), loss="dlr", steps=6, restarts=2),
        APGDTargeted(Linf(0.08), steps=6),
        FGSM(Linf(0.08)),
    ],
    ids=lambda attack: attack.name,
)
def test_fooled_examples_are_left_alone(attack) -> None:
    """At each look, those asked about are those that no earlier look has fooled."""
    model, x = mlp((6,), 4), inputs(30)
    y = predictions(model, x)
    y[:5] = (y[:5] + 1) % 4
    recorder = Recorder(model)
    result = attack(recorder, x, y)
    assert result.success[:5].all()
    assert 5 < result.success.sum() < 30
    standing = torch.arange(30)
    for batch in recorder.seen:
        assert len(batch) == len(standing)
        assert (batch - x[standing]).abs().max() <= 0.08 + 1e-9
        standing = standing[predictions(model, batch) == y[standing]]
    assert torch.equal(standing, (~result.success).nonzero()[:, 0])


def test_rows_are_dropped_one_after_the_other() -> None:
    """Row i crosses its boundary after exactly i + 2 steps of PGD from the clean input."""
    x = torch.full((4, 1), 0.5, dtype=torch.float64)
    offset = torch.tensor([0.515, 0.525, 0.535, 0.9], dtype=torch.float64)
    x_marked = torch.cat([x, offset[:, None]], dim=1)

    def logits(batch: torch.Tensor) -> torch.Tensor:
        # The second column tells the boundary, and gets no gradient.
        score = batch[:, 0] - batch[:, 1].detach()
        return torch.stack([-score, score], dim=1)

    recorder = Recorder(Function(logits))
    attack = PGD(Linf(0.1), steps=5, step_size=0.01, random_start=False)
    result = attack(recorder, x_marked, torch.zeros(4, dtype=torch.long))
    assert result.success.tolist() == [True, True, True, False]
    # clean; gradients at 0.50, 0.51, 0.52, 0.53, 0.54; the last look at 0.55
    assert [len(batch) for batch in recorder.seen] == [4, 4, 4, 4, 3, 2, 1]
    assert result.x[:, 0].tolist() == pytest.approx([0.52, 0.53, 0.54, 0.55])
    assert result.cost.forwards == 22
    assert result.cost.backwards == 4 + 4 + 4 + 3 + 2


def test_all_wrong_from_the_start_costs_one_look() -> None:
    model, x = mlp(), inputs(ROWS)
    y = (predictions(model, x) + 1) % 4
    for attack in (FGSM(NOTHING), PGD(NOTHING, restarts=3), APGD(NOTHING), APGDTargeted(NOTHING)):
        result = attack(model, x, y)
        assert result.success.all()
        assert torch.equal(result.x, x)
        assert (result.cost.forwards, result.cost.backwards) == (ROWS, 0)


def test_costs_add_up() -> None:
    total = Cost(1, 2, 0.5) + Cost(10, 20, 0.25)
    assert total == Cost(11, 22, 0.75)
    assert math.isclose(sum([total, total], Cost()).seconds, 1.5)
