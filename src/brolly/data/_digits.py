"""The handwritten digits that come with scikit-learn: 1,797 images of 8 x 8 pixels."""

from __future__ import annotations

import torch

from ._dataset import Part, Source
from ._reading import Reading


def read_digits(reading: Reading) -> Source:
    """Reads the digits; a fixed permutation sets 397 of them aside as the test split."""
    from sklearn.datasets import load_digits

    reading.refuse("digits", "size", "colour", "skip_broken", "label", "mapping", "bounds")
    pixels, classes = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels.reshape(-1, 1, 8, 8)).to(torch.uint8)  # 0 to 16
    labels = torch.from_numpy(classes).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, test = order[397:], order[:397]
    return Source(
        "digits",
        {"train": Part(images[train], labels[train]), "test": Part(images[test], labels[test])},
        classes=tuple("0123456789"),
        scale=16.0,
        licence="CC BY 4.0",
        citation="Alpaydin, Kaynak: Optical recognition of handwritten digits. UCI machine "
        "learning repository (1998)",
    )
