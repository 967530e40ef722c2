"""Published data sets on this machine: searched for, downloaded, verified and read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from ._content import Content, decompressed, read_contents
from ._dataset import Source
from ._download import DownloadError, download
from ._known import Known, KnownFile
from ._reading import Reading


def read_known(known: Known, reading: Reading) -> Source:
    """Finds, verifies and reads the files of a set; what is nowhere is downloaded.

    Raises:
        ValueError: A file is damaged or holds other data, or is nowhere and cannot be downloaded.
    """
    reading.refuse(known.name, "size", "colour", "skip_broken", "label", "mapping", "bounds")
    places = [
        _find(known, file, reading.data_dir) or _fetch(known, file, reading.data_dir)
        for file in known.files
    ]
    parts = known.parts(_contents(known, places))
    return Source(known.name, parts, known.classes, licence=known.licence, citation=known.citation)


def locate(known: Known, data_dir: str | Path | None = None) -> Path | None:
    """The folder or archive that holds the files of a set; None unless all of them are here."""
    found = [_find(known, file, data_dir) for file in known.files]
    first = found[0]
    if first is None or None in found:
        return None
    return first if _is_archive(known, first) else first.parent


def _find(known: Known, file: KnownFile, data_dir: str | Path | None) -> Path | None:
    return next((path for path in _places(known, file, data_dir) if path.is_file()), None)


def _places(known: Known, file: KnownFile, data_dir: str | Path | None) -> list[Path]:
    """Where a file, or the archive that holds it, may lie."""
    names = dict.fromkeys((file.name, file.name.removesuffix(".gz")))
    wanted = [f"{folder}/{name}" for folder in known.folders for name in names]
    wanted += [known.archive.name] if known.archive else []
    named = [folder for folder in (data_dir, os.environ.get("BROLLY_DATA")) if folder]
    return [Path(folder) / path for folder in (*named, _cache()) for path in wanted]


def _cache() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("brolly"))


def _is_archive(known: Known, path: Path) -> bool:
    return known.archive is not None and path.name == Path(known.archive.name).name


def _fetch(known: Known, file: KnownFile, data_dir: str | Path | None) -> Path:
    """Downloads a file, or the archive that holds it, into the cache."""
    published = known.archive or file
    place = published.name if known.archive else f"{known.folders[0]}/{file.name}"
    target = _cache() / place
    try:
        download([mirror + target.name for mirror in known.mirrors], target, published.published)
    except (DownloadError, OSError) as error:
        tried = "\n".join(
            f"  {path}" for path in _places(known, file, data_dir) if path.name == target.name
        )
        content = f", md5 of its content {file.content}" if file.content else ""
        raise ValueError(
            f"{known.name} is not on this machine and could not be downloaded ({error}). Put "
            f"{target.name} (md5 {published.published}{content}) at one of\n{tried}\n"
            "or name its folder with --data-dir or the variable BROLLY_DATA"
        ) from None
    return target


def _contents(known: Known, places: Sequence[Path]) -> list[Content]:
    """What the files of a set hold, verified; each archive is read once."""
    names = [file.name for file in known.files]
    archives = {
        path: read_contents(path, names) for path in set(places) if _is_archive(known, path)
    }
    contents = []
    for file, place in zip(known.files, places, strict=True):
        if place not in archives:
            stored = Content(str(place), place.read_bytes())
        elif file.name in archives[place]:
            stored = archives[place][file.name]
        else:
            raise ValueError(f"{place} does not hold {file.name}. {_LEFT}")
        compressed = file.name.endswith(".gz") and stored.where.endswith(".gz")
        contents.append(_verified(file, stored, compressed))
    return contents


_LEFT = "It was left as it is: replace it, or remove it to have it downloaded"


def _verified(file: KnownFile, stored: Content, compressed: bool) -> Content:
    content = stored
    if compressed:
        try:
            content = decompressed(stored)
        except ValueError as error:
            raise ValueError(f"{error}; expected {_expected(file)}. {_LEFT}") from None
    if file.content or not file.name.endswith(".gz"):
        expected, given, what = file.content or file.published, content, "its content"
    elif compressed:
        expected, given, what = file.published, stored, "the file"
    else:
        return content  # what a published .gz of it holds is not known
    found = hashlib.md5(given.data, usedforsecurity=False).hexdigest()
    if found != expected:
        raise ValueError(
            f"{stored.where} holds other data than expected: md5 of {what} is {found}, expected "
            f"{expected}. {_LEFT}"
        )
    return content


def _expected(file: KnownFile) -> str:
    return f"content with md5 {file.content}" if file.content else f"md5 {file.published}"
