"""Image files, decoded when they are read."""

from __future__ import annotations

import dataclasses
import io
import struct
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from ._members import Members
from ._reading import Colour, Reading
from ._stored import Stored
from ._threads import spread, usable_cpus

if TYPE_CHECKING:
    from PIL.Image import Image

_T = TypeVar("_T")

#: What Pillow calls one channel of 8 bits, and three.
Mode = Literal["L", "RGB"]

_MODES: dict[Colour, Mode] = {"grey": "L", "rgb": "RGB"}
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 turn the image by a quarter
#: Most headers end within this many bytes.
_HEADER = 2**14
#: Fewer images than this are not worth starting a thread for.
_FEW = 16


class Header(NamedTuple):
    """What an image says of itself.

    Attributes:
        size: Height and width as it is to be seen.
        mode: The mode that holds it without loss, None: neither does.
        loss: What it has that would be lost, where there is no such mode.
        simple: Whether it is a JPEG file whose pixels need be neither turned nor converted from
            more than three channels.
    """

    size: tuple[int, int]
    mode: Mode | None
    loss: str
    simple: bool


class Picture(NamedTuple):
    """An image file, and whether it is a simple JPEG file (see `Header`)."""

    name: str
    simple: bool


@dataclasses.dataclass(frozen=True, eq=False)
class ImageFiles(Stored):
    """Images of a folder or archive, `(n, channels, height, width)`, uint8.

    Rows are decoded by as many threads as there are CPUs, up to 8: Pillow lets others run while it
    decodes.

    Args:
        members: Where the files are.
        pictures: Which of them, in order.
        size: Height and width.
        mode: `L` for grey, `RGB` for colour.
        resized: Whether images of another size are brought to `size`.
    """

    members: Members
    pictures: Sequence[Picture]
    size: tuple[int, int]
    mode: Mode
    resized: bool

    @property
    def shape(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (len(self.pictures), len(self.mode), *self.size)

    @property
    def dtype(self) -> torch.dtype:  # pyright: ignore[reportIncompatibleVariableOverride]
        return torch.uint8

    def read(self, rows: Tensor) -> Tensor:
        """The images at `rows`.

        Raises:
            ValueError: One of them cannot be decoded, or is of another size by now.
        """
        pictures = [self.pictures[row] for row in rows.tolist()]
        out = torch.empty(len(rows), *self.size, len(self.mode), dtype=torch.uint8)
        flat, each = out.numpy().reshape(-1).data, out[:1].numel()
        step = max(-(-len(rows) // min(usable_cpus(), 8)), _FEW)

        def fill(first: int) -> None:
            for at, picture in enumerate(pictures[first : first + step], start=first):
                flat[at * each : (at + 1) * each] = self.decode(picture)

        spread(fill, range(0, len(rows), step))
        return out.permute(0, 3, 1, 2).contiguous()

    def decode(self, picture: Picture) -> bytes:
        """Pixels of an image, row by row.

        Raises:
            ValueError: It cannot be decoded, or is of another size by now.
        """
        content = self.members.read(picture.name)
        try:
            if picture.simple and not self.resized:
                return _decode_jpeg(content, self.size, self.mode)
            return _decode(content, self.size, self.mode, self.resized)
        except Exception as error:  # whatever decoders raise
            raise _broken(self.members, picture.name, error) from None


def open_images(
    members: Members, names: Sequence[str], reading: Reading
) -> tuple[ImageFiles, list[int]]:
    """Reads the headers of images, which must agree where nothing is asked for.

    Where broken images are to be left out, each is decoded once to see whether it can be.

    Args:
        members: Where the files are.
        names: Which of them.
        reading: Size and channels, and whether broken images are left out.

    Returns:
        The images, and the positions in `names` of those that were kept.

    Raises:
        ValueError: An image is broken, or of another kind than the first.
    """
    headers: dict[str, Header] = {}
    broken: dict[str, ValueError] = {}
    for name in names:
        try:
            headers[name] = read_header(members, name)
        except ValueError as error:
            if not reading.skip_broken:
                raise
            broken[name] = error
    if not headers:
        raise next(iter(broken.values()))
    size, mode = _agreed(members, headers, reading)
    pictures = [Picture(name, header.simple) for name, header in headers.items()]
    files = ImageFiles(members, pictures, size, mode, reading.size is not None)
    if reading.skip_broken:
        broken |= _undecodable(files)
    if not broken:
        return files, list(range(len(names)))
    shown = ", ".join(list(broken)[:3]) + (", ..." if len(broken) > 3 else "")
    warnings.warn(
        f"{len(broken)} of {len(names)} images of {members.place} cannot be read and are left out: "
        f"{shown}",
        stacklevel=2,
    )
    kept = [at for at, name in enumerate(names) if name not in broken]
    pictures = [picture for picture in pictures if picture.name not in broken]
    return dataclasses.replace(files, pictures=pictures), kept


def read_header(members: Members, name: str) -> Header:
    """Size and channels of an image, without decoding it.

    Raises:
        ValueError: It is no image, or one with too many pixels.
    """
    from PIL import Image

    fault: Exception | None = None
    # All of it where its start does not do: the directory of a TIFF file may come last.
    for first in (_HEADER, None):
        content = members.read(name, first)
        with warnings.catch_warnings():
            # Pillow warns of files that are cut, as their starts are, and of very many pixels.
            warnings.simplefilter("error", Warning if first else Image.DecompressionBombWarning)
            try:
                return _header(content)
            except Exception as error:  # whatever decoders raise
                fault = error
    raise _broken(members, name, fault)


def _header(content: bytes) -> Header:
    from PIL import Image

    with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
        width, height = image.size
        turn = _turn(image)
        mode: Mode | None = None
        loss = ""
        if image.has_transparency_data:
            loss = "transparency"
        elif image.mode.startswith(("I", "F")):
            loss = "more than 8 bits a channel"
        elif image.mode in ("1", "L"):
            mode = "L"
        elif image.mode in ("RGB", "P"):
            mode = "RGB"
        else:
            loss = f"{image.mode} channels"
        simple = image.format == "JPEG" and turn == 1 and mode is not None
        return Header((width, height) if turn > 4 else (height, width), mode, loss, simple)


def _agreed(
    members: Members, headers: dict[str, Header], reading: Reading
) -> tuple[tuple[int, int], Mode]:
    """The size and mode that images have or are to get."""
    first, like = next(iter(headers.items()))
    for name, header in headers.items():
        if header.loss.startswith("more"):
            raise ValueError(
                f"{members.place}: {name} has {header.loss}; expected 8. Save it with 8, or the "
                "values as floating point numbers in a .npz file"
            )
        if header.mode is None and reading.colour is None:
            raise ValueError(
                f"{members.place}: {name} has {header.loss}; expected grey or RGB. Pass "
                'colour="rgb" or colour="grey" to convert all images and drop it'
            )
        if header.mode != like.mode and reading.colour is None:
            raise ValueError(
                f"{members.place} mixes grey and colour: {_words(first, like)}, "
                f'{_words(name, header)}. Pass colour="rgb" or colour="grey" to convert all images'
            )
        if header.size != like.size and reading.size is None:
            raise ValueError(
                f"images of {members.place} differ in size: {_words(first, like)}, "
                f"{_words(name, header)}. Pass size=32 or size=(height, width) to resize them all"
            )
    mode = _MODES[reading.colour] if reading.colour else like.mode
    assert mode is not None
    return reading.size or like.size, mode


def _words(name: str, header: Header) -> str:
    kind = {"L": "grey", "RGB": "colour", None: "other"}[header.mode]
    return f"{name} is {kind} of {header.size[0]} x {header.size[1]} pixels"


def _undecodable(files: ImageFiles, at_once: int = 256) -> dict[str, ValueError]:
    def attempt(first: int) -> dict[str, ValueError]:
        found = {}
        for picture in files.pictures[first : first + at_once]:
            try:
                files.decode(picture)
            except ValueError as error:
                found[picture.name] = error
        return found

    parts = spread(attempt, range(0, len(files), at_once))
    return {name: error for part in parts for name, error in part.items()}


def _decode_jpeg(content: bytes, size: tuple[int, int], mode: Mode) -> bytes:
    """A simple JPEG file, given to its decoder without reading the headers again: twice as fast."""
    from PIL import Image

    height, width = size
    return Image.frombytes(mode, (width, height), content, "jpeg", mode, "").tobytes()


def _decode(content: bytes, size: tuple[int, int], mode: Mode, resized: bool) -> bytes:
    from PIL import Image, ImageOps

    height, width = size
    with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
        turn = _turn(image)
        # JPEG files can be decoded at 1/2, 1/4 or 1/8 of their size; twice the wanted size is left
        # for a good average.
        wanted = (2 * height, 2 * width) if turn > 4 else (2 * width, 2 * height)
        image.draft(mode, wanted if resized else None)
        whole = ImageOps.exif_transpose(image) if turn > 1 else image
        if whole.has_transparency_data:
            whole = whole.convert("RGBA")
        whole = whole.convert(mode)
        if resized:
            whole = whole.resize((width, height), Image.Resampling.BILINEAR)
        if whole.size != (width, height):
            raise ValueError(f"it has {whole.height} x {whole.width} pixels by now")
        return whole.tobytes()


def _turn(image: Image) -> int:
    """How the image is to be turned or mirrored, as EXIF counts it; 1: not at all."""
    if "exif" not in image.info:
        return 1
    try:
        turn = image.getexif().get(_ORIENTATION, 1)
    except (SyntaxError, ValueError, KeyError, struct.error):
        return 1  # the pixels may be well all the same
    return turn if turn in range(1, 9) else 1


def _broken(members: Members, name: str, error: Exception | None) -> ValueError:
    from PIL import UnidentifiedImageError

    unknown = isinstance(error, UnidentifiedImageError)
    return ValueError(
        f"{members.place}: {name} cannot be read as an image "
        f"({'its content is of no known format' if unknown else error}); replace it, or leave out "
        "all such images with skip_broken=True"
    )
