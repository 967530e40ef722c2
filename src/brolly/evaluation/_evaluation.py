"""The outcome of an evaluation, as data."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .._files import write_json
from ..attacks import Cost
from ..threats import Threat, parse_threat
from ._check import Check, Trust, judge_trust

SCHEMA = 2

#: Values of `Evaluation.broken_by` that are no position in `Evaluation.attacks`.
HELD, WRONG = -1, -2


#: Of forward passes while searching: float32, or bfloat16 under autocast.
Precision = Literal["float32", "bfloat16"]


#: Of the checks: none, those that cost little, or all.
Checked = Literal["", "cheap", "full"]


@dataclasses.dataclass(frozen=True)
class Count:
    """`hits` of `total` examples."""

    hits: int
    total: int

    @property
    def rate(self) -> float:
        return self.hits / self.total if self.total else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson score interval of the rate, at 95 %."""
        if not self.total:
            return 0.0, 1.0
        from scipy.stats import binomtest  # half a second that `import brolly` need not take

        interval = binomtest(self.hits, self.total).proportion_ci(0.95, method="wilson")
        return float(interval.low), float(interval.high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.rate:.2%} [{low:.2%}, {high:.2%}] ({self.hits}/{self.total})"


@dataclasses.dataclass(frozen=True)
class AttackRecord:
    """One attack of the ensemble: what it was, how far it came and what it broke.

    Attributes:
        name: Its name, e.g. `apgd-ce`.
        settings: Its arguments, without the threat.
        done: How many of the examples it need not meet any more.
        broke: How many it broke that stood before it.
        refuted: How many of its successes the evaluator did not confirm.
        cost: What it took.
    """

    name: str
    settings: Mapping[str, Any]
    done: int = 0
    broke: int = 0
    refuted: int = 0
    cost: Cost = dataclasses.field(default_factory=Cost)


@dataclasses.dataclass(frozen=True)
class CurvePoint:
    """Robust accuracy at one radius."""

    eps: float
    robust: Count


@dataclasses.dataclass(frozen=True)
class Picture:
    """An example before and after, kept for people to look at. Both inputs are float32."""

    index: int
    label: int
    clean_prediction: int
    adversarial_prediction: int
    clean: np.ndarray
    adversarial: np.ndarray


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """Which model was attacked; `sha256` is over its parameters and buffers."""

    name: str
    sha256: str
    parameters: int


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """Which examples were attacked; `sha256` is over the whole split, `size` of which were."""

    name: str
    split: str
    sha256: str
    size: int
    classes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How a model holds inside a threat: one verdict per example, and all it takes to redo it.

    Its `repr` is a table; `save` and `load` keep it as JSON with a schema version.

    Attributes:
        threat: The perturbations the adversary was allowed.
        model: Which model it was.
        data: Which examples they were.
        seed: Seed of every attack.
        precision: In which the attacks searched; verdicts are always in float32.
        attacks: The attacks, in the order they were run; each met the examples still standing.
        index: Positions of the examples in the split, `(n,)`.
        label: Labels, `(n,)`.
        clean_prediction: Predictions on the clean inputs, `(n,)`.
        adversarial_prediction: Predictions on the inputs that broke them, `(n,)`; the clean
            prediction where none did. -1: the logits were NaN.
        broken_by: Position in `attacks`, or `HELD`, or `WRONG` (on the clean input), `(n,)`.
        distance: Distance of the input that broke them, `(n,)`; NaN where none did, 0 where the
            clean input is wrong.
        tried: How many of the attacks, from the first, each example has met if it still stands,
            `(n,)`; -1 where not even the clean input was looked at.
        queries: Forward passes the attacks spent on each example, `(n,)`.
        proved: Whether the certificate proves that nothing inside the threat breaks them, `(n,)`.
        certificate: Which one, e.g. `interval-bounds`; empty if none fits the model.
        samples: Forward passes whose mean is the model's answer: 1, or more of a model that draws
            random numbers.
        checks: What the evaluation found when it tested itself.
        checked: Which checks were run.
        curve: Robust accuracy at several radii, on the first `curve[0].robust.total` examples.
        curve_attack: The attack behind the curve, in words.
        pictures: Some broken examples.
        warnings: What a reader must know before believing the numbers.
        complete: Whether every attack dealt with every example.
        command: The command that repeats the evaluation.
        environment: Versions and hardware.
        created: When it was begun, ISO 8601.
    """

    threat: Threat
    model: ModelFacts
    data: DataFacts
    seed: int
    attacks: tuple[AttackRecord, ...]
    index: np.ndarray
    label: np.ndarray
    clean_prediction: np.ndarray
    adversarial_prediction: np.ndarray
    broken_by: np.ndarray
    distance: np.ndarray
    tried: np.ndarray
    queries: np.ndarray
    proved: np.ndarray
    certificate: str = ""
    samples: int = 1
    checks: tuple[Check, ...] = ()
    checked: Checked = ""
    curve: tuple[CurvePoint, ...] = ()
    curve_attack: str = ""
    pictures: tuple[Picture, ...] = ()
    warnings: tuple[str, ...] = ()
    complete: bool = False
    command: str = ""
    environment: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    created: str = ""
    precision: Precision = "float32"

    @property
    def clean(self) -> Count:
        """Examples the model gets right without an adversary."""
        return Count(int((self.broken_by != WRONG).sum()), len(self.index))

    @property
    def robust(self) -> Count:
        """Examples that no attack broke: an upper bound of the true robust accuracy."""
        return Count(int((self.broken_by == HELD).sum()), len(self.index))

    @property
    def certified(self) -> Count:
        """Examples proved to hold: a lower bound of the true robust accuracy."""
        return Count(int(self.proved.sum()), len(self.index))

    @property
    def status(self) -> np.ndarray:
        """Of each example: `wrong`, `broken`, `proved` or `unknown`, `(n,)`.

        An example that is broken and proved is `broken`: an input in hand outweighs a proof.
        """
        status = np.where(self.proved, "proved", "unknown").astype("<U7")
        status[self.broken_by >= 0] = "broken"
        status[self.broken_by == WRONG] = "wrong"
        return status

    @property
    def trust(self) -> tuple[Trust, str]:
        """What its checks make of the headline, and why."""
        return judge_trust(self.checks)

    @property
    def cost(self) -> Cost:
        return sum((attack.cost for attack in self.attacks), Cost())

    def take(self, rows: np.ndarray) -> Evaluation:
        """Some of the examples, by their place in `index`; costs begin at nothing."""
        examples = {name: getattr(self, name)[rows] for name in PER_EXAMPLE}
        fresh = (dataclasses.replace(a, refuted=0, cost=Cost()) for a in self.attacks)
        return dataclasses.replace(self, **examples, attacks=tuple(fresh)).counted()

    def joined(self, parts: Sequence[Evaluation]) -> Evaluation:
        """The evaluation with newer verdicts of some of its examples, from `take`; costs add up."""
        examples = {name: getattr(self, name).copy() for name in PER_EXAMPLE}
        attacks, warnings = list(self.attacks), dict.fromkeys(self.warnings)
        for part in parts:
            rows = np.searchsorted(self.index, part.index)
            for name, values in examples.items():
                values[rows] = getattr(part, name)
            attacks = [
                dataclasses.replace(a, refuted=a.refuted + b.refuted, cost=a.cost + b.cost)
                for a, b in zip(attacks, part.attacks, strict=True)
            ]
            warnings |= dict.fromkeys(part.warnings)
        return dataclasses.replace(
            self, **examples, attacks=tuple(attacks), warnings=tuple(warnings)
        ).counted()

    def counted(self) -> Evaluation:
        """With the counts of its attacks as the verdicts say."""
        standing = self.broken_by == HELD
        attacks = (
            dataclasses.replace(
                attack,
                done=len(self.index) - int((standing & (self.tried <= number)).sum()),
                broke=int((self.broken_by == number).sum()),
            )
            for number, attack in enumerate(self.attacks)
        )
        return dataclasses.replace(self, attacks=tuple(attacks))

    def verdict(self) -> str:
        """The result in one sentence."""
        low, high = self.robust.interval
        certainty = "" if self.complete else "so far, "
        strongest = max(self.attacks, key=lambda attack: attack.broke, default=None)
        by = f"; {strongest.name} broke the most" if strongest and strongest.broke else ""
        by += (
            f"; {self.certified.rate:.1%} proved by {self.certificate}" if self.certificate else ""
        )
        by += f"; {self.trust[0]}" if self.checks else ""
        return (
            f"{self.model.name} on {self.data.name}/{self.data.split}: {certainty}"
            f"{self.robust.rate:.1%} robust [{low:.1%}, {high:.1%}] against {self.threat}, "
            f"{self.clean.rate:.1%} clean, n = {len(self.index)}{by}"
        )

    def __repr__(self) -> str:
        rows = [("clean", str(self.clean), "")]
        standing = self.clean.hits
        for attack in self.attacks:
            standing -= attack.broke
            rows.append(
                (
                    f"after {attack.name}",
                    str(Count(standing, len(self.index))),
                    f"broke {attack.broke}, {attack.cost.seconds:.1f} s"
                    + ("" if attack.done == len(self.index) else f", {attack.done} done"),
                )
            )
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        table = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
                 for row in rows]  # fmt: skip
        notes = [f"warning: {warning}" for warning in self.warnings]
        notes += [
            f"check {check.status}: {check.name}: {check.verdict} See {check.page}"
            for check in self.checks
            if check.status in ("warn", "fail")
        ]
        return "\n".join([self.verdict(), *table, *notes])

    def save(self, path: str | Path) -> None:
        """Writes the evaluation as JSON, whole or not at all."""
        write_json(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Evaluation:
        """Reads what `save` wrote.

        Raises:
            ValueError: The file is no evaluation, is damaged, contradicts itself, or has a newer
                schema.
        """
        try:
            value = json.loads(Path(path).read_text(encoding="utf-8"))
            if value["schema"] <= SCHEMA:
                evaluation = cls.from_json(value)
                _check_counts(evaluation, value)
                return evaluation
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not an evaluation, or is damaged: {error!r}") from None
        raise ValueError(
            f"{path} has schema {value['schema']}; this version of brolly reads up to {SCHEMA}. "
            "Install a newer brolly, or evaluate again"
        )

    def to_json(self) -> dict[str, Any]:
        distance = [None if np.isnan(d) else float(f"{d:.9g}") for d in self.distance]
        return {
            "schema": SCHEMA,
            "threat": {"text": str(self.threat), "kind": self.threat.kind,
                       "eps": self.threat.eps, "bounds": list(self.threat.bounds)},
            "complete": self.complete,
            "created": self.created,
            "command": self.command,
            "seed": self.seed,
            "precision": self.precision,
            "clean": _count_json(self.clean),
            "robust": _count_json(self.robust),
            "certified": _count_json(self.certified),
            "certificate": self.certificate,
            "samples": self.samples,
            "trust": list(self.trust),
            "checked": self.checked,
            "checks": [dataclasses.asdict(check) for check in self.checks],
            "model": dataclasses.asdict(self.model),
            "data": dataclasses.asdict(self.data),
            "environment": dict(self.environment),
            "warnings": list(self.warnings),
            "attacks": [dataclasses.asdict(attack) for attack in self.attacks],
            "curve": [{"eps": p.eps, **_count_json(p.robust)} for p in self.curve],
            "curve_attack": self.curve_attack,
            "examples": {
                "index": self.index.tolist(),
                "label": self.label.tolist(),
                "clean_prediction": self.clean_prediction.tolist(),
                "adversarial_prediction": self.adversarial_prediction.tolist(),
                "broken_by": self.broken_by.tolist(),
                "distance": distance,
                "tried": self.tried.tolist(),
                "queries": self.queries.tolist(),
                "proved": self.proved.tolist(),
            },
            "pictures": [_picture_json(picture) for picture in self.pictures],
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Evaluation:
        threat, examples = value["threat"], value["examples"]
        distance = [np.nan if d is None else d for d in examples["distance"]]
        return cls(
            threat=parse_threat(f"{threat['kind']}:{threat['eps']!r}", tuple(threat["bounds"])),
            model=ModelFacts(**value["model"]),
            data=DataFacts(**{**value["data"], "classes": tuple(value["data"]["classes"])}),
            seed=value["seed"],
            precision=value["precision"],
            attacks=tuple(
                AttackRecord(**{**a, "cost": Cost(**a["cost"])}) for a in value["attacks"]
            ),
            **{name: np.array(examples[name], dtype=np.int64) for name in _INTEGERS},
            distance=np.array(distance, dtype=np.float64),
            tried=np.array(examples.get("tried", _tried(value)), dtype=np.int64),
            queries=np.array(examples.get("queries", [0] * len(distance)), dtype=np.int64),
            proved=np.array(examples.get("proved", [False] * len(distance)), dtype=bool),
            certificate=value.get("certificate", ""),
            samples=value.get("samples", 1),
            checked=value.get("checked", ""),
            checks=tuple(
                Check(**{**check, "examples": tuple(check["examples"])})
                for check in value.get("checks", [])
            ),
            curve=tuple(CurvePoint(p["eps"], Count(p["hits"], p["total"])) for p in value["curve"]),
            curve_attack=value["curve_attack"],
            pictures=tuple(_picture_from(picture) for picture in value["pictures"]),
            warnings=tuple(value["warnings"]),
            complete=value["complete"],
            command=value["command"],
            environment=value["environment"],
            created=value["created"],
        )


_INTEGERS: tuple[
    Literal["index", "label", "clean_prediction", "adversarial_prediction", "broken_by"], ...
] = ("index", "label", "clean_prediction", "adversarial_prediction", "broken_by")


PER_EXAMPLE = (*_INTEGERS, "distance", "tried", "queries", "proved")


def _tried(value: Mapping[str, Any]) -> list[int]:
    """What a file of schema 1 says in another way: attacks dealt with the examples in order."""
    count = len(value["examples"]["index"])
    return [sum(row < attack["done"] for attack in value["attacks"]) for row in range(count)]


def _check_counts(evaluation: Evaluation, value: Mapping[str, Any]) -> None:
    """Raises ValueError where counts in the file are not those of the verdicts in it."""
    if len({len(getattr(evaluation, name)) for name in PER_EXAMPLE}) > 1:
        raise ValueError("the lists under examples differ in length")
    written = [value["clean"]["hits"], value["robust"]["hits"]]
    written += [value["certified"]["hits"]] if "certified" in value else []
    written += [attack.broke for attack in evaluation.attacks]
    counted = [evaluation.clean.hits, evaluation.robust.hits]
    counted += [evaluation.certified.hits] if "certified" in value else []
    counted += [int((evaluation.broken_by == k).sum()) for k in range(len(evaluation.attacks))]
    if written != counted:
        raise ValueError(f"counts are {written}, but the verdicts add up to {counted}")


def _count_json(count: Count) -> dict[str, Any]:
    low, high = count.interval
    return {"hits": count.hits, "total": count.total, "rate": count.hits / max(count.total, 1),
            "low": low, "high": high}  # fmt: skip


def _picture_json(picture: Picture) -> dict[str, Any]:
    value = {field.name: getattr(picture, field.name) for field in dataclasses.fields(picture)}
    value["shape"] = list(picture.clean.shape)
    for name in ("clean", "adversarial"):
        value[name] = base64.b64encode(value[name].astype("<f4").tobytes()).decode()
    return value


def _picture_from(value: Mapping[str, Any]) -> Picture:
    fields = {**value}
    shape = fields.pop("shape")
    for name in ("clean", "adversarial"):
        array = np.frombuffer(base64.b64decode(fields[name]), dtype="<f4")
        fields[name] = array.reshape(shape)
    return Picture(**fields)
