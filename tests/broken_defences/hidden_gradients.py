"""Defences that hold because the gradient says nothing ("obfuscated", Athalye et al. 2018).

Accuracies in the docstrings are of the first 100 test examples at seed 0, against Linf 0.1:
clean; against PGD on the cross-entropy (20 steps), which is what a careless evaluation reports;
and against an attack that needs no gradient of the defence.
"""

from __future__ import annotations

import math

import torch
from broken_defences.training import dense, normalize, seeded, train
from torch import Tensor, nn

#: Values that are left of a pixel: 3 bits.
LEVELS = 8


class Quantize(nn.Module):
    """Rounds every pixel to one of a few levels; its derivative is zero."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * (LEVELS - 1)).round() / (LEVELS - 1)


def quantized(seed: int) -> nn.Module:
    """Bit depth reduced to 3 bits (Guo et al. 2018); broken by Athalye et al. 2018.

    The gradient is zero. Clean 100, PGD 97; transferred from the plain network 40.
    """
    with seeded(seed):
        return train(nn.Sequential(Quantize(), normalize(), dense()))


#: Quantisation of luminance in annex K of the JPEG standard (ITU-T T.81).
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


class JPEG(nn.Module):
    """Compresses an 8 x 8 image, which is one block, and opens it again.

    Discrete cosine transform, rounding of its coefficients to multiples of the table, and back.
    The entropy coding between loses nothing and is left out.
    """

    table: Tensor
    cosines: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.tensor(_LUMINANCE, dtype=torch.float32))
        frequency, place = torch.arange(8.0)[:, None], torch.arange(8.0)[None]
        cosines = torch.cos(math.pi * frequency * (2 * place + 1) / 16) / 2
        cosines[0] /= math.sqrt(2)
        self.register_buffer("cosines", cosines)  # orthogonal

    def forward(self, x: Tensor) -> Tensor:
        coefficients = self.cosines @ (x * 255 - 128) @ self.cosines.T
        kept = (coefficients / self.table).round() * self.table
        pixels = self.cosines.T @ kept @ self.cosines
        return ((pixels + 128).round() / 255).clamp(0, 1)


def jpeg(seed: int) -> nn.Module:
    """JPEG before the network (Das et al. 2017); broken by Shin & Song 2017.

    The gradient is zero. Clean 100, PGD 100; Square 61.
    """
    with seeded(seed):
        return train(nn.Sequential(JPEG(), normalize(), dense()))


class KWinners(nn.Module):
    """Keeps the highest activations of a layer and sets the others to zero."""

    def __init__(self, kept: int) -> None:
        super().__init__()
        self.kept = kept

    def forward(self, x: Tensor) -> Tensor:
        winners = x.topk(self.kept, dim=1)
        return torch.zeros_like(x).scatter(1, winners.indices, winners.values)


def k_winners(seed: int) -> nn.Module:
    """k-winners-take-all activations (Xiao et al. 2020); broken by Tramer et al. 2020.

    The function jumps wherever the winners change, and its gradient knows nothing of that.
    One unit in twenty wins. Clean 92, PGD 79; Square 50.
    """
    with seeded(seed):
        layers = (nn.Linear(64, 256), KWinners(12), nn.Linear(256, 256), KWinners(12))
        return train(nn.Sequential(normalize(), nn.Flatten(), *layers, nn.Linear(256, 10)))


class SteepSigmoid(nn.Module):
    """A sigmoid of a given slope; steep ones are saturated nearly everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.slope * x)


def saturated(seed: int) -> nn.Module:
    """Saturated activations (Nayebi & Ganguli 2017); broken by Brendel & Bethge 2017.

    The slope grows while training and to 1e4 after it: nearly every derivative underflows.
    Clean 97, PGD 96; Square 59.
    """
    sigmoids = SteepSigmoid(), SteepSigmoid()
    with seeded(seed):
        layers = (nn.Linear(64, 128), sigmoids[0], nn.Linear(128, 128), sigmoids[1])
        model = nn.Sequential(normalize(), nn.Flatten(), *layers, nn.Linear(128, 10))
        for steeper in (1.0, 3.0, 10.0, 30.0):
            for sigmoid in sigmoids:
                sigmoid.slope = steeper
            train(model, epochs=15)
    for sigmoid in sigmoids:
        sigmoid.slope = 1e4
    return model
