"""All findings about one training."""

from __future__ import annotations

from torch import nn

from ...data import Dataset
from .._history import History
from . import _fitting, _network, _robustness, _steps
from ._finding import Finding

#: Training inputs that a trained network is looked at with.
_SAMPLE = 512


def diagnose(
    history: History,
    model: nn.Module | None = None,
    data: Dataset | None = None,
    *,
    batch_size: int = 128,
) -> tuple[Finding, ...]:
    """Names what is wrong with a training, with the evidence and the threshold of each finding.

    From the history: underfitting, overfitting, robust overfitting, catastrophic overfitting,
    unstable training, learning rate too high, too low. From the trained network: dead units and
    BatchNorm mismatch, on the first 512 training inputs (three forward passes of them). The test
    split is never looked at.

    A finding is a reason to look, no proof: thresholds say where they come from. What old or short
    histories do not tell is `not measured`.

    Args:
        history: What `fit` returned, or `RunFolder(...).history()`.
        model: The trained network, which is left as it is; None: dead units and BatchNorm
            mismatch are `not measured`.
        data: What it was trained on.
        batch_size: Of the training, for the statistics of BatchNorm.

    Returns:
        One finding for each thing looked for.

    Raises:
        ValueError: A model comes without data, or the other way round.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> history = brolly.fit(model, data, epochs=4)
        >>> findings = brolly.diagnose(history, model, data)
        >>> [finding.name for finding in findings if finding.state == "found"]
        []
    """
    if (model is None) != (data is None):
        raise ValueError(
            f"model is {type(model).__name__}, data is {type(data).__name__}; expected both or "
            "neither: dead units and BatchNorm are seen on training inputs"
        )
    return (
        _fitting.underfitting(history),
        _fitting.overfitting(history),
        _robustness.robust_overfitting(history),
        _robustness.catastrophic_overfitting(history),
        _steps.unstable_training(history),
        _steps.learning_rate_too_high(history),
        _steps.learning_rate_too_low(history),
        *_of_network(model, data, batch_size),
    )


def _of_network(
    model: nn.Module | None, data: Dataset | None, batch_size: int
) -> tuple[Finding, ...]:
    if model is None or data is None:
        why = "The trained network and its data were not given."
        return tuple(
            rule.unmeasured(why) for rule in (_network.DEAD_UNITS, _network.BATCHNORM_MISMATCH)
        )
    device = next((p.device for p in model.parameters()), "cpu")
    sample = data.train.first(_SAMPLE)
    return (
        _network.dead_units(model, sample, device),
        _network.batchnorm_mismatch(model, sample, batch_size, device),
    )
