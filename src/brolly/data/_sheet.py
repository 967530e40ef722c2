"""Contact sheets: many small images in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from .._files import replacing

# All in pixels of the sheet.
_SMALL, _LARGE = 96, 192  # images are brought between these where whole factors allow
_GAP, _MARGIN, _TEXT, _LINE, _WIDEST_LABEL = 4, 14, 14, 20, 200
_PAPER, _INK = 250, 40


def write_sheet(
    path: str | Path,
    rows: Sequence[tuple[str, Tensor]],
    *,
    title: Sequence[str] = (),
    headings: Sequence[str] = (),
) -> None:
    """Writes rows of images, each with its label on the left, as PNG; atomically.

    Small images are enlarged by a whole factor, so that each pixel stays a square; large ones are
    made smaller.

    Args:
        path: File to write.
        rows: Label, and images in [0, 1], `(n, channels, height, width)` with 1 or 3 channels;
            the size is the same in all rows.
        title: Lines above.
        headings: Text above each column.
    """
    from PIL import Image, ImageDraw, ImageFont

    cells = [(label, [_cell(image) for image in images]) for label, images in rows]
    height, width = next((cell.shape[:2] for _, row in cells for cell in row), (0, 0))
    font = ImageFont.load_default(_TEXT)
    labels = [_shortened(label, font) for label, _ in cells]
    left = _MARGIN + max((int(font.getlength(label)) for label in labels), default=0) + 10
    top = _MARGIN + _LINE * (len(title) + bool(headings)) + 2 * _GAP
    columns = max((len(row) for _, row in cells), default=0)
    right = left + columns * (width + _GAP) + _MARGIN
    written = _MARGIN + max((int(font.getlength(line)) for line in title), default=0) + _MARGIN
    bottom = top + len(cells) * (height + _GAP) + _MARGIN
    sheet = np.full((bottom, max(right, written), 3), _PAPER, np.uint8)
    for line, (_, row) in enumerate(cells):
        for column, cell in enumerate(row):
            y, x = top + line * (height + _GAP), left + column * (width + _GAP)
            sheet[y : y + height, x : x + width] = cell
    picture = Image.fromarray(sheet)
    draw = ImageDraw.Draw(picture)
    ink = (_INK, _INK, _INK)
    for line, text in enumerate(title):
        draw.text((_MARGIN, _MARGIN + line * _LINE), text, ink, font)
    for column, text in enumerate(headings):
        middle = left + column * (width + _GAP) + width // 2
        draw.text((middle, top - _GAP - 2), text, ink, font, anchor="ms")
    for line, label in enumerate(labels):
        middle = top + line * (height + _GAP) + height // 2
        draw.text((left - 10, middle), label, ink, font, anchor="rm")
    with replacing(path) as temporary:
        picture.save(temporary, format="png")


def _cell(image: Tensor) -> np.ndarray:
    """The image as it is shown, `(height, width, 3)`."""
    side = max(image.shape[1:])
    image = image.float().cpu()
    if side <= _SMALL:
        factor = _SMALL // side
        image = image.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    elif side > _LARGE:
        size = [max(1, round(length * _LARGE / side)) for length in image.shape[1:]]
        image = F.interpolate(image[None], size, mode="bicubic", antialias=True)[0]
    levels = (image.clamp(0, 1) * 255).round().byte()
    return levels.expand(3, -1, -1).permute(1, 2, 0).numpy()


def _shortened(label: str, font: object) -> str:
    length = font.getlength  # pyright: ignore[reportAttributeAccessIssue]
    if length(label) <= _WIDEST_LABEL:
        return label
    while label and length(label + "…") > _WIDEST_LABEL:
        label = label[:-1]
    return label + "…"
