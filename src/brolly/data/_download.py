"""Downloads that go on where they were cut off, and are whole or absent."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import IO

#: Seconds without a byte after which a server counts as gone.
TIMEOUT = 30

_BLOCK = 2**20


class DownloadError(Exception):
    """No mirror gave the file; the message says what each of them did."""


def download(urls: Sequence[str], target: Path, md5: str) -> None:
    """Fetches a file from the first mirror that has it.

    What arrives is kept in `<target>.part`, from where the next call goes on, and is renamed to
    `target` once its md5 is right. A second process waits for the first and takes its file.

    Args:
        urls: Where the file lies; tried in turn.
        target: Where it goes.
        md5: Hash of its bytes.

    Raises:
        DownloadError: No mirror can be reached and has the right file.
        OSError: It cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    failures = []
    with _open_alone(part) as file:
        if target.exists():  # another process has fetched it meanwhile
            part.unlink(missing_ok=True)
            return
        for url in urls:
            try:
                _complete(file, url, md5)
            except _Unusable as error:
                failures.append(f"{url}: {error}")
            else:
                os.fsync(file.fileno())
                part.replace(target)
                return
        if not os.fstat(file.fileno()).st_size:
            part.unlink()
    raise DownloadError("; ".join(failures))


class _Unusable(Exception):
    """A mirror does not give the file."""


def _open_alone(part: Path) -> IO[bytes]:
    """The file, to append to, once no other process has it open so."""
    while True:
        file = part.open("ab+")
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # removed by the process that had it


def _complete(file: IO[bytes], url: str, md5: str) -> None:
    """Gets the rest of a file, for as long as the server sends anything new."""
    size = old = file.seek(0, os.SEEK_END)
    while True:
        try:
            _append(file, url)
        except _Unusable:
            before, size = size, file.seek(0, os.SEEK_END)
            if size <= before:
                raise
            continue
        found = _md5(file)
        if found == md5:
            return
        file.truncate(0)
        if not old:
            raise _Unusable(f"its file has md5 {found}, expected {md5}")
        size = old = 0  # the beginning, from an earlier call, may have been at fault


def _append(file: IO[bytes], url: str) -> None:
    start = file.seek(0, os.SEEK_END)
    headers = {"User-Agent": "brolly"} | ({"Range": f"bytes={start}-"} if start else {})
    response = _open(urllib.request.Request(url, headers=headers))
    if response is None:
        return
    with response:
        if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            file.truncate(0)  # it sends the whole
        length, received = response.headers.get("Content-Length"), 0
        while block := _read(response):
            file.write(block)
            received += len(block)
        file.flush()
    if length is not None and received < int(length):
        raise _Unusable(f"the connection ended after {received} of {length} bytes")


def _open(request: urllib.request.Request) -> http.client.HTTPResponse | None:
    """The server's answer; None where it has nothing beyond the bytes that are here."""
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            return None
        raise _Unusable(f"HTTP {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Unusable(_words(error)) from None


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _Unusable(_words(error)) from None


def _words(error: Exception) -> str:
    reason = getattr(error, "reason", None)  # what urllib wraps
    return _words(reason) if isinstance(reason, Exception) else f"{type(error).__name__}: {error}"


def _md5(file: IO[bytes]) -> str:
    file.seek(0)
    return hashlib.file_digest(
        file,  # pyright: ignore[reportArgumentType]
        lambda: hashlib.md5(usedforsecurity=False),
    ).hexdigest()
