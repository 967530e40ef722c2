"""What every threat can do."""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .._draws import Draws

#: What rounding may add to a distance or a bound, as a part of the width of the bounds.
#: A float32 near 1 is exact to 6e-8, so the sum of a pixel and its noise is exact to about that.
ROUNDING = 1e-6


@dataclasses.dataclass(frozen=True)
class Threat(abc.ABC):
    """The set of inputs an adversary may put in the place of a clean one.

    A ball of radius `eps` around the clean input, inside the declared `bounds`. Everything is in
    input units: normalisation belongs inside the model.

    Args:
        eps: Radius of the ball; infinity (`linf:inf`) leaves the bounds alone, for attacks that
            look for the nearest adversarial input.
        bounds: Lowest and highest value an input may hold.

    Raises:
        ValueError: `eps` is negative or no number, or the bounds are empty or not finite.
    """

    eps: float
    bounds: tuple[float, float] = (0.0, 1.0)

    kind: ClassVar[str]
    order: ClassVar[float]  # of the norm

    @property
    def mask(self) -> Tensor | None:
        """Values of an input that may change; None: all. Attacks leave the others as they are."""
        return None

    def __post_init__(self) -> None:
        low, high = self.bounds
        if not -float("inf") < low < high < float("inf"):
            raise ValueError(
                f"bounds are {self.bounds}; expected two finite numbers, (lowest, highest)"
            )
        if not self.eps >= 0:
            raise ValueError(f"eps is {self.eps}; expected a number, 0 or more")

    @property
    def width(self) -> float:
        return self.bounds[1] - self.bounds[0]

    def __str__(self) -> str:
        return f"{self.kind}:{self.eps:.6g}"

    def with_eps(self, eps: float) -> Threat:
        """The same threat with another radius."""
        return dataclasses.replace(self, eps=eps)

    def check_inputs(self, x: Tensor) -> None:
        """Raises ValueError where `x` is not a batch of inputs this threat is declared for."""
        if not x.is_floating_point():
            raise ValueError(
                f"inputs are {x.dtype}; expected floating point numbers in {list(self.bounds)}. "
                "Convert 8-bit images with x.float() / 255"
            )
        if x.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"inputs are {x.dtype}, which rounds by more than a step of an attack; expected "
                "float32 or float64. Write x.float(), and run the model under torch.autocast"
            )
        diameter = self.diameter(x.shape[1:])
        if math.isfinite(self.eps) and self.eps > diameter:
            raise ValueError(
                f"eps is {self.eps:.6g}, but two inputs of shape {tuple(x.shape[1:])} in "
                f"{list(self.bounds)} are at most {diameter:.4g} apart in {type(self).__name__}. "
                f"For images of 8 bits write {self.eps:.6g}/255, or declare the range: "
                f"{type(self).__name__}(..., bounds=(0, 255))"
            )
        if x.numel() == 0:
            return
        low, high = x.min().item(), x.max().item()
        slack = ROUNDING * self.width
        if not (low >= self.bounds[0] - slack and high <= self.bounds[1] + slack):
            raise ValueError(
                f"inputs span [{low:.4g}, {high:.4g}]; expected values inside the declared bounds "
                f"{list(self.bounds)}. Put normalisation into the model as its first layer "
                "(brolly.models.Normalize), or declare the range: "
                f"{type(self).__name__}({self.eps:.6g}, bounds=(low, high))"
            )

    def slack(self, shape: torch.Size) -> float:
        """What rounding may add to the distance of two inputs of this shape."""
        return ROUNDING * self.width

    def contains(
        self, x_adv: Float[Tensor, "batch *shape"], x: Float[Tensor, "batch *shape"]
    ) -> Bool[Tensor, " batch"]:
        """Which rows of `x_adv` lie in the ball around `x` and in the bounds.

        Computed in float64; what float32 may add to a distance (`slack`) is allowed for.
        """
        edge = ROUNDING * self.width
        wide = x_adv.double()
        inside = (wide >= self.bounds[0] - edge) & (wide <= self.bounds[1] + edge)
        near = self.distance(wide, x.double()) <= self.eps + self.slack(x.shape[1:])
        return near & inside.flatten(1).all(1)

    @abc.abstractmethod
    def diameter(self, shape: torch.Size) -> float:
        """Largest distance of two inputs of this shape inside the bounds."""

    @abc.abstractmethod
    def project(
        self, x_adv: Float[Tensor, "batch *shape"], x: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """The nearest point (in Euclidean distance) of the threat around `x`."""

    @abc.abstractmethod
    def sample(self, x: Float[Tensor, "batch *shape"], draws: Draws) -> Float[Tensor, "..."]:
        """A random point of the ball, cut to the bounds."""

    @abc.abstractmethod
    def ascend(self, gradient: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        """The step of length 1 along which the loss grows fastest; 0 where the gradient is 0."""

    @abc.abstractmethod
    def distance(
        self, x_adv: Float[Tensor, "batch *shape"], x: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, " batch"]:
        """Distance of each pair of rows, in the norm of the ball."""


def per_example(values: Tensor, like: Tensor) -> Tensor:
    """Reshapes `(batch,)` so that it broadcasts over `like` of shape `(batch, ...)`."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def anywhere(threat: Threat, x: Tensor, draws: Draws) -> Tensor:
    """A uniform point of the bounds, for balls without end."""
    return draws.uniform(x).mul_(threat.width).add_(threat.bounds[0]).clamp_(*threat.bounds)


def norm(delta: Tensor, order: float) -> Tensor:
    """Vector norm of each row of `(batch, ...)`."""
    return torch.linalg.vector_norm(delta.flatten(1), order, dim=1)
