"""Fingerprints of images that do not change when an image is moved, brightened or compressed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Images are compared at no more than this height and width.
_SIDE = 32
#: Cycles per image up to which the spectrum is kept.
_HIGHEST = 8


def is_picture(shape: tuple[int, ...]) -> bool:
    """Whether inputs of a shape are images large enough to be told apart by their shapes."""
    return len(shape) == 3 and min(shape[1:]) >= 16


def grey(images: Tensor) -> Tensor:
    """Mean over channels at 32 x 32 pixels or fewer: `(n, c, h, w)` to `(n, 1, h', w')`."""
    single = images.float().nan_to_num(0, 0, 0).mean(1, keepdim=True)
    size = [min(side, _SIDE) for side in single.shape[2:]]
    if size == list(single.shape[2:]):
        return single
    return F.interpolate(single, size, mode="bilinear", antialias=True, align_corners=False)


def spectrum(images: Tensor) -> Tensor:
    """Square roots of the magnitudes of low frequencies, of unit length: `(n, k)`.

    Magnitudes stay as they are when an image is moved; without frequency 0 and at unit length they
    also do when it is brightened or its contrast is changed. The root lets the many small ones
    count beside the few large ones. Constant images give zeros.
    """
    picture = grey(images)[:, 0]
    picture = picture - picture.mean((1, 2), keepdim=True)
    whole = torch.fft.rfft2(picture).abs()
    low = torch.cat([whole[:, : _HIGHEST + 1], whole[:, -_HIGHEST:]], 1)[:, :, : _HIGHEST + 1]
    kept = low.flatten(1)[:, 1:].sqrt()
    return torch.where(
        picture.abs().amax((1, 2))[:, None] > 1e-6 * images.float().abs().amax().clamp(min=1e-9),
        F.normalize(kept),
        torch.zeros(()),
    )


def gradients(images: Tensor) -> Tensor:
    """Differences along both axes of slightly blurred grey images: `(n, 2, h' - 4, w' - 4)`."""
    kernel = torch.tensor([1.0, 2.0, 1.0]) / 4
    smooth = F.conv2d(F.conv2d(grey(images), kernel[None, None, None]), kernel[None, None, :, None])
    across = (smooth[:, :, :, 2:] - smooth[:, :, :, :-2])[:, :, 1:-1]
    down = (smooth[:, :, 2:] - smooth[:, :, :-2])[:, :, :, 1:-1]
    return torch.cat([across, down], 1)


def similarity(first: Tensor, second: Tensor) -> Tensor:
    """Correlation of gradients, the best over moves by up to one pixel: `(n,)`, at most 1."""
    height, width = first.shape[2:]
    best = torch.full((len(first),), -1.0)
    for y in (-1, 0, 1):
        for x in (-1, 0, 1):
            one = first[:, :, max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)]
            two = second[:, :, max(-y, 0) : height + min(-y, 0), max(-x, 0) : width + min(-x, 0)]
            best = torch.maximum(best, F.cosine_similarity(one.flatten(1), two.flatten(1)))
    return best
