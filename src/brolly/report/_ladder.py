"""How robust accuracy falls, attack by attack."""

from __future__ import annotations

import dataclasses

from ..evaluation import Count, Evaluation
from . import _words


@dataclasses.dataclass(frozen=True)
class Rung:
    """One attack: how many it met, how many of those it broke, what is left standing.

    `gain` is by how much it lowered robust accuracy beyond the attacks before it.
    """

    name: str
    settings: str
    met: int
    broke: int
    gain: float
    left: Count
    done: int
    forwards: int
    backwards: int
    seconds: float


def ladder(evaluation: Evaluation) -> tuple[Rung, ...]:
    """The attacks in the order they were run."""
    standing, rungs = evaluation.clean.hits, []
    for attack in evaluation.attacks:
        met, standing = standing, standing - attack.broke
        rungs.append(
            Rung(
                name=attack.name,
                settings=_words.settings(attack.settings),
                met=met,
                broke=attack.broke,
                gain=attack.broke / max(len(evaluation.index), 1),
                left=Count(standing, len(evaluation.index)),
                done=attack.done,
                forwards=attack.cost.forwards,
                backwards=attack.cost.backwards,
                seconds=attack.cost.seconds,
            )
        )
    return tuple(rungs)


def ladder_finding(evaluation: Evaluation) -> str:
    """What the attacks did, in one sentence."""
    strongest = max(evaluation.attacks, key=lambda attack: attack.broke, default=None)
    if strongest is None:
        return "No attack was run."
    broken = evaluation.clean.hits - evaluation.robust.hits
    if not broken:
        return f"No attack broke any of the {evaluation.clean.hits:,} examples it met."
    return (
        f"Of {evaluation.clean.hits:,} examples that were right, {broken:,} broke; "
        f"{strongest.name} broke the most, {strongest.broke:,}."
    )
