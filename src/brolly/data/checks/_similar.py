"""Pairs of images that are nearly the same, among many."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .._stored import Stored
from ._spectrum import gradients, similarity

#: Cosine of two spectra from which on a pair is looked at. Of copies moved by a pixel, saved as
#: JPEG, brightened or noisy, fewer than 1 in 100 lie below, on MNIST, Fashion-MNIST and CIFAR-10.
_CANDIDATE = 0.985
#: Candidates of one image, the most similar; without a limit, sets of one picture would be squares.
_MOST = 16
#: Directions that hold most of what tells spectra apart.
_DIRECTIONS = 32
#: Part of the usual distance to others that a near-duplicate stays within.
NEAR = 0.03
#: Pairs up to here are shown for eyes to judge.
ALIKE = 0.15
#: Other images that an image is compared with, and which of them says how alike they usually are:
#: not the nearest, which may be copies, too.
_OTHERS, _USUAL = 256, 6
#: What is missing to 1 is taken for at least this, so that many copies do not hide each other.
_LEAST = 0.1


class Pairs(NamedTuple):
    """Similar images, the most similar first.

    Attributes:
        rows: Which two, `(m, 2)`, the lower first.
        similarity: Correlation of their gradients, `(m,)`.
        distance: What is missing to 1, as part of what is missing between them and the sixth
            nearest of 256 other images, `(m,)`.
    """

    rows: Tensor
    similarity: Tensor
    distance: Tensor


def similar_pairs(inputs: Stored, spectra: Tensor, generator: torch.Generator) -> Pairs:
    """Finds pairs of images at a distance of at most `ALIKE`.

    Spectra choose candidates, whose images are then read and compared. How alike different images
    are depends on the data set: two trousers of Fashion-MNIST are more alike than two photos of the
    same horse. So each pair is measured by what its images have in common with others.

    Args:
        inputs: Images.
        spectra: Of all images; those of zeros take no part.
        generator: Draws the other images.
    """
    found = _candidates(spectra)
    similar = torch.cat(
        [torch.zeros(0)] + [_similarity(inputs, rows) for rows in found.split(2048)]
    )
    kept = similar > 1 - ALIKE
    found, similar = found[kept], similar[kept]
    if not len(found):
        return Pairs(found, similar, similar)
    images, at = found.unique(return_inverse=True)
    live = spectra.any(1).nonzero()[:, 0]
    others = live[torch.randperm(len(live), generator=generator)[:_OTHERS]]
    distance = (1 - similar) / (1 - _usual(inputs, images, others)[at].amax(1)).clamp(min=_LEAST)
    order = distance.argsort(stable=True)
    order = order[distance[order] <= ALIKE]
    return Pairs(found[order], similar[order], distance[order])


def _similarity(inputs: Stored, rows: Tensor) -> Tensor:
    images, at = rows.unique(return_inverse=True)
    found = gradients(inputs.read(images))
    return similarity(found[at[:, 0]], found[at[:, 1]])


def _usual(inputs: Stored, images: Tensor, others: Tensor) -> Tensor:
    """What each image has in common with the sixth nearest of the others."""
    reference = F.normalize(gradients(inputs.read(others)).flatten(1))
    found: list[Tensor] = []
    for rows in images.split(1024):
        common = F.normalize(gradients(inputs.read(rows)).flatten(1)) @ reference.T
        common[rows[:, None] == others] = -1.0
        found.append(common.topk(min(_USUAL, -(-len(others) // 2)), dim=1).values[:, -1])
    return torch.cat(found)


def _candidates(spectra: Tensor) -> Tensor:
    """Pairs of spectra with a cosine of at least `_CANDIDATE`, `(m, 2)`; all that there are.

    Unit vectors with that cosine are less than a radius apart, and so are their shadows in fewer
    dimensions. Sorted by the first of these, each has only a window of others to be compared with.
    """
    live = spectra.any(1).nonzero()[:, 0]
    if len(live) < 2:
        return torch.zeros(0, 2, dtype=torch.int64)
    radius = (2 * (1 - _CANDIDATE)) ** 0.5 + 1e-4  # for rounding
    points = spectra[live]
    centred = points - points.mean(0)
    _, directions = torch.linalg.eigh(centred.T @ centred)
    shadows = centred @ directions[:, -_DIRECTIONS:].flip(1)
    order = shadows[:, 0].argsort(stable=True)
    live, points, shadows = live[order], points[order], shadows[order].contiguous()
    lead, halves = shadows[:, 0].contiguous(), shadows.pow(2).sum(1) / 2
    found: list[Tensor] = []
    for first in range(0, len(live), 1024):
        last = min(first + 1024, len(live))
        end = int(torch.searchsorted(lead, lead[last - 1] + radius, right=True))
        pairs: list[Tensor] = []
        cosines: list[Tensor] = []
        for start in range(first, end, 4096):
            columns = slice(start, min(start + 4096, end))
            near = torch.addmm(-halves[columns], shadows[first:last], shadows[columns].T)
            hits = (near >= halves[first:last, None] - radius**2 / 2).nonzero()
            hits += torch.tensor([first, start])
            for rows in hits[hits[:, 0] < hits[:, 1]].split(2**16):
                cosine = (points[rows[:, 0]] * points[rows[:, 1]]).sum(1)
                pairs.append(rows[cosine >= _CANDIDATE])
                cosines.append(cosine[cosine >= _CANDIDATE])
        if pairs:
            found.append(_nearest(torch.cat(pairs), torch.cat(cosines)))
    return live[torch.cat(found)].sort(1).values if found else torch.zeros(0, 2, dtype=torch.int64)


def _nearest(pairs: Tensor, cosines: Tensor) -> Tensor:
    """Of pairs with the same first row, the `_MOST` nearest."""
    pairs = pairs[cosines.argsort(descending=True, stable=True)]
    pairs = pairs[pairs[:, 0].argsort(stable=True)]
    _, counts = pairs[:, 0].unique_consecutive(return_counts=True)
    starts = (counts.cumsum(0) - counts).repeat_interleave(counts)
    return pairs[torch.arange(len(pairs)) - starts < _MOST]
