"""What a sweep varies, and which configurations it tries; nothing is trained."""

import math
import random
import re

import pytest

from brolly.recipes._sweep_search import at_random, by_optuna, on_grid
from brolly.recipes._sweep_space import Choices, Range, parse_dimension, read_space
from brolly.recipes._text import recipe_text

ROBUST = recipe_text("digits-robust")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("lr=0.01,0.1", Choices("lr", ("0.01", "0.1"))),
        ("lr=0.1,0.1", Choices("lr", ("0.1",))),
        ("average=null, {name: ema, decay: 0.9}",
         Choices("average", ("null", "{name: ema, decay: 0.9}"))),
        ("hidden=[1, 2],[3]", Choices("hidden", ("[1, 2]", "[3]"))),
        ("note='a, b',c", Choices("note", ("'a, b'", "c"))),
        ("a.b=linf:8/255", Choices("a.b", ("linf:8/255",))),
        ("beta=1..6", Range("beta", 1, 6, integer=True)),
        ("beta=-1..+6", Range("beta", -1, 6, integer=True)),
        ("beta=1.0..6", Range("beta", 1, 6)),
        ("eps=2/255..8/255", Range("eps", 2 / 255, 8 / 255)),
        ("lr=1e-4..1:log", Range("lr", 1e-4, 1, log=True)),
        ("width=8..128:log", Range("width", 8, 128, integer=True, log=True)),
    ],
)  # fmt: skip
def test_how_dimensions_are_written(spec: str, expected: Choices | Range) -> None:
    assert parse_dimension(spec) == expected
    assert parse_dimension(str(parse_dimension(spec))) == expected


def paths(*grid: str) -> list[str]:
    _, fixed, space = read_space(ROBUST, "digits-robust", grid)
    return [text.split("=")[0] for text in (*fixed, *map(str, space))]


def test_a_short_name_stands_for_the_one_path_that_ends_with_it() -> None:
    assert paths("lr=1,2", "noise=1..3", "model.width=2,3", "epochs=2,3") == [
        "optimizer.lr", "objective.noise", "model.width", "epochs",
    ]  # fmt: skip
    # `beta` is of a part that the sweep puts in; `hidden` comes first as it has one value.
    trades = "objective={name: trades, attack: {name: pgd}}"
    assert paths(trades, "beta=1,6", "attack.steps=2,3") == [
        "objective", "objective.beta", "objective.attack.steps",
    ]  # fmt: skip


MINIMAL = """
{name: pen, data: {name: digits}, model: {name: mlp}, threat: linf:0.1,
 objective: {name: n-fgsm}, penalties: [{name: l1, weight: 1e-4}], weights: [{name: awp}]}
"""


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        (["lr=0.01,0.1"], ["optimizer.lr=0.01,0.1"]),
        (
            ["optimizer.lr=0.01,0.1", "linear=true"],
            ["schedule.linear=true", "optimizer.lr=0.01,0.1"],
        ),
        (["gamma=0.001..0.01:log"], ["weights.0.gamma=0.001..0.01:log"]),
        (["penalties.0.weight=1e-3,1e-2"], ["penalties.0.weight=1e-3,1e-2"]),
        (["objective={name: pgd},{name: trades}"], ["objective={name: pgd},{name: trades}"]),
        # What is inside of a part comes after it, however it is written.
        (["rho=1,2", "weights=[{name: sam}]"], ["weights=[{name: sam}]", "weights.0.rho=1,2"]),
        (
            ["beta=1,6", "objective={name: trades},{name: mart}"],
            ["objective={name: trades},{name: mart}", "objective.beta=1,6"],
        ),
        (  # one value inside of what varies is no value of the recipe
            ["objective={name: pgd},{name: trades}", "objective.attack.steps=10", "epochs=5"],
            ["epochs=5", "objective={name: pgd},{name: trades}", "objective.attack.steps=10"],
        ),
    ],
)
def test_keys_of_what_is_left_to_its_default_or_in_a_list(
    grid: list[str], expected: list[str]
) -> None:
    _, fixed, space = read_space(MINIMAL, "pen", grid)
    assert [*fixed, *map(str, space)] == expected


def test_a_short_name_that_several_parts_have() -> None:
    with pytest.raises(ValueError, match=r"warmup: may be weights.0.warmup or schedule.warmup; "):
        read_space(MINIMAL, "pen", ["warmup=0.1,0.2"])


def test_values_come_from_python_as_well() -> None:
    entry = {"name": "trades", "attack": {"name": "pgd"}}
    grid = {"lr": [1e-5, 0.1], "noise": "1..3", "average": None, "epochs": 2}
    base, fixed, space = read_space(ROBUST, "digits-robust", grid)
    assert (base.average, base.epochs) == (None, 2)
    assert fixed == ("average=null", "epochs=2")
    assert [str(d) for d in space] == ["optimizer.lr=1.0e-05,0.1", "objective.noise=1..3"]
    base, _, _ = read_space(ROBUST, "digits-robust", {"objective": [entry]})
    assert base.objective.name == "trades"


def test_all_that_is_wrong_is_told_at_once() -> None:
    grid = [
        "lrr=1,2", "x", "lr=", "beta=5..1", "decay=0.1..2.0:lin", "noise=0..1:log", "width=1..x",
        "seed=1,2", "threat=linf:0.1,linf:0.2", "validation.steps=1,2", "lr=0.1,-1",
        "optimizer.lr=0.1,0.2", "objective.bta=1,2", "examples=1,2", "epochs=1,1.5", "rho=1,2",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="the sweep has errors") as raised:
        read_space(ROBUST, "digits-robust", grid)
    told = str(raised.value).split("\n")[1:]
    expected = [
        "'x' names no key and values", "lr: '' lacks a value", "beta: the range from 5 to 1 is",
        "decay: 'lin' is no scale", "noise: a :log range begins above 0", "width: 'x' is not a",
        "rho: the recipe has no such key. rho is for sam, asam",
        "lrr: the recipe has no such key. Did you mean 'lr'",
        "seed: every configuration is trained with several; write the first",
        "threat: configurations that differ", "validation.steps: configurations that differ",
        "optimizer.lr: is given twice",
        "examples: may be data.examples or validation.examples; write one",
        "optimizer: lr is -1", "objective.bta: unknown key", "epochs: is 1.5; expected a whole",
    ]  # fmt: skip
    missing = [text for text in expected if not any(text in line for line in told)]
    assert not missing, told
    assert len(told) == len(expected)
    with pytest.raises(ValueError, match=r"objective: name 'trdes' is unknown. Did you mean"):
        read_space(ROBUST, "digits-robust", ["objective={name: trdes},{name: plain}"])


def test_a_grid_is_every_combination() -> None:
    space = [Choices("a", ("x", "y")), Range("b", 1, 3, integer=True)]
    rows = [tuple(values.values()) for values in on_grid(space)]
    assert rows == [("x", "1"), ("x", "2"), ("x", "3"), ("y", "1"), ("y", "2"), ("y", "3")]
    assert on_grid([]) == [{}]
    told = r"(?s)a=0.1..1.0: is a range.*such as a=0.1,1.0.*b=1..8:log: is a range"
    with pytest.raises(ValueError, match=told):
        on_grid([Range("a", 0.1, 1.0), Range("b", 1, 8, integer=True, log=True)])
    with pytest.raises(ValueError, match="100,000 configurations"):
        on_grid([Range("a", 1, 100_000, integer=True)])


def test_draws_lie_in_their_range_and_follow_its_scale() -> None:
    generator = random.Random(0)
    dice = [int(Range("a", 1, 6, integer=True).draw(generator)) for _ in range(6000)]
    assert set(dice) == set(range(1, 7))
    assert all(abs(dice.count(side) - 1000) < 150 for side in range(1, 7))  # 5 sigma
    rates = [float(Range("a", 1e-4, 1, log=True).draw(generator)) for _ in range(4000)]
    assert 1e-4 <= min(rates) < max(rates) <= 1
    assert abs(sum(rate < 1e-2 for rate in rates) - 2000) < 160
    widths = [int(Range("a", 8, 128, integer=True, log=True).draw(generator)) for _ in range(4000)]
    assert (min(widths), max(widths)) == (8, 128)
    below = math.log(31.5 / 7.5) / math.log(128.5 / 7.5)
    assert abs(sum(width < 32 for width in widths) - 4000 * below) < 160


def test_numbers_are_written_as_yaml_reads_them_and_stay_inside() -> None:
    assert Range("a", 1e-6, 1).text(1e-5) == "1.0e-05"
    assert Range("a", 0.123456, 0.123456).text(0.123456) == "0.123456"


def test_few_draws_are_the_first_of_many() -> None:
    space = [Range("a", 0.0, 1.0), Choices("b", ("x", "y"))]
    many = at_random(space, 20, seed=3)
    assert at_random(space, 5, seed=3) == many[:5]
    assert at_random(space, 5, seed=4) != many[:5]
    assert len({tuple(values.items()) for values in many}) == 20
    # A space of four is exhausted.
    assert len(at_random([Range("a", 1, 4, integer=True)], 20, seed=0)) == 4


def test_optuna_goes_where_it_was_good() -> None:
    pytest.importorskip("optuna")
    space = [Range("lr", 1e-4, 1, log=True), Range("w", 1, 9, integer=True),
             Choices("b", ("x", "y"))]  # fmt: skip
    known: list[tuple[dict[str, str], float | None]] = []
    for _ in range(30):
        values = by_optuna(space, known, seed=0)
        assert 1e-4 <= float(values["lr"]) <= 1
        assert re.fullmatch("[1-9]", values["w"])
        known.append((values, -abs(math.log10(float(values["lr"])) + 2)))
    assert by_optuna(space, known[:12], seed=0) == known[12][0]  # from what is known alone
    errors = [-reached for _, reached in known if reached is not None]
    assert sum(errors[15:]) < sum(errors[:15])
    open_one = (known[0][0], None)
    assert set(by_optuna(space, [*known, open_one], seed=0)) == {"lr", "w", "b"}


def test_without_optuna_the_way_to_get_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ValueError, match=r"pip install 'brolly\[optuna\]'"):
        by_optuna([Range("lr", 0, 1)], [], seed=0)
