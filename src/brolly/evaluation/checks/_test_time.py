"""Does the forward pass optimise something?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import torch

from ...attacks._engine import untouched
from .._check import Check
from ._subject import Subject

_NAME = "test-time-optimisation"
_THRESHOLD = "autograd is called inside the forward pass"


def test_time_optimisation(subject: Subject) -> Check:
    """Whether the forward pass calls autograd for itself."""
    x, _ = subject.inputs(torch.arange(min(2, len(subject.split))))
    with untouched(subject.model), _counting() as calls:
        subject.guarded(x)
    if calls:
        return Check(
            _NAME, "warn",
            f"The forward pass calls {calls[0]} {len(calls)} times: it optimises at test time, and "
            "attacks must follow it through that, or run on the model inside.", _THRESHOLD,
        )  # fmt: skip
    return Check(_NAME, "pass", "The forward pass computes no gradients of its own.", _THRESHOLD)


test_time_optimisation.__test__ = False  # pyright: ignore  # no test, whatever its name


@contextlib.contextmanager
def _counting() -> Iterator[list[str]]:
    calls: list[str] = []

    def counted(name: str, function):
        def call(*arguments, **options):
            calls.append(name)
            return function(*arguments, **options)

        return call

    grad, backward = torch.autograd.grad, torch.autograd.backward
    with (
        mock.patch.object(torch.autograd, "grad", counted("torch.autograd.grad", grad)),
        mock.patch.object(torch.autograd, "backward", counted("backward", backward)),
    ):
        yield calls
