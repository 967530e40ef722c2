"""What augmentations share: images change, and what is drawn on them moves along."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .._batches import Augmentation

#: Class of mask pixels that lie outside the original; `cross_entropy` leaves it out by default.
IGNORE = -100


class Augmented(NamedTuple):
    """Images, with the masks and boxes that belong to them.

    Attributes:
        x: Images `(batch, channels, height, width)`.
        masks: Class of each pixel, int64 `(batch, height, width)`.
        boxes: Left, top, right and bottom edge in pixels, `(batch, n, 4)`: the box around the
            first pixel is 0, 0, 1, 1.
    """

    x: Tensor
    masks: Tensor | None = None
    boxes: Tensor | None = None


class ImageAugmentation(abc.ABC):
    """Changes each image of a batch at random; equal states of the generator give equal bits.

    Nothing else is drawn from: torch's own random state, on any device, stays as it is.
    """

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The images, changed."""
        return self.along(x, generator).x

    def along(
        self,
        x: Tensor,
        generator: torch.Generator,
        *,
        masks: Tensor | None = None,
        boxes: Tensor | None = None,
        ignore: int = IGNORE,
    ) -> Augmented:
        """The images, changed as without masks and boxes, which move along.

        Args:
            x: Images `(batch, channels, height, width)`.
            generator: What is random comes from it.
            masks: Class of each pixel, int64 `(batch, height, width)`; moved pixels take the class
                of the nearest one.
            boxes: Left, top, right and bottom edge in pixels, `(batch, n, 4)`. What comes out
                is the smallest upright box around the moved one, cut at the image's edge; one that
                left the image is empty.
            ignore: Class of mask pixels that come from outside the image.

        Raises:
            ValueError: Shapes or types do not fit, or this augmentation cannot move them along.
        """
        if x.ndim != 4:
            raise ValueError(
                f"{type(self).__name__} is given inputs of shape {tuple(x.shape)}; expected images "
                "(batch, channels, height, width)"
            )
        if masks is not None and (masks.shape, masks.dtype) != (
            (len(x), *x.shape[2:]),
            torch.int64,
        ):
            raise ValueError(
                f"masks are {masks.dtype} of shape {tuple(masks.shape)}; expected torch.int64 of "
                f"shape {(len(x), *x.shape[2:])}, one class a pixel"
            )
        if boxes is not None and (
            boxes.ndim != 3
            or (boxes.shape[0], boxes.shape[2]) != (len(x), 4)
            or not boxes.is_floating_point()
        ):
            raise ValueError(
                f"boxes are {boxes.dtype} of shape {tuple(boxes.shape)}; expected floating point "
                f"of shape ({len(x)}, n, 4): left, top, right, bottom in pixels"
            )
        return self._along(Augmented(x, masks, boxes), generator, ignore)

    @abc.abstractmethod
    def _along(self, given: Augmented, generator: torch.Generator, ignore: int) -> Augmented: ...


class Photometric(ImageAugmentation):
    """Changes values where they are; masks and boxes stay."""

    @abc.abstractmethod
    def change(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The images, changed."""

    def _along(self, given: Augmented, generator: torch.Generator, ignore: int) -> Augmented:
        return given._replace(x=self.change(given.x, generator))


class Move(abc.ABC):
    """Where the pixels of each image of a batch go."""

    @abc.abstractmethod
    def images(self, x: Tensor) -> Tensor:
        """The images `(batch, channels, height, width)`, moved."""

    @abc.abstractmethod
    def masks(self, masks: Tensor, ignore: int) -> Tensor:
        """The masks `(batch, height, width)`, moved; `ignore` comes in from outside."""

    @abc.abstractmethod
    def boxes(self, boxes: Tensor, height: int, width: int) -> Tensor:
        """Boxes `(batch, n, 4)` around the moved ones, cut at the edge of the image."""


class Geometric(ImageAugmentation):
    """Moves pixels; masks and boxes move along."""

    @abc.abstractmethod
    def draw(self, x: Tensor, generator: torch.Generator) -> Move:
        """A move for each image."""

    def _along(self, given: Augmented, generator: torch.Generator, ignore: int) -> Augmented:
        return moved(given, self.draw(given.x, generator), ignore)


def moved(given: Augmented, move: Move, ignore: int) -> Augmented:
    """Images with what is drawn on them, moved."""
    x, masks, boxes = given
    return Augmented(
        move.images(x),
        None if masks is None else move.masks(masks, ignore),
        None if boxes is None else move.boxes(boxes, *x.shape[2:]),
    )


def clip(boxes: Tensor, height: int, width: int) -> Tensor:
    """Boxes, cut at the edge of the image."""
    return boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))


def augment(
    augmentations: Sequence[Augmentation],
    x: Tensor,
    generator: torch.Generator,
    *,
    masks: Tensor | None = None,
    boxes: Tensor | None = None,
    ignore: int = IGNORE,
) -> Augmented:
    """Applies several augmentations in turn, with masks and boxes along.

    Args:
        augmentations: From the first to the last.
        x, generator, masks, boxes, ignore: As in `ImageAugmentation.along`.

    Raises:
        ValueError: One of them cannot move masks and boxes along.

    Example:
        >>> import torch, brolly
        >>> generator = torch.Generator().manual_seed(0)
        >>> x, masks = torch.rand(2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.int64)
        >>> steps = [brolly.Flip(), brolly.Shift(1), brolly.ColourJitter(brightness=0.4)]
        >>> out = brolly.data.augment(steps, x, generator, masks=masks)
        >>> out.x.shape, out.masks.unique()
        (torch.Size([2, 3, 8, 8]), tensor([-100,    0]))
    """
    out = Augmented(x, masks, boxes)
    for step in augmentations:
        if isinstance(step, ImageAugmentation):
            out = step.along(out.x, generator, masks=out.masks, boxes=out.boxes, ignore=ignore)
        elif masks is None and boxes is None:
            out = Augmented(step(out.x, generator))
        else:
            raise ValueError(
                f"{step!r} is no brolly.data.ImageAugmentation, so nobody knows where it moves "
                "masks and boxes; derive it from Geometric or Photometric"
            )
    return out
