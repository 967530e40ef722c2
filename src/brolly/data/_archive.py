"""Images in a zip or tar archive, read where they lie."""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import io
import lzma
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ._members import Members, ignored, is_image

#: What one image in an archive may unpack to, in bytes.
LARGEST_MEMBER = 2**28
#: How many times its own size the images of an archive may unpack to, once that is much at all.
HIGHEST_RATIO = 100
MUCH = 2**28
#: What a compressed tar may unpack to, in bytes: it is held in memory.
LARGEST_TAR = 2**30

_COMPRESSED: dict[bytes, Callable[[Path], io.BufferedIOBase]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}


class Span(NamedTuple):
    """Where a file lies in an archive."""

    offset: int
    packed: int  # bytes there
    size: int  # bytes of the file
    crc: int | None = None
    deflated: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Archive(Members):
    """Images in an archive, each read from the bytes it lies in.

    Args:
        place: The archive.
        spans: Where each image lies.
        folders: Folders that are listed.
        content: The archive unpacked, where it is compressed as a whole.
    """

    place: Path
    spans: Mapping[str, Span]
    folders: tuple[str, ...]
    content: bytes | None = None

    @property
    def names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return tuple(self.spans)

    def read(self, name: str, first: int | None = None) -> bytes:
        span = self.spans[name]
        packed = self._bytes(span.offset, span.packed if first is None else first)
        packed = packed[: span.packed]
        try:
            # One byte more than promised shows a member that unpacks to more.
            limit = span.size + 1 if first is None else first
            data = zlib.decompressobj(-15).decompress(packed, limit) if span.deflated else packed
        except zlib.error as error:
            raise ValueError(f"{self.place}: {name} is damaged ({error})") from None
        if first is None and (len(data) != span.size or span.crc not in (None, zlib.crc32(data))):
            raise ValueError(
                f"{self.place}: {name} is damaged: it is not the {span.size} bytes that the "
                "archive promises"
            )
        return data

    def _bytes(self, offset: int, count: int) -> bytes:
        if self.content is not None:
            return self.content[offset : offset + count]
        try:
            with open(self.place, "rb", buffering=0) as file:
                file.seek(offset)
                return file.read(count)
        except OSError as error:
            raise ValueError(f"{self.place} cannot be read: {error.strerror}") from None


def open_zip(path: Path) -> Archive:
    """Looks through a zip archive; nothing is unpacked.

    Raises:
        ValueError: It is damaged, encrypted, packed in a rare way, or would unpack to too much;
            or a name leads out of it.
    """
    spans: dict[str, Span] = {}
    folders: list[str] = []
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb", buffering=0) as file:
            for info in archive.infolist():
                name = _checked(path, info.filename)
                if name is None:
                    continue
                if info.is_dir():
                    folders.append(name)
                elif is_image(name):
                    spans[name] = _zip_span(path, info, file)
    except (zipfile.BadZipFile, struct.error, NotImplementedError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from None
    _check_total(path, spans)
    return Archive(path, spans, tuple(folders))


def open_tar(path: Path) -> Archive:
    """Looks through a tar archive; a compressed one is unpacked into memory.

    Raises:
        ValueError: It is damaged or too large to unpack; it holds images as links; or a name leads
            out of it.
    """
    spans: dict[str, Span] = {}
    folders: list[str] = []
    content = _unpacked(path)
    try:
        with path.open("rb") if content is None else io.BytesIO(content) as file:
            for member in _tar_members(file):
                name = _checked(path, member.name)
                if name is None:
                    continue
                if member.isdir():
                    folders.append(name)
                elif is_image(name):
                    if not member.isreg() or member.issparse():
                        raise _no_file(path, name)
                    _check_size(path, name, member.size)
                    spans[name] = Span(member.offset_data, member.size, member.size)
    except tarfile.TarError as error:
        raise _damaged(path, error) from None
    return Archive(path, spans, tuple(folders), content)


def _checked(path: Path, name: str) -> str | None:
    """The name with plain slashes; None where it is ignored."""
    plain = name.replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    if plain.startswith("/") or ".." in parts or re.match("[A-Za-z]:", plain):
        raise ValueError(
            f"{path} holds {name!r}, a path that leads out of the archive; such an archive is not "
            "read. Pack it again with relative paths"
        )
    return None if any(ignored(part) for part in parts) else "/".join(parts)


def _zip_span(path: Path, info: zipfile.ZipInfo, file: io.FileIO) -> Span:
    name = info.filename
    if stat.S_ISLNK(info.external_attr >> 16):
        raise _no_file(path, name)
    if info.flag_bits & 1:
        raise ValueError(f"{path}: {name} is encrypted; pack it again without a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(
            f"{path}: {name} is packed by method {info.compress_type}; expected stored or deflated"
        )
    _check_size(path, name, info.file_size)
    # Name and extra field may be longer or shorter here than in the directory.
    file.seek(info.header_offset)
    magic, name_length, extra_length = struct.unpack("<4s22xHH", file.read(30))
    if magic != b"PK\3\4":
        raise zipfile.BadZipFile(f"{name} is not where the directory says")
    offset = info.header_offset + 30 + name_length + extra_length
    deflated = info.compress_type == zipfile.ZIP_DEFLATED
    return Span(offset, info.compress_size, info.file_size, info.CRC, deflated)


def _unpacked(path: Path) -> bytes | None:
    """The content of a compressed file; None where it is not compressed."""
    with path.open("rb") as file:
        start = file.read(6)
    unpack = next(
        (unpack for magic, unpack in _COMPRESSED.items() if start.startswith(magic)), None
    )
    if unpack is None:
        return None
    try:
        with unpack(path) as file:
            content = file.read(LARGEST_TAR + 1)
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise _damaged(path, error) from None
    if len(content) > LARGEST_TAR:
        raise ValueError(
            f"{path} unpacks to more than {LARGEST_TAR / 2**30:.3g} GiB, the limit for a "
            "compressed tar, which has to be held in memory. Pack it again as .zip or as plain "
            ".tar, or unpack it"
        )
    return content


def _tar_members(file: io.BufferedIOBase) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(fileobj=file, mode="r:") as tar:
        yield from tar
        # tarfile takes a damaged header for the end of the archive; the end is a block of zeros.
        file.seek(tar.offset)
        if file.read(512) != bytes(512):
            raise tarfile.ReadError(f"no valid header and no end of the archive at {tar.offset}")


def _check_size(path: Path, name: str, size: int) -> None:
    if size > LARGEST_MEMBER:
        raise ValueError(
            f"{path}: {name} would unpack to {size:,} bytes; the limit for an image in an archive "
            f"is {LARGEST_MEMBER:,}"
        )


def _check_total(path: Path, spans: Mapping[str, Span]) -> None:
    total, here = sum(span.size for span in spans.values()), path.stat().st_size
    if total > MUCH and total > HIGHEST_RATIO * here:
        raise ValueError(
            f"{path} has {here:,} bytes, but its images would unpack to {total:,}, more than "
            f"{HIGHEST_RATIO} times as many: this looks like a zip bomb. Unpack it yourself if you "
            "trust it"
        )


def _no_file(path: Path, name: str) -> ValueError:
    return ValueError(
        f"{path}: {name} is a link or a file with holes; expected plain files. Pack it again with "
        "copies in place of links (tar --dereference --hard-dereference)"
    )


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} is damaged or no such archive ({error}); it was left as it is")
