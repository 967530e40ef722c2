"""A tensor of which only bounds are known, to be sent through a model."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ..models import check_logits
from ._arithmetic import Arithmetic
from ._ball import Ball
from ._certificate import Unsupported

#: What is known of a tensor without its values.
_FACTS = {
    "shape", "ndim", "dtype", "device", "layout", "names", "itemsize", "requires_grad", "is_leaf",
    "is_cuda", "is_cpu", "is_mps", "is_meta", "is_sparse", "is_quantized", "is_nested",
    "size", "dim", "ndimension", "numel", "nelement", "__len__", "stride", "element_size",
    "get_device", "is_floating_point", "is_complex", "is_contiguous", "is_inference",
}  # fmt: skip

#: Operations that branches and loops on data begin with.
_READING = {
    "__bool__", "__float__", "__int__", "__index__", "item", "tolist", "numpy", "__array__",
    "gt", "lt", "ge", "le", "eq", "ne", "isnan", "isinf", "isfinite", "equal", "allclose",
    "argmax", "argmin", "nonzero", "any", "all", "where",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Rule:
    """How an operation acts on bounds; `several`: more than its first argument may be bounds."""

    function: Callable[..., Any]
    several: bool = False


#: By the name of the operation in `torch`; `_rules` fills it.
RULES: dict[str, Rule] = {}


@dataclasses.dataclass(frozen=True)
class LinearLayer:
    """Where the values of an `Interval` come from, for bounds on their differences."""

    lower: Tensor  # of its input, (batch, in)
    upper: Tensor
    ball: Ball | None
    weight: Tensor  # (out, in)
    bias: Tensor | None


class Interval(Tensor):
    """Lower and upper bounds in the place of a tensor.

    A model is called with it as with any tensor and runs its own code, modules, branches on
    shapes and all; each torch operation on the way is done on the bounds instead. Operations
    without a rule, and attempts to read values that are not known, raise `Unsupported`.

    Attributes:
        lower, upper: Bounds of every value, of the shape of the tensor.
        arithmetic: How they are computed.
        ball: What else is known while the values follow the input one by one, or None.
        origin: The linear layer that computed the values, or None.
        shared: Whether another tensor may share its memory.
    """

    lower: Tensor
    upper: Tensor
    arithmetic: Arithmetic
    ball: Ball | None
    origin: LinearLayer | None
    shared: bool

    @staticmethod
    def __new__(
        cls,
        lower: Tensor,
        upper: Tensor,
        arithmetic: Arithmetic,
        dtype: torch.dtype,
        ball: Ball | None = None,
        origin: LinearLayer | None = None,
    ) -> Interval:
        self = Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
            cls, lower.shape, dtype=dtype, device=lower.device
        )
        self.lower, self.upper, self.arithmetic = lower, upper, arithmetic
        self.ball, self.origin, self.shared = ball, origin, False
        return self

    def like(self, lower: Tensor, upper: Tensor, ball: Ball | None = None) -> Interval:
        """Other values of the same kind."""
        return Interval(lower, upper, self.arithmetic, self.dtype, ball)

    def widened(
        self, lower: Tensor, upper: Tensor, slack: Tensor, ball: Ball | None = None
    ) -> Interval:
        """Other values, which rounding may move by `slack`."""
        return self.like(*self.arithmetic.widened(lower, upper, slack), ball)

    def largest(self) -> Tensor:
        """The largest absolute value each may have."""
        return torch.maximum(self.lower.abs(), self.upper.abs())

    def become(self, other: Interval) -> Interval:
        """Takes the values of `other`, as operations in place do."""
        if self.shared:
            raise Unsupported(
                "an operation in place changes a tensor that shares memory with another (a view "
                "of it), which is not followed; write it without inplace=True"
            )
        self.lower, self.upper = other.lower, other.upper
        self.ball, self.origin = other.ball, other.origin
        return self

    def __repr__(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return f"Interval(shape={tuple(self.lower.shape)})"

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = _name_of(func)
        if name in _FACTS:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        if not args and "input" in kwargs:
            args = (kwargs.pop("input"),)
        bounded = list(_intervals((*args, *kwargs.values())))
        if any(torch.is_autocast_enabled(tensor.lower.device.type) for tensor in bounded):
            raise Unsupported("the model switches autocast on, whose rounding is not understood")
        in_place = kwargs.pop("inplace", False)
        if name.endswith("_") and not name.endswith("__"):
            in_place, name = True, name.rstrip("_")
        rule = RULES.get(name)
        alone = len(bounded) == 1 and bounded[0] is args[0]
        if rule is None or not (rule.several or alone):
            raise Unsupported(_not_understood(name, known=rule is not None))
        try:
            result = rule.function(*args, **kwargs)
        except TypeError as error:
            raise Unsupported(
                f"interval bounds do not understand {name} with these arguments ({error})"
            ) from error
        if in_place and result is not args[0]:
            if not isinstance(args[0], Interval):
                raise Unsupported(f"{name} in place writes values into a tensor that is known")
            return args[0].become(result)
        return result

    @classmethod
    def __torch_dispatch__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        raise Unsupported(_not_understood(str(func), known=False))


def propagate(model: nn.Module, x: Interval) -> Interval:
    """Bounds of the logits.

    Raises:
        Unsupported: The model does what is not followed; says what, and in which of its modules.
    """
    try:
        with _NoRandomness(), _Witness() as witness, torch.autocast(x.device.type, enabled=False):
            logits = model(x)
    except Unsupported as error:
        raise Unsupported(f"{error}{_place(error, model)}") from None
    if witness.error is not None:
        raise Unsupported(
            f"the model goes another way after an error that only its bounds may raise: "
            f"{witness.error}"
        )
    if isinstance(logits, Tensor) and not isinstance(logits, Interval):
        raise Unsupported(
            "the model's output does not depend on its input by operations that interval bounds "
            "can follow"
        )
    check_logits(logits, len(x.lower))
    return logits


class _NoRandomness(TorchDispatchMode):
    """Refuses operations that draw random numbers: bounds for one draw say nothing of the next."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise Unsupported(f"the model draws random numbers ({func}), so no output is certain")
        return func(*args, **(kwargs or {}))


class _Witness(TorchFunctionMode):
    """Remembers the first error of an operation, also where the model catches it."""

    error: Exception | None = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        try:
            return func(*args, **(kwargs or {}))
        except Exception as error:
            self.error = self.error or error
            raise


def _name_of(func: Callable[..., Any]) -> str:
    if isinstance(func, torch._ops.OpOverload):
        func = func.overloadpacket
    if func in (torch.batch_norm, torch.ops.aten.batch_norm):
        return "_aten_batch_norm"  # its arguments come in another order than those of F.batch_norm
    name = getattr(func, "__name__", type(func).__name__)
    if name in ("__get__", "__set__"):  # of a property
        owner = getattr(func, "__self__", None)
        return f"{getattr(owner, '__name__', owner)}{' =' * (name == '__set__')}"
    return name


def _intervals(values: Iterable[Any]) -> Iterator[Interval]:
    for value in values:
        if isinstance(value, Interval):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _intervals(value)


def _not_understood(name: str, known: bool) -> str:
    if name in _READING:
        return (
            f"the model reads out values that depend on its input ({name}), as branches and loops "
            "on data do; interval bounds follow branches on shapes only"
        )
    if known:
        return (
            f"interval bounds understand {name} of one tensor that depends on the input, not more"
        )
    understood = sorted(name for name in RULES if not name.startswith("_"))
    return f"interval bounds do not understand {name}; they do understand {', '.join(understood)}"


def _place(error: BaseException, model: nn.Module) -> str:
    """Which submodule of the model was at work, in words."""
    names = {id(module): name for name, module in model.named_modules()}
    place = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = frame.f_locals.get("self")
        if isinstance(module, nn.Module) and names.get(id(module)):
            place = f" (in {names[id(module)]}, a {type(module).__name__})"
    return place
