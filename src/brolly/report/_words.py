"""Numbers and threats as people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..evaluation import Count, Estimate
from ..threats import Threat

#: A space that ends no line.
_TIED = "\N{NO-BREAK SPACE}"

_NORMS = {"linf": "L∞", "l2": "L2", "l1": "L1", "l0": "L0"}


def percent(rate: float | int | None) -> str:
    """`62.8%`; a dash where there is no number."""
    return "–" if rate is None or math.isnan(rate) else f"{rate:.1%}"


def points(difference: float) -> str:
    """A difference of two rates: `11.4 points`."""
    return "–" if math.isnan(difference) else f"{100 * difference:.1f} points"


def interval(count: Count) -> str:
    """The 95 % interval of a rate: `[57.9, 67.4]`."""
    low, high = count.interval
    return f"[{100 * low:.1f},{_TIED}{100 * high:.1f}]"


def estimate(value: Estimate) -> str:
    """A value and its 95 % interval: `0.031 [0.024, 0.038]`."""
    return f"{value.value:.3f} [{value.low:.3f},{_TIED}{value.high:.3f}]"


def rate(count: Count) -> str:
    """A rate and its 95 % interval: `62.8% [57.9, 67.4]`."""
    return f"{percent(count.rate if count.total else None)} {interval(count)}"


def number(total: int) -> str:
    """`n = 400`, on one line."""
    return f"n{_TIED}={_TIED}{total:,}"


def duration(seconds: float | int | None) -> str:
    """`26.1 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    if seconds < 3599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def thousands(number: int) -> str:
    """`12,345`."""
    return f"{number:,}"


def norm(threat: Threat) -> str:
    """The norm of a threat: `L∞`."""
    return _NORMS.get(threat.kind, threat.kind)


def radius(threat: Threat) -> str:
    """Eps in input units; in L∞ and L2 in 8-bit steps, too, where the inputs lie in [0, 1]."""
    text = f"ε{_TIED}={_TIED}{threat.eps:.4g}"
    if threat.bounds == (0.0, 1.0) and threat.eps and threat.kind in ("linf", "l2"):
        text += f"{_TIED}({255 * threat.eps:.3g}/255)"
    return text


def short(threat: Threat) -> str:
    """`L∞, ε = 0.03137 (8/255)`."""
    return f"{norm(threat)}, {radius(threat)}"


def allowed(threat: Threat) -> str:
    """What the adversary may do to an input."""
    low, high = (f"{bound:g}" for bound in threat.bounds)
    box = f"and every value stays in [{low}, {high}]"
    if threat.kind == "linf":
        return f"Each input value may change by at most {radius(threat)}, {box}."
    if threat.kind == "l2":
        return f"An input may move by a Euclidean length of at most {radius(threat)}, {box}."
    if threat.kind == "l1":
        return f"The changes of all input values may sum to at most {radius(threat)}, {box}."
    if threat.kind == "l0":
        return f"At most {threat.eps:g} values of an input may change, {box}."
    return f"An input may move by a {threat.kind} distance of at most {radius(threat)}, {box}."


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def label(row: Mapping[str, Any]) -> str:
    """The values of a configuration: `optimizer.lr 0.1, objective.beta 3`."""
    return ", ".join(f"{key} {chosen(value)}" for key, value in row["values"].items())


def chosen(value: Any) -> str:
    """A value of a recipe's key: a number, an entry, a list of entries, or none."""
    if isinstance(value, list):
        return ", ".join(map(chosen, value)) or "none"
    if value is None:
        return "none"
    return named(value) if isinstance(value, Mapping) else _setting(value)


def spread(value: Mapping[str, Any] | None) -> str:
    """A mean and its standard deviation: `71.2% ± 0.8`; a dash where there is none."""
    if value is None:
        return "–"
    bars = "" if value["sd"] is None else f" ±{_TIED}{100 * value['sd']:.1f}"
    return f"{percent(value['mean'])}{bars}"


def settings(values: Mapping[str, Any]) -> str:
    """`steps 50, restarts 1`."""
    return ", ".join(f"{name} {_setting(value)}" for name, value in values.items())


def named(value: Any) -> str:
    """An entry of a recipe, `{name: trades, beta: 6}` or `trades`, in one phrase."""
    if not isinstance(value, Mapping):
        return str(value) if value else "–"
    plain = {k: v for k, v in value.items() if k != "name" and not isinstance(v, Mapping | list)}
    name = str(value.get("name", "–"))
    return f"{name} ({settings(plain)})" if plain else name


def rows(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A nested mapping as `(dotted name, text)` pairs."""
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += rows(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            found.append((f"{prefix}{name}", ", ".join(map(str, value))))
        else:
            found.append((f"{prefix}{name}", str(value)))
    return found


def _setting(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
