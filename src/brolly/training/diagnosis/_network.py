"""Dead units and BatchNorm mismatch: what the trained network does on a sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode

from ..._untouched import untouched
from ...data import Batches, Split
from .._history import percent
from ._finding import Finding, Observation, Rule

#: Part of a layer's units that are dead.
_DEAD = 0.4
#: Difference of accuracy between batch and running statistics.
_MISMATCH = 0.05
#: 95 % quantile of chi-squared with one degree of freedom.
_CHI_SQUARED = 3.841

DEAD_UNITS = Rule(
    "dead units",
    f"a layer where {_DEAD:.0%} of the units or more fire on none of the inputs",
    "dead units by the 40 % come with learning rates that are too high (CS231n, Neural Networks "
    "1); layers of sound networks on digits have up to 16 %",
    "a lower learning rate or a longer warm-up, BatchNorm, leaky ReLU; less weight decay",
)
BATCHNORM_MISMATCH = Rule(
    "BatchNorm mismatch",
    f"accuracies with batch and with running statistics differ by more than {_MISMATCH:.0%}, and "
    f"by more than chance on the same inputs (McNemar 1947: chi-squared above {_CHI_SQUARED:g})",
    f"running statistics are to stand for those of batches; {_MISMATCH:.0%} is ours: sound "
    "networks on digits differ by 0.4 % at most",
    "a larger BatchNorm momentum or more steps, a larger batch, a slower weight average (EMA) or "
    "fresh statistics, separate statistics for clean and adversarial batches",
)


def dead_units(model: nn.Module, split: Split, device: torch.device | str) -> Finding:
    """Which ReLU units fire on no input of a sample, layer by layer in the order they run.

    A unit is a position along the second axis: a neuron, or a channel at any place. One forward
    pass. A unit that fires on none of n inputs fires on less than 3 / n of all (95 %).
    """
    x = next(iter(Batches(split, len(split), device))).x
    with untouched(model), torch.no_grad(), _Rectified() as rectified:
        model(x)
    layers = [_never_positive(output) for output in rectified.outputs if output.ndim > 1]
    if not layers:
        return DEAD_UNITS.unmeasured("The network has no ReLU layer.")
    parts = [float(dead.double().mean()) for dead in layers]
    worst = max(range(len(parts)), key=lambda place: parts[place])
    return DEAD_UNITS.judge(
        parts[worst] >= _DEAD,
        f"In ReLU layer {worst + 1} of {len(layers)}, {int(layers[worst].sum())} of "
        f"{len(layers[worst])} units fire on none of {len(x)} training inputs.",
        *(
            Observation(f"dead in ReLU layer {place + 1}", part)
            for place, part in enumerate(parts)
            if part or place == worst
        ),
    )


def batchnorm_mismatch(
    model: nn.Module, split: Split, batch_size: int, device: torch.device | str
) -> Finding:
    """Accuracy on the same inputs with the statistics of each batch and the running ones.

    Only BatchNorm changes its mode: dropout stays off in both. Two forward passes.
    """
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not layers:
        return BATCHNORM_MISMATCH.unmeasured(
            "The network has no BatchNorm layer with running statistics."
        )
    batches = Batches(split, min(batch_size, len(split)), device, drop_last=True)
    by_running, by_batch = [], []
    with untouched(model), torch.no_grad():
        for hits, own in ((by_running, False), (by_batch, True)):
            for layer in layers:
                layer.training = own
            hits += [model(x).argmax(1) == y for x, y, _ in batches]
    running, batch = torch.cat(by_running), torch.cat(by_batch)
    first, second = float(running.double().mean()), float(batch.double().mean())
    lost, won = int((batch & ~running).sum()), int((running & ~batch).sum())
    chi_squared = (lost - won) ** 2 / max(lost + won, 1)
    return BATCHNORM_MISMATCH.judge(
        abs(first - second) > _MISMATCH and chi_squared > _CHI_SQUARED,
        f"On {len(running)} training inputs accuracy is {percent(first)} with running statistics "
        f"and {percent(second)} with those of each batch.",
        Observation("accuracy with running statistics", first),
        Observation("accuracy with batch statistics", second),
        Observation("chi-squared of the difference", chi_squared),
    )


def _never_positive(output: Tensor) -> Tensor:
    return ~(output > 0).transpose(0, 1).flatten(1).any(1)  # (units,)


class _Rectified(TorchDispatchMode):
    """Keeps what ReLUs give, whether they are modules or functions."""

    _KINDS = (torch.ops.aten.relu.default, torch.ops.aten.relu_.default)

    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if func in self._KINDS:
            self.outputs.append(output.clone())  # a later layer may write into it
        return output
