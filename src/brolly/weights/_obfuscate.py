"""Other weights, the same function."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from ..models import fold_batchnorm
from ._attach import Transform
from ._symmetry import find_units
from ._units import Freedom, Place, Units

#: Changes one axis of a weight along with its units.
_Change = Callable[[Tensor, Place], Tensor]


@dataclasses.dataclass(frozen=True)
class Obfuscated:
    """A model with other weights and the same function.

    Attributes:
        model: The copy, in eval mode; its parameters require no gradient.
        difference: Largest difference between its outputs and those of the model, in units of the
            outputs, on the inputs that were compared.
        changed: Names of the layers that have other weights.
        examples: How many inputs were compared.
    """

    model: nn.Module
    difference: float
    changed: tuple[str, ...]
    examples: int


def obfuscate(
    model: nn.Module,
    generator: torch.Generator | None = None,
    *,
    inputs: Tensor | Sequence[int],
    fold: bool = True,
) -> Obfuscated:
    r"""A copy of a model with other weights that computes the same.

    Hidden units u between the layers that make them (`W u_0 + b`) and those that read them
    (`V u`) become `M u`:

    .. math:: W' = M W, \quad b' = M b, \quad V' = V M^{-1}

    where M commutes with what lies between: a permutation, times positive factors where that is
    ReLU, max pooling or BatchNorm in eval mode (factors `exp(n)`, n standard normal), any
    orthogonal matrix where it is linear, such as average pooling. Channels of convolutions are
    units as well. Units that are added, as around a residual block, or multiplied, change alike;
    those that are cut apart or put together, as the gates of an LSTM, each by itself. BatchNorm
    that follows a layer in an `nn.Sequential` becomes part of it. (That permutations and rescaling
    leave a network's function the same: Hecht-Nielsen 1990; Neyshabur et al. 2015.)

    What lies between is found by tracing (`torch.export`); submodules that cannot be traced are
    passed over, and what is in them is traced by itself. Units that meet an operation which is not
    known, or one that mixes them, such as the heads of attention, stay as they are. The copy is
    compared with the model before it is returned.

    Whoever has both weights can tell that they belong together: it hides where weights come from,
    no secret. Robustness is a property of the function, so attacks must do as well on the copy;
    where they do not, the robustness was in how the weights are written.

    Cost: three or four forward passes, and a copy of the model for the time of tracing.

    Args:
        model: Any module that `copy.deepcopy` can copy; it is left as it is.
        generator: Of the permutations, factors and rotations, and of random inputs; None: one
            with seed 0.
        inputs: A batch to trace and compare with, `(batch, ...)`, or the shape of one input, for
            16 drawn from U(0, 1).
        fold: Whether BatchNorm becomes part of the layer before it. Without, the copy has the
            same tensors as the model, so that each can load the `state_dict` of the other.

    Raises:
        ValueError: Nothing can be rewritten, with what stands in the way (such as weights that a
            parametrization computes, which would have to be taken off), or the outputs differ by
            more than rounding: more than the root of the machine epsilon, as a part of the largest
            output (3e-4 in float32).

    Example:
        >>> import torch
        >>> from brolly.models import SmallCNN
        >>> from brolly.weights import obfuscate
        >>> model = SmallCNN(1, 10, width=4)
        >>> other = obfuscate(model, torch.Generator().manual_seed(0), inputs=(1, 28, 28))
        >>> other.difference < 1e-4, other.changed
        (True, ('1', '4', '7', '10', '13', '18', '20'))
    """
    first = next((p for p in model.parameters() if p.is_floating_point()), None)
    if first is None:
        raise ValueError(
            f"{type(model).__name__} has no weights that could be rewritten; expected a module "
            "with floating point parameters"
        )
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    if isinstance(inputs, Tensor):
        x = inputs.detach()
    else:
        drawn = torch.rand(16, *inputs, generator=generator, device=generator.device)
        x = drawn.to(first.device, first.dtype)
    original = copy.deepcopy(model).eval()
    twin = fold_batchnorm(model) if fold else copy.deepcopy(original).requires_grad_(False)
    with torch.no_grad(), torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
        expected = _outputs(original, x)
        obstacles = _rewrite(twin, (x,), {}, _changes(generator), ())
        found = _outputs(twin, x)
        changed = _changed_layers(original, twin)
        if not changed:
            reasons = _computed_weights(original) or (
                f"{', '.join(sorted(obstacles)) or 'no hidden units lie between two layers'}. "
                "Expected linear or convolutional layers in a row, and nothing between them that "
                "mixes their units"
            )
            raise ValueError(f"nothing in {type(model).__name__} can be rewritten: {reasons}")
    difference = float((found - expected).abs().max())
    allowed = torch.finfo(expected.dtype).eps ** 0.5 * max(float(expected.abs().max()), 1e-30)
    if not difference <= allowed:
        raise ValueError(
            f"rewriting {', '.join(changed)} changed the outputs by {difference:.2g}; expected at "
            f"most {allowed:.2g}. The module does more with its weights, or less reproducibly, "
            "than tracing shows"
        )
    return Obfuscated(twin, difference, changed, len(x))


def _computed_weights(model: nn.Module) -> str:
    """Which weights are computed at each pass rather than stored, and what to do about it."""
    layers: list[str] = []
    parts: dict[str, nn.Module] = {}
    for name, layer in model.named_modules():
        if not is_parametrized(layer, "weight"):
            continue
        stack = layer.get_submodule("parametrizations.weight")
        if layer.weight is getattr(stack, "original", None):  # silent in eval mode
            continue
        layers.append(name or type(layer).__name__)
        parts |= {type(part).__name__: part for part in stack.children()}
    if not layers:
        return ""
    ours = all(isinstance(part, Transform) for part in parts.values())
    advice = (
        "brolly.weights.detach(model), which leaves the mean weights"
        if ours
        else "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight') for each"
    )
    return (
        f"the weights of {', '.join(layers)} are computed at each pass ({', '.join(parts)}), so "
        f"there are none to rewrite. Take that off first: {advice}"
    )


def _outputs(model: nn.Module, x: Tensor) -> Tensor:
    torch.manual_seed(0)  # a model that draws random numbers draws the same ones
    outputs = model(x)
    if not isinstance(outputs, Tensor) or not outputs.is_floating_point():
        raise ValueError(
            f"the model returned a {type(outputs).__name__}; expected one floating point tensor. "
            "Wrap the model in a module that returns only its logits"
        )
    return outputs


def _rewrite(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    changes: Callable[[Units], _Change],
    pinned: Iterable[Tensor],
) -> set[str]:
    """Changes the weights in place; returns the operations that kept some as they are."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what a user's module does
            # A copy, as a module that keeps its activations would keep those of the tracing.
            program = torch.export.export(copy.deepcopy(model), args, kwargs, strict=False)
    except Exception:  # tracing meets whatever a user's module does
        return _rewrite_parts(model, args, kwargs, changes, pinned)
    tensors: dict[str, Tensor] = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    found, obstacles = find_units(program, tensors, pinned)
    for units in found:
        change = changes(units)
        for place in units.places:
            place.tensor.copy_(change(place.tensor, place))
    return obstacles


def _rewrite_parts(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    changes: Callable[[Units], _Change],
    pinned: Iterable[Tensor],
) -> set[str]:
    """Each submodule by itself, as what goes in and out of it stays the same."""
    seen: dict[nn.Module, tuple[tuple[Any, ...], dict[str, Any]]] = {}

    def remember(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.setdefault(module, (args, kwargs))

    inner = [module for module in model.modules() if module is not model]
    hooks = [module.register_forward_pre_hook(remember, with_kwargs=True) for module in inner]
    model(*args, **kwargs)
    for hook in hooks:
        hook.remove()
    parts = list(_outermost(model, seen))
    owners = Counter(id(p) for module in model.modules() for p in module.parameters(recurse=False))
    users = Counter(id(p) for part in parts for p in part.parameters())
    shared = [p for p in model.parameters() if owners[id(p)] > 1 or users[id(p)] > 1]
    obstacles = {f"{type(model).__name__}, which cannot be traced"}
    for part in parts:
        obstacles |= _rewrite(part, *seen[part], changes, [*pinned, *shared])
    return obstacles


def _outermost(model: nn.Module, called: Container[nn.Module]) -> Iterator[nn.Module]:
    """Submodules that were called, but nothing inside them; a ModuleList never is."""
    for child in model.children():
        yield from [child] if child in called else _outermost(child, called)


def _changes(generator: torch.Generator) -> Callable[[Units], _Change]:
    """Draws a random change of units within their freedom."""

    def draw(units: Units) -> _Change:
        if units.freedom == Freedom.ROTATE:
            square = torch.randn(
                units.count, units.count, generator=generator, device=generator.device
            )
            return _rotation(torch.linalg.qr(square.double())[0])
        order = torch.randperm(units.count, generator=generator, device=generator.device)
        scale = torch.ones(units.count, device=generator.device)
        if units.freedom == Freedom.RESCALE:
            scale = torch.randn(units.count, generator=generator, device=generator.device).exp()
        return _monomial(order, scale.double())

    return draw


def _rotation(matrix: Tensor) -> _Change:
    """The inverse is the transpose, so rows and columns change alike."""

    def change(tensor: Tensor, place: Place) -> Tensor:
        units = _by_unit(tensor, place, len(matrix))
        return _back(matrix.to(tensor.device) @ units.double().flatten(1), units, tensor, place)

    return change


def _monomial(order: Tensor, scale: Tensor) -> _Change:
    """A permutation and positive factors."""
    factors = {"out": scale, "in": 1 / scale, "order": torch.ones_like(scale)}

    def change(tensor: Tensor, place: Place) -> Tensor:
        units = _by_unit(tensor, place, len(order))
        factor = factors[place.role].to(tensor.device).unsqueeze(1)
        moved = units.double().flatten(1)[order.to(tensor.device)] * factor
        return _back(moved, units, tensor, place)

    return change


def _by_unit(tensor: Tensor, place: Place, count: int) -> Tensor:
    """The tensor with an axis of units in front."""
    return tensor.unflatten(place.axis, (count, place.block)).movedim(place.axis, 0)


def _back(changed: Tensor, units: Tensor, tensor: Tensor, place: Place) -> Tensor:
    return changed.reshape(units.shape).movedim(0, place.axis).reshape(tensor.shape)


def _changed_layers(original: nn.Module, twin: nn.Module) -> tuple[str, ...]:
    before = {**dict(original.named_parameters()), **dict(original.named_buffers())}
    after = {**dict(twin.named_parameters()), **dict(twin.named_buffers())}
    other = (k for k in after if k not in before or not torch.equal(after[k], before[k]))
    owners = (name.rpartition(".")[0].partition(".parametrizations")[0] for name in other)
    return tuple(dict.fromkeys(owners))
