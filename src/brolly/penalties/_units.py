"""Weights seen as what flows into each unit."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from ._penalty import Covers, covered


def incoming(model: nn.Module, covers: Covers) -> dict[str, Tensor]:
    """Views `(groups, units, ...)` of the covered parameters, by name.

    A unit is an output of a linear layer, a filter of a convolution, a row of an embedding. Of a
    parameter with one axis each number is a unit. There is one group, except in transposed
    convolutions, whose stored weight has the units on its second axis, anew for each group.
    """
    transposed = {
        id(module.weight): module.groups
        for module in model.modules()
        if isinstance(module, _ConvTransposeNd) and isinstance(module.weight, nn.Parameter)
    }
    return {
        name: parameter.unflatten(0, (transposed[id(parameter)], -1)).transpose(1, 2)
        if id(parameter) in transposed
        else (parameter if parameter.ndim > 1 else parameter.reshape(-1, 1)).unsqueeze(0)
        for name, parameter in covered(model, covers).items()
    }


def matrices(model: nn.Module, covers: Covers) -> dict[str, Tensor]:
    """The covered parameters as matrices `(units, incoming weights)`, by name."""
    return {name: view.flatten(2).flatten(0, 1) for name, view in incoming(model, covers).items()}


def lengths(view: Tensor) -> Tensor:
    """Euclidean norm of what flows into each unit, to multiply the view of `incoming` with."""
    norms = view.flatten(2).norm(dim=2)
    return norms.reshape(*norms.shape, *(1,) * (view.ndim - 2))
