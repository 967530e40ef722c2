"""What stands between the stored weight of a layer and the one it computes with."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import (
    ParametrizationList,
    is_parametrized,
    register_parametrization,
    remove_parametrizations,
)

_LINEAR = (nn.Linear,)
_CONVOLUTIONAL = (nn.Conv1d, nn.Conv2d, nn.Conv3d)

#: Which layers: `linear` (`nn.Linear`), `convolutional` (`nn.Conv1d`, `Conv2d`, `Conv3d`), `all` of
#: these, or a function of (name, layer) that picks among them. It is their `weight` that changes;
#: biases, normalisation layers, embeddings, recurrent layers, transposed convolutions and the input
#: projection of `nn.MultiheadAttention` stay as they are.
Layers: TypeAlias = Literal["all", "linear", "convolutional"] | Callable[[str, nn.Module], bool]


class Transform(nn.Module):
    """Maps the stored weight of one layer to the one it computes with.

    Parameters of its own have one axis, so that weight decay, penalties and searches for worse
    weights take none of them for a weight.
    """

    def mean(self, weight: Tensor) -> Tensor:
        """The weight without anything random."""
        return weight


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reparametrization(abc.ABC):
    """A change of how the weights of linear and convolutional layers are computed.

    It is a parametrization in torch's sense: `layer.weight` is computed anew at each pass from the
    stored weight, `layer.parametrizations.weight.original`, which is what is trained, averaged and
    saved. Several are applied in the order in which they were attached. Attach before the
    optimiser is made, as parameters may be added; `fit` makes its own.

    Args:
        layers: Which layers.
    """

    layers: Layers = "all"

    @abc.abstractmethod
    def transform(self, layer: nn.Module) -> Transform:
        """What is put into one layer."""

    def attach(self, model: nn.Module) -> nn.Module:
        """Puts it into the layers of `model`, in place, and returns the model.

        Raises:
            ValueError: It covers no layer, or one with a parametrization that is not brolly's.
        """
        self._attach(model)
        return model

    @contextlib.contextmanager
    def on(self, model: nn.Module) -> Iterator[nn.Module]:
        """Has it attached for a while; the model is left with the mean weights."""
        attached = self._attach(model)
        try:
            yield model
        finally:
            for layer, transform in attached:
                _remove(layer, [transform])

    def _attach(self, model: nn.Module) -> list[tuple[nn.Module, Transform]]:
        chosen = covered_layers(model, self.layers)
        for name, layer in chosen.items():
            parts = _stack(layer) if is_parametrized(layer, "weight") else ()
            foreign = [type(part).__name__ for part in parts if not isinstance(part, Transform)]
            if foreign:
                raise ValueError(
                    f"the weight of layer {name!r} has parametrizations of other makers, "
                    f"{', '.join(foreign)}; expected none. Remove them with "
                    "torch.nn.utils.parametrize.remove_parametrizations, or leave the layer out: "
                    "layers=lambda name, layer: ..."
                )
        attached = [(layer, self.transform(layer)) for layer in chosen.values()]
        for layer, transform in attached:
            register_parametrization(layer, "weight", transform, unsafe=True)  # no trial pass
            layer.get_submodule("parametrizations").train(layer.training)
            _make_copyable(layer)
        return attached


def detach(model: nn.Module) -> nn.Module:
    """Takes off all that `attach` put into the layers of `model`, in place.

    The weights stay at their means: without noise, and with `WeightNorm` multiplied out. The
    parameters are the objects they were before, so an optimiser that has them goes on.

    Example:
        >>> import torch, brolly
        >>> model = brolly.weights.GaussianNoise(when="always").attach(torch.nn.Linear(4, 2))
        >>> x = torch.ones(1, 4)
        >>> torch.equal(model(x), model(x))
        False
        >>> model = brolly.weights.detach(model)
        >>> torch.equal(model(x), model(x))
        True
    """
    for layer, transforms in attached_to(model):
        _remove(layer, transforms)
    return model


def attached_to(model: nn.Module) -> list[tuple[nn.Module, list[Transform]]]:
    """Layers and what is attached to each, in the order in which it is applied."""
    found = [
        (layer, [part for part in _stack(layer) if isinstance(part, Transform)])
        for layer in model.modules()
        if is_parametrized(layer, "weight")
    ]
    return [(layer, transforms) for layer, transforms in found if transforms]


def stored(layer: nn.Module) -> Tensor:
    """The weight that a layer keeps, whatever is attached to it."""
    weight = _stack(layer).original if is_parametrized(layer, "weight") else layer.weight
    assert isinstance(weight, Tensor)
    return weight


def covered_layers(model: nn.Module, layers: Layers) -> dict[str, nn.Module]:
    """The layers that are covered, by name, each once.

    Raises:
        ValueError: `layers` is no such word, or no layer is covered.
    """
    kinds = {
        "all": (*_LINEAR, *_CONVOLUTIONAL),
        "linear": _LINEAR,
        "convolutional": _CONVOLUTIONAL,
    }
    if not callable(layers) and layers not in kinds:
        raise ValueError(
            f"layers is {layers!r}; expected 'all', 'linear', 'convolutional', or a function of "
            "(name, layer)"
        )
    chosen = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, kinds["all"] if callable(layers) else kinds[layers])
        and (not callable(layers) or layers(name, layer))
    }
    if not chosen:
        raise ValueError(
            f"layers is {layers!r}, but the model has no such layer; expected an nn.Linear or an "
            "nn.Conv1d, nn.Conv2d or nn.Conv3d"
        )
    return chosen


def _stack(layer: nn.Module) -> ParametrizationList:
    stacks = layer.parametrizations
    assert isinstance(stacks, nn.ModuleDict)
    stack = stacks["weight"]
    assert isinstance(stack, ParametrizationList)
    return stack


def _remove(layer: nn.Module, transforms: Sequence[Transform]) -> None:
    stack, original = _stack(layer), stored(layer)
    with torch.no_grad():
        for transform in transforms:
            original.copy_(transform.mean(original))
    if len(stack) > len(transforms):
        for transform in transforms:
            del stack[list(stack).index(transform)]
        return
    remove_parametrizations(layer, "weight", leave_parametrized=False)
    # The weight comes first again, as in a new layer: optimisers number what they hold.
    others = {name: layer._parameters.pop(name) for name in list(layer._parameters)}
    layer._parameters["weight"] = others.pop("weight")
    layer._parameters.update(others)


def _make_copyable(layer: nn.Module) -> None:
    """Gives a copy of the layer a class of its own, and lets it be sent to another process.

    torch makes a class for each parametrized layer, which copies would share, so that taking the
    parametrization off one would break the others; and it refuses to pickle.
    """
    kind = type(layer)
    kind.__reduce_ex__ = _reduce
    if "__deepcopy__" in vars(kind):
        del kind.__deepcopy__  # pyright: ignore[reportAttributeAccessIssue]


def _reduce(layer: nn.Module, protocol: Any) -> tuple[Any, ...]:
    return _rebuild, (type(layer).__bases__[0], layer.__dict__)


def _rebuild(kind: type[nn.Module], state: dict[str, Any]) -> nn.Module:
    layer = kind.__new__(kind)
    layer.__dict__.update(state)
    modules = dict(layer._modules)
    stacks = modules.pop("parametrizations")
    layer._modules = modules
    assert isinstance(stacks, nn.ModuleDict)
    for name, stack in stacks.items():
        layer.register_parameter(name, nn.Parameter(torch.empty(0)))
        register_parametrization(layer, name, nn.Identity(), unsafe=True)
        layer.get_submodule("parametrizations").add_module(name, stack)
    layer.get_submodule("parametrizations").training = layer.training
    _make_copyable(layer)
    return layer
