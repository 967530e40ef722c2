"""The page of a sweep, from its data alone."""

import re
from pathlib import Path
from typing import Any

from brolly.recipes import Configuration, Sweep, Trial
from brolly.report import write_sweep


def made(rates: dict[str, list[float] | None], key: str = "optimizer.lr") -> dict[str, Any]:
    """A sweep over one key, with robust accuracies by seed; None: it diverged."""
    rows = []
    for value, robust in rates.items():
        found = robust or [0.0]
        status = "done" if robust else "diverged"
        rows.append(Configuration({key: value}, tuple(
            Trial(seed, Path(f"trials/{value}-{seed}"), status, 0.9 if robust else None,
                  rate if robust else None, 1, 2.0, "" if robust else "the loss became nan")
            for seed, rate in enumerate(found)
        )))  # fmt: skip
    return Sweep(
        "made", Path("out"), "grid", "robust", "linf:0.1", (key,), ("epochs=1",), 200, tuple(rows)
    ).to_json()


def page(sweep: dict[str, Any], tmp_path: Path, command: str = "") -> str:
    return write_sweep(tmp_path / "sweep.html", sweep, command).read_text()


def test_it_says_which_is_best_and_that_validation_chose_it(tmp_path: Path) -> None:
    sweep = made({"0.01": [0.3, 0.32], "0.1": [0.5, 0.52], "1": [0.2, 0.2], "9": None})
    text = page(sweep, tmp_path, "brolly sweep x lr=0.01,0.1,1,9")
    assert "optimizer.lr 0.1: 51.0% ±\N{NO-BREAK SPACE}1.4 robust, 90.0%" in text
    assert "over 2 seeds; n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}200 validation examples" in text
    assert "The test split was not read for it" in text
    assert "chance may have set the order" not in text
    assert "At the edge" not in text
    assert "#4, seed 0: the loss became nan" in text
    assert "brolly sweep x lr=0.01,0.1,1,9" in text
    order = [int(n) for n in re.findall(r'<tr><td class="n">(\d)</td><td>', text)]
    assert order == [2, 1, 3, 4]
    assert "Of 3 configurations, #2 is the Pareto front" in text
    assert not re.search(r'(src|href)="(?!#)', text)


def test_doubts_are_told(tmp_path: Path) -> None:
    near = made({"0.01": [0.3, 0.5], "0.1": [0.4, 0.42], "1": [0.2, 0.2]})
    assert "optimizer.lr 0.01 is within one standard deviation" in page(near, tmp_path)
    single = made({"0.01": [0.3], "0.1": [0.4], "1": [0.5]})
    text = page(single, tmp_path)
    assert "With one seed each, chance may have set the order" in text
    assert "optimizer.lr 1 is the largest value tried; the best may lie beyond it" in text
    assert "No configuration is done yet" in page(made({"1": None}), tmp_path)


def test_test_numbers_stand_only_where_there_are_some(tmp_path: Path) -> None:
    sweep = made({"0.01": [0.3], "0.1": [0.4]})
    assert "Final evaluation" not in page(sweep, tmp_path)
    count = {"rate": 0.25, "low": 0.2, "high": 0.31, "hits": 50, "total": 200}
    test = {"values": {"optimizer.lr": 0.1}, "seed": 0, "folder": "t", "threat": "linf:0.1",
            "clean": count, "robust": count, "command": ""}  # fmt: skip
    once = page({**sweep, "tests": [test, {**test, "seed": 1}]}, tmp_path)
    assert "25.0% [20.0, 31.0]" in once
    assert "The test split was read for" not in once
    other = {**test, "values": {"optimizer.lr": 0.01}}
    assert "The test split was read for 2" in page({**sweep, "tests": [test, other]}, tmp_path)


def test_values_are_shown_as_text_whatever_they_hold(tmp_path: Path) -> None:
    sweep = made({"{name: <b>, beta: 6}": [0.3], "null": [0.2]}, key="objective")
    text = page(sweep, tmp_path)
    assert "objective &lt;b&gt; (beta 6): 30.0% robust" in text
    assert "<td>none</td>" in text
