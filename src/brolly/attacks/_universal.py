"""One perturbation, or one patch, for all inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .._draws import Draws
from ..losses import cross_entropy
from ..threats import L2, Linf
from ..threats._threat import per_example
from ._attack import check_counts
from ._engine import (
    check_batch,
    check_integers,
    check_labels,
    goal_reached,
    input_gradient,
    private_randomness,
    untouched,
)

#: Inputs and their labels.
Pair = tuple[Tensor, Tensor]

# Cross-entropy is cut off here, so that no input counts without end (Shafahi et al. 2020).
_CUT = 9.0


@dataclasses.dataclass(frozen=True)
class UniversalPerturbation:
    """One change for all inputs, by projected ascent over batches (Shafahi et al. 2020).

    The mean cross-entropy, cut off at 9 for each input, is climbed on one batch after the other;
    the change is projected onto the ball of the threat each time. That there is such a change is
    from Moosavi-Dezfooli et al. (2017), who search it input by input.

    Cost: a forward and a backward pass over all training inputs per epoch.

    Args:
        threat: Linf or L2.
        epochs: Passes over the training batches.
        step_size: Length of a step in input units; None: a tenth of eps.

    Raises:
        ValueError: `epochs` is below 1, or the threat is neither Linf nor L2 with a finite eps.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> batch = torch.rand(8, 1, 2, 2), torch.zeros(8).long()
        >>> found = brolly.UniversalPerturbation(brolly.Linf(0.1))(model, [batch])
        >>> found.delta.shape, 0 <= found.fooling_rate(model, batch) <= 1
        (torch.Size([1, 2, 2]), True)
    """

    threat: Linf | L2
    _: dataclasses.KW_ONLY
    epochs: int = 10
    step_size: float | None = None

    def __post_init__(self) -> None:
        check_counts(epochs=self.epochs)
        if not isinstance(self.threat, (Linf, L2)) or not 0 < self.threat.eps < float("inf"):
            raise ValueError(
                f"the threat is {self.threat}; expected Linf or L2 with a finite eps above 0"
            )

    def __call__(
        self, model: nn.Module, batches: Iterable[Pair], *, target: int | None = None
    ) -> Universal:
        """Searches a change on training batches.

        Args:
            model: Maps inputs to logits `(batch, classes)`.
            batches: Inputs and labels, read once per epoch; a list, or anything that can be
                read again.
            target: Class all inputs are to be taken for; None: any wrong class.

        Raises:
            ValueError: There is no batch, or inputs, labels or logits do not fit.
        """
        threat, delta = self.threat, None
        size = threat.eps / 10 if self.step_size is None else self.step_size
        # Around 0, where the bounds of inputs do not matter.
        ball = dataclasses.replace(threat, bounds=(-threat.width, threat.width))
        with untouched(model):
            for _ in range(self.epochs):
                for x, y in batches:
                    _check(model, threat, x, y)
                    if delta is None:
                        delta = torch.zeros_like(x[0])
                    gradient = _mean_gradient(
                        model, delta, lambda d, x=x: (x + d).clamp(*threat.bounds), y, target
                    )
                    moved = delta[None] + size * ball.ascend(gradient[None])
                    delta = ball.project(moved, torch.zeros_like(moved))[0]
        if delta is None:
            raise ValueError("there are no batches; expected at least one (inputs, labels)")
        return Universal(delta, threat, target)


@dataclasses.dataclass(frozen=True)
class Universal:
    """A change that is the same for all inputs.

    Attributes:
        delta: The change, shaped as one input.
        threat: The ball it is in.
        target: Class it aims at, or None.
    """

    delta: Tensor
    threat: Linf | L2
    target: int | None

    def apply(self, x: Tensor) -> Tensor:
        """The changed inputs, inside the bounds."""
        return (x + self.delta).clamp(*self.threat.bounds)

    def fooling_rate(self, model: nn.Module, held_out: Pair) -> float:
        """Part of given inputs whose prediction it changes; with a target, to the target.

        Inputs that are taken for the target already do not count.
        """
        x, y = held_out
        _check(model, self.threat, x, y)
        with untouched(model), torch.no_grad():
            before = model(x).argmax(1)
            return _rate(model(self.apply(x)), before, self.target)


@dataclasses.dataclass(frozen=True)
class AdversarialPatch:
    """One patch that misleads wherever it is put (Brown et al. 2017).

    Each step pastes it into every image of a batch at a random place, angle and size and climbs
    the mean cross-entropy by the sign of the gradient (with a target, descends the target's):
    expectation over transformation.

    Cost: a forward and a backward pass over all training images per epoch.

    Args:
        size: Height and width of the patch in pixels, at zoom 1.
        rotation: Largest angle in degrees, either way; 45 in the paper.
        zoom: Smallest and largest size as parts of `size`; always the whole patch is in the image.
        epochs: Passes over the training batches.
        step_size: Change of a pixel per step, as a part of the width of the bounds.
        bounds: Lowest and highest value of a pixel.

    Raises:
        ValueError: A count is below 1, or the zoom is no range of positive numbers.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
        >>> batch = torch.rand(8, 1, 8, 8), torch.zeros(8).long()
        >>> patch = brolly.AdversarialPatch(size=3)(model, [batch])
        >>> patch.pixels.shape, 0 <= patch.success_rate(model, batch) <= 1
        (torch.Size([1, 3, 3]), True)
    """

    size: int
    _: dataclasses.KW_ONLY
    rotation: float = 45.0
    zoom: tuple[float, float] = (0.8, 1.2)
    epochs: int = 20
    step_size: float = 0.05
    bounds: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        check_counts(size=self.size, epochs=self.epochs)
        if not 0 < self.zoom[0] <= self.zoom[1] < float("inf"):
            raise ValueError(f"zoom is {self.zoom}; expected (smallest, largest), both above 0")

    def __call__(
        self,
        model: nn.Module,
        batches: Iterable[Pair],
        *,
        target: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Patch:
        """Trains a patch.

        Args:
            model: Maps images `(batch, channels, h, w)` to logits `(batch, classes)`.
            batches: Images and labels, read once per epoch.
            target: Class all images are to be taken for; None: any wrong class.
            generator: Source of places, angles and sizes; None: seed 0.

        Raises:
            ValueError: There is no batch, or images, labels or logits do not fit.
        """
        threat, patch = Linf(0.0, self.bounds), None
        low, high = self.bounds
        seed = Draws.from_generator(generator, torch.zeros(1).long()).seed
        with untouched(model):
            for epoch in range(self.epochs):
                for number, (x, y) in enumerate(batches):
                    _check(model, threat, x, y)
                    if patch is None:
                        grey = x.new_full((x.shape[1], self.size, self.size), (low + high) / 2)
                        patch = Patch(grey, self.rotation, self.zoom, self.bounds, target)
                    index = torch.arange(len(x), device=x.device)
                    draws = Draws(seed, index).fold(epoch).fold(number)
                    gradient = _mean_gradient(
                        model,
                        patch.pixels,
                        lambda pixels, x=x, draws=draws, patch=patch: dataclasses.replace(
                            patch, pixels=pixels
                        ).apply(x, draws),
                        y,
                        target,
                    )
                    moved = patch.pixels + self.step_size * (high - low) * gradient.sign()
                    patch = dataclasses.replace(patch, pixels=moved.clamp(low, high))
        if patch is None:
            raise ValueError("there are no batches; expected at least one (images, labels)")
        return patch


@dataclasses.dataclass(frozen=True)
class Patch:
    """A trained patch, and how it may be put into an image.

    Attributes:
        pixels: `(channels, size, size)`.
        rotation: Largest angle in degrees.
        zoom: Smallest and largest size as parts of its own.
        bounds: Lowest and highest value of a pixel.
        target: Class it aims at, or None.
    """

    pixels: Tensor
    rotation: float
    zoom: tuple[float, float]
    bounds: tuple[float, float]
    target: int | None

    def apply(self, x: Tensor, draws: Draws) -> Float[Tensor, "batch channels h w"]:
        """Images with the patch at a random place, angle and size each."""
        uniform = draws.uniform(x.new_empty(len(x), 4))
        turn = torch.deg2rad(self.rotation * (2 * uniform[:, 0] - 1))
        size = self.pixels.shape[-1] * (
            self.zoom[0] + (self.zoom[1] - self.zoom[0]) * uniform[:, 1]
        )
        height, width = x.shape[2:]
        # Half the side of the upright square around the turned patch: where it fits.
        reach = size / 2 * (turn.cos().abs() + turn.sin().abs())
        extent = x.new_tensor([width, height])
        room = (extent - 2 * reach[:, None]).clamp_min(0)
        centre = extent / 2 + room * (uniform[:, 2:] - 0.5)
        # Where each pixel of the image lies in the patch, in coordinates from -1 to 1.
        down = torch.arange(height, device=x.device, dtype=x.dtype) + 0.5
        right = torch.arange(width, device=x.device, dtype=x.dtype) + 0.5
        across = right[None, None, :] - centre[:, 0, None, None]
        along = down[None, :, None] - centre[:, 1, None, None]
        cos, sin = per_example(turn.cos(), x[:, 0]), per_example(turn.sin(), x[:, 0])
        grid = torch.stack([cos * across - sin * along, sin * across + cos * along], -1)
        grid = 2 * grid / per_example(size, grid)
        inside = (grid.abs() <= 1).all(-1)[:, None]
        pixels = self.pixels.expand(len(x), *self.pixels.shape)
        pasted = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
        return torch.where(inside, pasted, x)

    def success_rate(
        self, model: nn.Module, held_out: Pair, generator: torch.Generator | None = None
    ) -> float:
        """Part of given images it misleads, at random places; with a target, to the target.

        Images that are wrong, or taken for the target, without it do not count.
        """
        x, y = held_out
        _check(model, Linf(0.0, self.bounds), x, y)
        draws = Draws.from_generator(generator, torch.arange(len(x), device=x.device))
        with untouched(model), private_randomness(draws, x.device), torch.no_grad():
            right = model(x).argmax(1) == y
            return _rate(model(self.apply(x, draws))[right], y[right], self.target)


def _mean_gradient(model: nn.Module, value: Tensor, place, y: Tensor, target: int | None) -> Tensor:
    """Gradient in `value`, which `place` puts into the inputs, of the loss to climb."""
    with torch.enable_grad():
        leaf = value.detach().requires_grad_()
        logits = model(place(leaf))
        goal = y.long() if target is None else torch.full_like(y.long(), target)
        check_labels(goal, logits.shape[1], "label" if target is None else "target")
        loss = cross_entropy(logits, goal)
        loss = loss.clamp_max(_CUT) if target is None else -loss
        return input_gradient(loss, leaf)


def _rate(logits: Tensor, y: Tensor, target: int | None) -> float:
    """Part of the rows that reach the goal, without those whose `y` is the target."""
    if target is None:
        return float(goal_reached(logits, y).double().mean()) if len(y) else 0.0
    others = y != target
    reached = goal_reached(logits, y, torch.full_like(y, target))[others]
    return float(reached.double().mean()) if len(reached) else 0.0


def _check(model: nn.Module, threat: Linf | L2, x: Tensor, y: Tensor) -> None:
    check_batch(model, threat, x)
    check_integers(y, x, "labels")
