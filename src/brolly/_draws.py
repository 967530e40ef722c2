"""Random numbers that belong to an example, not to the batch it happens to be in."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

# Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators" (SplitMix64).
# The 64-bit constants are written as the signed integers torch has.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64


def _shift(z: Tensor, bits: int) -> Tensor:
    """Logical shift to the right (torch's `>>` keeps the sign)."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * _MIX_1
    z = (z ^ _shift(z, 27)) * _MIX_2
    return z ^ _shift(z, 31)


class Draws:
    """A counter-based random source with one stream per example.

    The numbers of an example are a function of `(seed, index of the example, number of the
    draw, position)`, so a batch may be cut, reordered or shared out over ranks and every
    example still meets the same noise, on every device.
    """

    def __init__(self, seed: int, index: Tensor) -> None:
        self.seed = seed
        self._key = _mix(_mix((index.long() + 1) * _GOLDEN) ^ seed)  # (batch,)
        self._draw = 0

    @classmethod
    def from_generator(cls, generator: torch.Generator | None, index: Tensor) -> Draws:
        """Takes one number from `generator` (seed 0 without one) as the seed of every stream."""
        if generator is None:
            return cls(0, index)
        seed = torch.randint(2**62, (), generator=generator, device=generator.device)
        return cls(int(seed), index)

    def fold(self, purpose: int) -> Draws:
        """Fresh streams of the same examples, for the `purpose`-th use."""
        return self._with_key(
            _mix(self._key ^ _mix(torch.full_like(self._key, purpose + 1) * _GOLDEN))
        )

    def of(self, rows: Tensor) -> Draws:
        """The streams of some rows, from their beginning."""
        return self._with_key(self._key[rows])

    def _with_key(self, key: Tensor) -> Draws:
        other = copy.copy(self)
        other._key, other._draw = key, 0
        return other

    def uniform(self, like: Tensor) -> Tensor:
        """Uniform numbers in [0, 1), with the shape `(batch, ...)` and dtype of `like`."""
        count = math.prod(like.shape[1:])
        position = torch.arange(count, device=like.device) + (self._draw << 32)
        self._draw += 1
        bits = _mix(self._key[:, None] + position * _GOLDEN)  # (batch, count)
        digits = 53 if like.dtype == torch.float64 else 24
        numbers = _shift(bits, 64 - digits).to(like.dtype) * 2.0**-digits
        return numbers.reshape(like.shape)

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers, with the shape and dtype of `like`."""
        uniform = self.uniform(like).clamp_min(torch.finfo(like.dtype).tiny)
        # Box-Muller: two uniforms for one normal, exact in distribution at every dtype.
        return torch.sqrt(-2 * uniform.log()) * torch.cos(2 * math.pi * self.uniform(like))
