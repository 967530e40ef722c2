"""Examples before and after the attack, as pictures."""

from __future__ import annotations

import base64
import dataclasses
import io

import numpy as np
from PIL import Image

from ..evaluation import Evaluation, Picture

#: Noise does not compress, so these two bound the size of a page.
MOST, LARGEST = 12, 96

_LESS, _MORE = np.array([[0, 114, 178], [213, 94, 0]]) / 255


@dataclasses.dataclass(frozen=True)
class Shown:
    """One broken example: three images as data URIs and what the model took them for."""

    index: int
    label: str
    before: str
    after: str
    clean: str
    adversarial: str
    perturbation: str


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Pictures of an evaluation.

    Attributes:
        shown: The pictures.
        factor: By how much the perturbation is amplified.
        gray: Whether they have one channel, so that the perturbation is drawn in two hues.
        reduced: Whether they were larger than they are shown.
        kept: How many pictures the evaluation holds.
        note: Why nothing is shown, if nothing is.
    """

    shown: tuple[Shown, ...] = ()
    factor: str = ""
    gray: bool = False
    reduced: bool = False
    kept: int = 0
    note: str = ""


def gallery(evaluation: Evaluation) -> Gallery:
    """Prepares the pictures of an evaluation."""
    pictures = evaluation.pictures
    if not pictures:
        return Gallery(note="No broken example was kept.")
    shape = pictures[0].clean.shape
    if not is_image(shape):
        return Gallery(
            note=f"The inputs have shape {'×'.join(map(str, shape)) or 'scalar'}, "
            "which is no image of 1 or 3 channels, so there is nothing to draw."
        )
    factor = _factor(evaluation)
    return Gallery(
        shown=tuple(_show(picture, evaluation, factor) for picture in pictures[:MOST]),
        factor=f"{factor:,g}",
        gray=shape[0] == 1,
        reduced=max(shape) > LARGEST,
        kept=len(pictures),
    )


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether inputs of a shape can be drawn."""
    return len(shape) == 3 and shape[0] in (1, 3)


def class_name(evaluation: Evaluation, label: int) -> str:
    """What a class is called; -1 stands for logits that were NaN."""
    if label < 0:
        return "NaN"
    classes = evaluation.data.classes
    return classes[label] if label < len(classes) else str(label)


def _factor(evaluation: Evaluation) -> float:
    """Two digits of what makes the largest change just fill the range of grays."""
    changes = [float(np.abs(p.adversarial - p.clean).max()) for p in evaluation.pictures]
    factor = evaluation.threat.width / 2 / max(*changes, 1e-6, 1e-6)
    step = 10.0 ** (np.floor(np.log10(factor)) - 1)
    return float(f"{np.floor(factor / step + 1e-3) * step:.2g}")


def _show(picture: Picture, evaluation: Evaluation, factor: float) -> Shown:
    low, width = evaluation.threat.bounds[0], evaluation.threat.width
    change = (picture.adversarial - picture.clean) / width * factor
    return Shown(
        index=picture.index,
        label=class_name(evaluation, picture.label),
        before=class_name(evaluation, picture.clean_prediction),
        after=class_name(evaluation, picture.adversarial_prediction),
        clean=data_uri((picture.clean - low) / width),
        adversarial=data_uri((picture.adversarial - low) / width),
        perturbation=data_uri(diverging(change) if len(change) == 1 else change + 0.5),
    )


def diverging(change: np.ndarray) -> np.ndarray:
    """Maps -1/2 to blue, 0 to transparent, 1/2 to orange: `(1, h, w)` to `(4, h, w)`."""
    amount = 2 * change[0, ..., None]
    hue = np.where(amount < 0, _LESS, _MORE)
    return np.moveaxis(np.concatenate([hue, np.abs(amount)], axis=-1), -1, 0)


def data_uri(pixels: np.ndarray) -> str:
    """A PNG of `(channels, h, w)` in 0 to 1, as an address that holds its own content."""
    bytes_ = np.rint(np.clip(np.nan_to_num(pixels), 0, 1) * 255).astype(np.uint8)
    image = Image.fromarray(bytes_[0] if len(bytes_) == 1 else np.moveaxis(bytes_, 0, -1))
    # Averaging would wash the perturbation out; picking pixels keeps it as it is.
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.NEAREST, reducing_gap=None)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
