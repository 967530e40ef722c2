"""Defences that draw random numbers, so that one gradient says little about the next pass.

Accuracies in the docstrings are of the first 100 test examples at seed 0, against Linf 0.1, each
on one pass: clean; on inputs that PGD (20 steps) found without averaging, shown once more; and on
inputs that APGD found for the mean of 20 passes (EOT, Athalye et al. 2018).
"""

from __future__ import annotations

import torch
from broken_defences.training import dense, normalize, seeded, train
from torch import Tensor, nn
from torch.nn.functional import interpolate, linear, pad

#: Height and width of the frame.
LARGEST = 11


class RandomResize(nn.Module):
    """Enlarges a batch to a random size and puts it at a random place of a larger frame."""

    def forward(self, x: Tensor) -> Tensor:
        size = int(torch.randint(8, LARGEST + 1, ()))
        room = LARGEST - size
        top, left = (int(torch.randint(room + 1, ())) for _ in range(2))
        x = interpolate(x, size=(size, size), mode="nearest")
        return pad(x, (left, room - left, top, room - top))


def random_resize(seed: int) -> nn.Module:
    """Random resizing and padding (Xie et al. 2018); broken by Athalye et al. 2018.

    Clean 97, PGD 89, EOT 62.
    """
    with seeded(seed):
        model = nn.Sequential(RandomResize(), normalize(), dense(LARGEST**2))
        return train(model, epochs=100)


class NoisyLinear(nn.Linear):
    """A linear layer whose weights are drawn anew at each pass, in eval mode, too."""

    def forward(self, input: Tensor) -> Tensor:
        spread = self.weight.detach().std()
        return linear(input, self.weight + spread * torch.randn_like(self.weight), self.bias)


def noisy_weights(seed: int) -> nn.Module:
    """Noise on the weights, also at test time (He et al. 2019); EOT as above.

    Clean 93, PGD 90, EOT 56.
    """
    with seeded(seed):
        layers = (NoisyLinear(64, 128), nn.ReLU(), NoisyLinear(128, 128), nn.ReLU())
        model = nn.Sequential(normalize(), nn.Flatten(), *layers, NoisyLinear(128, 10))
        return train(model, epochs=60)
