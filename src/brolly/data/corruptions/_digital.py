"""Digital: contrast, elastic deformation, coarse pixels and JPEG."""

from __future__ import annotations

import io

import torch
from torch import Tensor

from ..._draws import Draws
from ._grid import sample, smooth_noise


def contrast(x: Tensor, draws: Draws, pixel: float, part: float) -> Tensor:
    """Keeps this part of each value's distance from the mean of its channel."""
    mean = x.mean((2, 3), keepdim=True)
    return (x - mean) * part + mean


def elastic(
    x: Tensor, draws: Draws, pixel: float, strength: float, smoothness: float, shear: float
) -> Tensor:  # fmt: skip
    """An affine map that moves three points at random, then a smooth random displacement."""
    height, width = x.shape[-2:]
    rows, columns = (torch.arange(size, device=x.device, dtype=x.dtype) for size in (height, width))
    noise = 2 * draws.uniform(x.new_zeros(len(x), 2, height, width)) - 1
    move = strength * pixel * smooth_noise(noise, smoothness, pixel, truncate=3.0)
    down, along = rows[:, None] + move[:, 0], columns + move[:, 1]  # (batch, height, width)
    matrix = _affine(x, draws, shear * pixel)

    def mapped(axis: int) -> Tensor:
        slope = matrix[:, :, axis, None, None]
        return down * slope[:, 0] + along * slope[:, 1] + slope[:, 2]

    return sample(x, mapped(0), mapped(1))


def saturate(x: Tensor, draws: Draws, pixel: float, part: float, more: float) -> Tensor:
    """Multiplies the saturation, adds to it, and keeps hue and value.

    As in the published code, what has no hue turns red where something is added. Images of one
    channel have no saturation and stay.
    """
    if x.shape[1] == 1:
        return x.clone()
    value = x.amax(1, keepdim=True)
    span = value - x.amin(1, keepdim=True)  # saturation times value
    wanted = (part * span + more * value).minimum(value)
    red = x.new_tensor([0.0, 1.0, 1.0])[:, None, None]
    away = torch.where(span > 0, (value - x) / span.clamp_min(1e-12), red)
    return value - wanted * away


def pixelate(x: Tensor, draws: Draws, pixel: float, part: float) -> Tensor:
    """Shrinks to this part of the side, and enlarges without smoothing."""
    height, width = (_coarse(size, max(1, int(size * part))).to(x) for size in x.shape[-2:])
    return height @ x @ width.T


def jpeg(x: Tensor, draws: Draws, pixel: float, quality: int) -> Tensor:
    """Compresses at this quality; its blocks of 8 pixels do not grow with the image."""
    from PIL import Image

    decoded = []
    for pixels in (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu():
        file = io.BytesIO()
        Image.fromarray(pixels.squeeze(-1).numpy()).save(file, "JPEG", quality=quality)
        with Image.open(file) as image:
            found = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        decoded.append(found.reshape(pixels.shape))
    return (torch.stack(decoded).permute(0, 3, 1, 2).to(x.device) / 255).to(x.dtype)


def _affine(x: Tensor, draws: Draws, reach: float) -> Tensor:
    """Maps (row, column, 1) of the result to the image, `(batch, 3, 2)`.

    Three corners of a square about the centre, two thirds of the side wide, each come from up to
    `reach` away in both directions.
    """
    height, width = x.shape[-2:]
    middle = torch.tensor([height // 2, width // 2], dtype=torch.float64)
    square = max(min(height, width) // 3, 1)
    corner = middle + square * torch.tensor([[1, 1], [1, -1], [-1, -1]], dtype=torch.float64)
    noise = draws.uniform(x.new_zeros(len(x), 3, 2)).double().cpu()
    moved = corner + reach * (2 * noise - 1)
    points = torch.cat([corner, torch.ones(3, 1, dtype=torch.float64)], 1)
    return torch.linalg.solve(points, moved).to(x)


def _coarse(size: int, fewer: int) -> Tensor:
    """Averages `size` pixels to `fewer` and repeats those, `(size, size)`.

    A pixel belongs to the coarse one that its centre lies in, as in Pillow's box filter.
    """
    ratio = size / fewer
    fine = torch.arange(size, dtype=torch.float64) + 0.5
    owner = (fine / ratio).ceil() - 1  # a centre on an edge belongs to the coarse pixel before it
    shrink = (owner == torch.arange(fewer)[:, None]).double()
    shrink /= shrink.sum(1, keepdim=True)
    return shrink[(fine / ratio).floor().long()]
