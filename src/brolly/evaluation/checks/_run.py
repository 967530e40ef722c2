"""Which checks there are, and what happens to one that cannot be carried out."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch

from .._check import Check
from ._books import (
    certified_below_attacked,
    data_hygiene,
    model_hygiene,
    nan_logits,
    returned_examples,
)
from ._deterministic import deterministic_forward
from ._gradients import finite_differences, gradient_graph, input_gradients
from ._hiding import loss_scale, obfuscated_weights, random_model
from ._names import NAMES
from ._outputs import logits_not_probabilities
from ._strength import (
    accuracy_against_eps,
    black_box_beats_white_box,
    iterative_beats_single_step,
    loss_converged,
    more_steps,
    noise_beats_white_box,
    silent_success,
    stable_predictions,
    unbounded_attack,
)
from ._subject import Look, Subject
from ._test_time import test_time_optimisation

_CHEAP: Mapping[str, Look] = {
    "deterministic-forward": deterministic_forward,
    "logits-not-probabilities": logits_not_probabilities,
    "input-gradients": input_gradients,
    "gradient-graph": gradient_graph,
    "test-time-optimisation": test_time_optimisation,
    "black-box-beats-white-box": functools.partial(black_box_beats_white_box, queries=100),
    "noise-beats-white-box": functools.partial(noise_beats_white_box, full=False),
    "stable-predictions": stable_predictions,
    "silent-success": silent_success,
    "loss-converged": loss_converged,
    "accuracy-against-eps": accuracy_against_eps,
    "iterative-beats-single-step": iterative_beats_single_step,
    "finite-differences": finite_differences,
    "returned-examples": returned_examples,
    "model-hygiene": model_hygiene,
    "data-hygiene": data_hygiene,
    "nan-logits": nan_logits,
    "certified-below-attacked": certified_below_attacked,
}
_FULL: Mapping[str, Look] = {
    **_CHEAP,
    "black-box-beats-white-box": functools.partial(black_box_beats_white_box, queries=2000),
    "noise-beats-white-box": functools.partial(noise_beats_white_box, full=True),
    "unbounded-attack": unbounded_attack,
    "more-steps": more_steps,
    "random-model": random_model,
    "obfuscated-weights": obfuscated_weights,
    "loss-scale": loss_scale,
}


def run_checks(subject: Subject, full: bool = False) -> tuple[Check, ...]:
    """Looks for every way in which the number may be wrong.

    Args:
        subject: A complete evaluation, with model, examples and what was found.
        full: Whether to run the checks that cost as much as an attack, too.
    """
    looks = _FULL if full else _CHEAP
    return tuple(_carry_out(name, looks[name], subject) for name in NAMES if name in looks)


def _carry_out(name: str, look: Look, subject: Subject) -> Check:
    try:
        return look(subject)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever the user's module may raise
        said = f"{type(error).__name__}: {error}"
        return Check(name, "warn", f"It could not be run ({said}).", "it cannot be run")
