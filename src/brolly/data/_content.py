"""What files hold, with the place it came from: out of folders, gzip, tar and zip."""

from __future__ import annotations

import gzip
import itertools
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")

_DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, gzip.BadGzipFile,
    NotImplementedError,
)  # fmt: skip


class Content(NamedTuple):
    """The bytes of a file, and where they lie, for messages."""

    where: str
    data: bytes


def is_archive(path: Path) -> bool:
    """Whether the name is that of a tar or zip file."""
    return path.name.lower().endswith(ARCHIVES)


def read_contents(path: Path, names: Collection[str]) -> dict[str, Content]:
    """The files of these names in a folder, or anywhere in an archive, which is not unpacked.

    Names that are missing are left out.

    Raises:
        ValueError: An archive is damaged.
    """
    if path.is_dir():
        here = {name: path / name for name in names}
        return {
            name: Content(str(file), file.read_bytes())
            for name, file in here.items()
            if file.is_file()
        }
    found: dict[str, Content] = {}
    for name, data in _members(path, names):
        if name in names:
            found.setdefault(name, Content(f"{path}: {name}", data))
        if len(found) == len(names):
            break
    return found


def first_names(path: Path, count: int) -> set[str]:
    """Names of the files in a folder, or of the first ones in an archive; none if it is damaged."""
    if path.is_dir():
        return {file.name for file in path.iterdir() if file.is_file()}
    try:
        return {name for name, _ in itertools.islice(_members(path, ()), count)}
    except ValueError:
        return set()


def decompressed(content: Content) -> Content:
    """The content of a gzip file.

    Raises:
        ValueError: It is damaged.
    """
    try:
        return Content(content.where, gzip.decompress(content.data))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{content.where} is truncated or no gzip file ({error})") from None


def _members(path: Path, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Names of the files in an archive, without their folders; the content of those in `names`."""
    try:
        if path.name.lower().endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                for info in archive.infolist():
                    name = PurePosixPath(info.filename).name
                    if not info.is_dir():
                        yield name, archive.read(info) if name in names else b""
        else:
            with tarfile.open(path) as archive:
                for member in archive:
                    name = PurePosixPath(member.name).name
                    if file := archive.extractfile(member) if member.isreg() else None:
                        yield name, file.read() if name in names else b""
    except _DAMAGED as error:
        raise ValueError(f"{path} is truncated or no archive ({error})") from None
