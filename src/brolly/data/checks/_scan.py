"""One pass over a split: what the checks need to know of each example."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import torch
from torch import Tensor

from .._split import Split
from ._spectrum import is_picture, spectrum

_VALUES_AT_ONCE = 2**22  # what is in memory of the inputs at any time


@dataclasses.dataclass(frozen=True)
class Scan:
    """What is known of each example of a split, in its order.

    Attributes:
        split: The split.
        hashes: 128 bits that name the stored bytes, `(n, 2)`.
        low, high: Least and largest value in input units, `(n,)`; NaN where any value is.
        spread: The largest difference of two values of one channel, `(n,)`.
        brightness: Mean value, `(n,)`.
        spectra: See `spectrum`, `(n, k)`; without columns where inputs are no images.
        mean, std: Of each channel.
    """

    split: Split
    hashes: Tensor
    low: Tensor
    high: Tensor
    spread: Tensor
    brightness: Tensor
    spectra: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.split)


def scan(split: Split) -> Scan:
    """Reads a split once, a few megabytes at a time."""
    size = max(1, min(1024, _VALUES_AT_ONCE // max(1, torch.Size(split.shape).numel())))
    hashes: list[bytes] = []
    numbers: list[Tensor] = []
    spectra: list[Tensor] = []
    count, total, squares = 0, torch.zeros(1), torch.zeros(1)
    for part in split.parts(size):
        rows = part.cpu().contiguous()
        flat = rows.reshape(len(rows), -1)
        hashes += [
            hashlib.blake2b(row.data, digest_size=16).digest()
            for row in flat.view(torch.uint8).numpy()
        ]
        values = flat.double() / split.scale
        channels = values.reshape(len(rows), rows.shape[1] if rows.ndim > 2 else 1, -1)
        lows, highs = channels.amin(2), channels.amax(2)
        spread = (highs - lows).amax(1)
        numbers.append(torch.stack([lows.amin(1), highs.amax(1), spread, values.mean(1)], 1))
        if is_picture(split.shape):
            spectra.append(spectrum(rows))
        channels = channels.nan_to_num(0, 0, 0)
        count += len(rows) * channels.shape[2]
        total, squares = total + channels.sum((0, 2)), squares + (channels**2).sum((0, 2))
    mean = total / max(count, 1)
    std = (squares / max(count, 1) - mean**2).clamp(min=0).sqrt()
    columns = torch.cat(numbers) if numbers else torch.zeros(0, 4)
    low, high, spread, brightness = columns.unbind(1)
    return Scan(
        split,
        torch.from_numpy(np.frombuffer(b"".join(hashes), np.int64).reshape(-1, 2).copy()),
        low, high, spread, brightness,
        torch.cat(spectra) if spectra else torch.zeros(len(split), 0),
        tuple(mean.tolist()),
        tuple(std.tolist()),
    )  # fmt: skip
