"""Downloads: resumed, verified, whole or absent, from the first mirror that works."""

import hashlib
import http.server
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from brolly.data._download import DownloadError, download

CONTENT = np.random.default_rng(0).bytes(100_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT; what paths do differs, and what was asked is kept."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []
        self.cuts: dict[str, list[int]] = {}

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format, *args):
        pass

    def do_GET(self):
        kind, asked = self.path[1:], self.headers.get("Range")
        self.server.asked.append((kind, asked))
        content = bytes(len(CONTENT)) if kind == "wrong" else CONTENT
        if kind == "missing":
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start >= len(content):
            self.send_error(416)
            return
        if kind == "whole":  # knows no ranges
            start = 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        cuts = self.server.cuts.get(kind)  # the connection breaks after so many bytes
        length = cuts.pop(0) if cuts else len(content)
        self.wfile.write(content[start : start + length])


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "cache" / "file.gz"


def only(target: Path) -> bool:
    """Whether the folder holds the right file and nothing else."""
    return target.read_bytes() == CONTENT and list(target.parent.iterdir()) == [target]


def part_of(target: Path, content: bytes) -> Path:
    target.parent.mkdir()
    part = target.with_name("file.gz.part")
    part.write_bytes(content)
    return part


def test_a_whole_download(server, target):
    download([server.url("good")], target, MD5)
    assert only(target)
    assert server.asked == [("good", None)]


@pytest.mark.parametrize("cut", [1, 40_000, 99_999])
def test_a_broken_connection_is_taken_up_where_it_broke(server, target, cut):
    server.cuts["good"] = [cut]
    download([server.url("good")], target, MD5)
    assert only(target)
    assert server.asked == [("good", None), ("good", f"bytes={cut}-")]


def test_the_next_call_goes_on_with_what_an_earlier_one_left(server, target):
    part_of(target, CONTENT[:70_000])
    download([server.url("good")], target, MD5)
    assert only(target)
    assert server.asked == [("good", "bytes=70000-")]


def test_another_mirror_goes_on_with_what_the_first_sent(server, target):
    server.cuts["first"] = [30_000, 0]
    download([server.url("first"), server.url("good")], target, MD5)
    assert only(target)
    assert server.asked == [
        ("first", None), ("first", "bytes=30000-"), ("good", "bytes=30000-")
    ]  # fmt: skip


def test_a_server_without_ranges_sends_the_whole_again(server, target):
    part_of(target, CONTENT[:30_000])
    download([server.url("whole")], target, MD5)
    assert only(target)
    assert server.asked == [("whole", "bytes=30000-")]


@pytest.mark.parametrize(
    "left", [b"other" * 100, CONTENT + b"more", bytes(len(CONTENT))], ids=["other", "more", "full"]
)
def test_a_wrong_beginning_is_thrown_away(server, target, left):
    part_of(target, left)
    download([server.url("good")], target, MD5)
    assert only(target)
    assert server.asked == [("good", f"bytes={len(left)}-"), ("good", None)]


def test_the_next_mirror_is_asked_where_one_fails_or_lies(server, target):
    closed = "http://127.0.0.1:9/none"
    download([closed, *map(server.url, ("missing", "wrong", "good", "wrong"))], target, MD5)
    assert only(target)
    assert server.asked == [("missing", None), ("wrong", None), ("good", None)]


def test_what_each_mirror_did_is_said_and_nothing_is_left(server, target):
    urls = ["http://127.0.0.1:9/none", server.url("missing"), server.url("wrong")]
    with pytest.raises(DownloadError) as caught:
        download(urls, target, MD5)
    found = hashlib.md5(bytes(len(CONTENT))).hexdigest()
    for url in urls:
        assert url in str(caught.value)
    for words in ("Connection refused", "HTTP 404", f"md5 {found}, expected {MD5}"):
        assert words in str(caught.value)
    assert list(target.parent.iterdir()) == []


def test_what_arrived_stays_where_the_server_gives_up(server, target):
    server.cuts["whole"] = [500, 400]  # it knows no ranges, and brings less the second time
    with pytest.raises(DownloadError, match=r"ended after 400 of 100000 bytes"):
        download([server.url("whole")], target, MD5)
    assert target.with_name("file.gz.part").read_bytes() == CONTENT[:400]
    assert not target.exists()


def test_who_else_wants_the_file_waits_for_the_first(server, target):
    # Locks hold between open files, so threads stand for processes here.
    barrier = threading.Barrier(3)

    def fetch(number: int) -> None:
        barrier.wait()
        download([server.url("good")], target, MD5)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(fetch, range(3)))
    assert only(target)
    assert server.asked == [("good", None)]


def test_a_folder_that_cannot_be_made_is_not_blamed_on_the_mirrors(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        download([server.url("good")], tmp_path / "file" / "cache" / "x", MD5)
    assert server.asked == []


def test_a_full_disk_leaves_no_file(server, target, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        download([server.url("good"), server.url("good")], target, MD5)
    assert not target.exists()
    assert server.asked == [("good", None)]
    monkeypatch.undo()
    download([server.url("good")], target, MD5)
    assert only(target)
