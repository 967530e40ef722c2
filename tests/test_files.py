"""Files are whole or absent, whatever goes wrong while they are written."""

import errno
import hashlib
import json
import os
import subprocess
import sys

import pytest

from brolly._files import replacing, sha256, write_json, write_text


def test_new_content_takes_the_place_of_the_old(tmp_path):
    path = tmp_path / "folder" / "note.txt"
    write_text(path, "old")
    write_text(path, "ε ≤ 8/255")
    assert path.read_bytes() == "ε ≤ 8/255".encode()
    assert [p.name for p in path.parent.iterdir()] == ["note.txt"]


def test_the_temporary_file_lies_beside_the_final_one(tmp_path):
    with replacing(tmp_path / "note.txt") as temporary:
        temporary.write_text("new")
        assert temporary.parent == tmp_path  # the same file system, or renaming is not atomic
        assert not (tmp_path / "note.txt").exists()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_keeps_the_old_content_and_no_temporary_file(tmp_path, error):
    path = tmp_path / "note.txt"
    write_text(path, "old")
    with pytest.raises(error), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failing_sync_keeps_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "note.txt"
    write_text(path, "old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_synced_before_it_is_renamed(tmp_path, monkeypatch):
    path, seen = tmp_path / "note.txt", []
    fsync = os.fsync

    def recorded(descriptor):
        seen.append("folder" if path.exists() else os.fstat(descriptor).st_size)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    write_text(path, "12345")
    assert seen == [5, "folder"]


@pytest.mark.parametrize(("umask", "mode"), [("022", 0o644), ("077", 0o600), ("002", 0o664)])
def test_permissions_follow_the_umask(tmp_path, umask, mode):
    path = tmp_path / "note.txt"
    script = "import os, sys; os.umask(int(sys.argv[2], 8)); " + (
        "from brolly._files import write_text; write_text(sys.argv[1], 'x'); "
        "assert os.umask(0) == int(sys.argv[2], 8)"
    )
    subprocess.run([sys.executable, "-c", script, str(path), umask], check=True)
    assert path.stat().st_mode & 0o777 == mode


def test_json_is_strict(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, {"a": [1, 0.5, None]})
    assert json.loads(path.read_text()) == {"a": [1, 0.5, None]}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": [1, 0.5, None]}


def test_sha256_is_that_of_the_parts_in_a_row():
    assert sha256(b"ab", memoryview(b"c")) == hashlib.sha256(b"abc").hexdigest()
    assert sha256() == hashlib.sha256().hexdigest()
