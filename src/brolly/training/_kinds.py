"""What kind of object each argument of a training is."""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Sequence

from torch import nn

from ..data import Augmentation, Dataset
from ..objectives import Objective
from ..penalties import Penalty
from ..threats import Threat
from ..weights import Reparametrization, WeightSearch
from ._average import Average
from ._optimizers import Optimizer
from ._run import RunFolder
from ._schedules import Schedule
from ._validation import Validation

#: By argument: its kind, and what to write.
_KINDS: dict[str, tuple[type, str]] = {
    "model": (nn.Module, "a torch.nn.Module"),
    "data": (Dataset, "a Dataset, such as load_data('digits') or Dataset.from_tensors(...)"),
    "objective": (Objective, "an objective, such as NFGSM(Linf(0.1))"),
    "penalty": (Penalty, "a penalty, such as penalties.L2(5e-4), or a sum of them: L1(...) + ..."),
    "weights": (WeightSearch, "one search for worse weights, such as AWP()"),
    "threat": (Threat, "a threat, such as Linf(0.1)"),
    "optimizer": (Optimizer, "the description of an optimiser, such as SGD(lr=0.1)"),
    "schedule": (Schedule, "a schedule, such as OneCycle()"),
    "average": (Average, "an average, such as EMA()"),
    "augment": (Sequence, "a list of augmentations, such as [Shift(2)]"),
    "validation": (Validation, "what to check, such as Validation(examples=1000)"),
    "run": (RunFolder, "a run folder, such as RunFolder('runs/mine')"),
    "epochs": (numbers.Integral, "a whole number"),
    "batch_size": (numbers.Integral, "a whole number"),
    "accumulate": (numbers.Integral, "a whole number"),
    "seed": (numbers.Integral, "a whole number"),
}

_NEEDED = ("model", "data", "epochs", "batch_size", "accumulate", "seed")


def check_kinds(**given: object) -> None:
    """Whether arguments of `fit` are what their annotations say; None stands for a default.

    Raises:
        ValueError: With what to write in place of each one that is not.
    """
    reasons = [
        _words(name, value, *_KINDS[name])
        for name, value in given.items()
        if not _fits(value, _KINDS[name][0]) and (value is not None or name in _NEEDED)
    ]
    if reasons:
        raise ValueError("\n".join(reasons))


def _fits(value: object, kind: type) -> bool:
    if kind is Sequence:
        return (
            isinstance(value, Sequence)
            and not isinstance(value, str)
            and all(isinstance(p, Augmentation) and not isinstance(p, type) for p in value)
        )
    return isinstance(value, kind)


def _words(name: str, value: object, kind: type, expected: str) -> str:
    if isinstance(value, Reparametrization):
        called = type(value).__name__
        return (
            f"{name} is {called}(...), which becomes part of the model: write "
            f"{called}(...).attach(model) first, and leave {name} out; expected {expected}"
        )
    if isinstance(value, type):
        call = f", which is to be called: {value.__name__}(...)" if issubclass(value, kind) else ""
        return f"{name} is the class {value.__name__}{call}; expected {expected}"
    if inspect.isfunction(value):
        return f"{name} is the function {value.__name__}; expected {expected}"
    shown = " ".join(repr(value).split())
    return f"{name} is {shown:.60}, of type {type(value).__name__}; expected {expected}"
