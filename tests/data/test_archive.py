"""Folders of images inside a zip or tar: the same as unpacked, and safe from hostile archives."""

import io
import os
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from brolly.data import load_data

SUFFIXES = ("zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz")


def image(seed=0, height=6, width=5, kind="png"):
    array = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return file.getvalue()


FILES = {
    "pets/README": b"about them",
    **{
        f"pets/{kind}/{at}.png": image(5 * y + at) for y, kind in enumerate("ab") for at in range(5)
    },
}


def pack_zip(path, files, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def pack_tar(path, files, links=()):
    kind = {"gz": "gz", "tgz": "gz", "bz2": "bz2", "xz": "xz"}.get(path.name.rsplit(".", 1)[1], "")
    with tarfile.open(path, f"w:{kind}") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type = tarfile.DIRTYPE
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        for name, target, sort in links:
            member = tarfile.TarInfo(name)
            member.linkname, member.type = target, sort
            archive.addfile(member)
    return path


def pack(path, files):
    return (pack_zip if path.suffix == ".zip" else pack_tar)(path, files)


def unpack(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_archive_holds_what_its_folder_holds(tmp_path, suffix):
    unpack(tmp_path / "folder", FILES)
    path = pack(tmp_path / f"pets.{suffix}", FILES)
    data, folder = load_data(path, in_memory=False), load_data(tmp_path / "folder")
    assert data.name == "pets"
    assert data.sha256 == folder.sha256
    again = pickle.loads(pickle.dumps(data.train.inputs))
    rows = torch.tensor([3, 0, 3])
    assert torch.equal(again.read(rows), folder.train.read(rows))
    assert sorted(os.listdir(tmp_path)) == ["folder", path.name]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_methods(tmp_path, method):
    unpack(tmp_path / "folder", FILES)
    path = pack_zip(tmp_path / "pets.zip", FILES, method)
    assert load_data(path).sha256 == load_data(tmp_path / "folder").sha256


def test_a_zip_with_something_before_it(tmp_path):
    path = pack_zip(tmp_path / "pets.zip", FILES)
    expected = load_data(path).sha256
    path.write_bytes(b"#!/bin/sh\nexit\n" + path.read_bytes())
    assert load_data(path).sha256 == expected


def test_names_of_other_systems(tmp_path):
    files = {
        "./a\\1.png": image(1),
        "./b/1.png": image(2),
        "__MACOSX/a/._1.png": b"",
        "b/.DS_Store": b"",
        "b/Thumbs.db": b"",
    }
    for suffix in ("zip", "tar"):
        data = load_data(pack(tmp_path / f"x.{suffix}", files), validation=0, test=0)
        assert data.classes == ("a", "b")
        assert data.train.labels.tolist() == [0, 1]


def test_the_last_of_two_members_with_one_name_counts_as_when_unpacked(tmp_path):
    path = tmp_path / "x.tar"
    pack_tar(path, {"a/1.png": image(1)})
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("a/1.png")
        member.size = len(image(2))
        archive.addfile(member, io.BytesIO(image(2)))
    (found,) = load_data(path, validation=0, test=0).train.read()
    assert np.array_equal(found.permute(1, 2, 0), Image.open(io.BytesIO(image(2))))


def test_large_headers_are_read_past_the_first_bytes(tmp_path):
    comment = os.urandom(60_000) + bytes(60_000)
    file = io.BytesIO()
    Image.new("RGB", (5, 6), "red").save(file, "JPEG", icc_profile=comment)
    for suffix in ("zip", "tar"):
        path = pack(tmp_path / f"x.{suffix}", {"a/1.jpg": file.getvalue()})
        data = load_data(path, validation=0, test=0)
        assert data.shape == (3, 6, 5)
        assert (data.train.read()[0, 0] > 250).all()


# Faults


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize(
    "name", ["../x.png", "a/../../x.png", "/etc/x.png", "C:/x.png", "C:\\x.png", "\\x.png", "../x"]
)
def test_a_path_that_leads_out_is_refused(tmp_path, suffix, name):
    path = pack(tmp_path / f"x.{suffix}", {**FILES, name: image()})
    with pytest.raises(ValueError, match="a path that leads out of the archive"):
        load_data(path)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.95])
def test_a_truncated_archive_is_refused(tmp_path, suffix, kept):
    path = pack(tmp_path / f"x.{suffix}", FILES)
    content = path.read_bytes()
    cut = content[: kept if kept in (0, 10) else int(kept * len(content.rstrip(b"\0")))]
    path.write_bytes(cut)
    with pytest.raises(ValueError, match=r"x\.\S+ is damaged or no such archive"):
        load_data(path)
    assert path.read_bytes() == cut


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_no_archive_is_refused(tmp_path, suffix):
    (tmp_path / f"x.{suffix}").write_bytes(b"words and no archive " * 100)
    with pytest.raises(ValueError, match="is damaged or no such archive"):
        load_data(tmp_path / f"x.{suffix}")


def test_a_damaged_header_does_not_end_a_tar_early(tmp_path):
    path = pack_tar(tmp_path / "x.tar", FILES)
    with tarfile.open(path) as archive:
        offset = archive.getmember("pets/b/2.png").offset
    content = bytearray(path.read_bytes())
    content[offset + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"no valid header and no end of the archive at {offset}"):
        load_data(path)


def test_a_damaged_member_is_named_or_left_out(tmp_path):
    path = pack_zip(tmp_path / "x.zip", FILES, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(FILES["pets/b/2.png"]) + 60] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"pets/b/2\.png is damaged: it is not the \d+ bytes"):
        load_data(path)
    with pytest.warns(UserWarning, match=r"1 of 10 .* left out: pets/b/2\.png"):
        data = load_data(path, skip_broken=True, test=0, validation=0)
    assert data.train.labels.tolist() == [0] * 5 + [1] * 4


def test_a_damaged_deflated_member_is_named(tmp_path):
    path = pack_zip(tmp_path / "x.zip", FILES)
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("pets/b/2.png")
    content = bytearray(path.read_bytes())
    at = info.header_offset + 30 + len(info.filename)
    content[at : at + 20] = b"\xff" * 20
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"pets/b/2\.png is damaged"):
        load_data(path)


def test_a_directory_that_points_elsewhere_is_refused(tmp_path):
    path = pack_zip(tmp_path / "x.zip", FILES)
    content = path.read_bytes().replace(b"PK\3\4", b"PK\3\5")
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not where the directory says"):
        load_data(path)


def test_an_encrypted_zip_is_refused(tmp_path):
    path = pack_zip(tmp_path / "x.zip", {"a/1.png": image()})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1  # the flag in the directory
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a/1\.png is encrypted; pack it again without"):
        load_data(path)


def test_rare_methods_are_refused(tmp_path):
    path = pack_zip(tmp_path / "x.zip", FILES, zipfile.ZIP_BZIP2)
    with pytest.raises(ValueError, match=r"pets/a/0\.png is packed by method 12; expected stored"):
        load_data(path)


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz"])
def test_a_member_larger_than_the_limit_is_refused(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr("brolly.data._archive.LARGEST_MEMBER", 100)
    path = pack(tmp_path / f"x.{suffix}", {"a/1.bmp": bytes(101)})
    with pytest.raises(ValueError, match=r"a/1\.bmp would unpack to 101 bytes; the limit .* 100"):
        load_data(path)


def test_many_members_that_unpack_to_very_much_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("brolly.data._archive.MUCH", 10**6)
    path = pack_zip(tmp_path / "x.zip", {f"a/{at}.bmp": bytes(200_000) for at in range(10)})
    with pytest.raises(ValueError, match=r"unpack to 2,000,000, more than 100 times .* zip bomb"):
        load_data(path)


def test_a_member_that_unpacks_to_more_than_it_says_is_refused(tmp_path):
    path = pack_zip(tmp_path / "x.zip", {"a/1.bmp": bytes(10**6)})
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\1\2") + 24, 1000)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a/1\.bmp is damaged: it is not the 1000 bytes"):
        load_data(path)


def test_a_compressed_tar_too_large_for_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("brolly.data._archive.LARGEST_TAR", 10**6)
    path = pack_tar(tmp_path / "x.tar.gz", {**FILES, "other": bytes(10**6)})
    with pytest.raises(ValueError, match=r"unpacks to more than .* GiB.* as \.zip or as plain"):
        load_data(path)
    assert load_data(pack_tar(tmp_path / "x.tar", {**FILES, "other": bytes(10**6)})).shape


@pytest.mark.parametrize("sort", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_archives_are_refused(tmp_path, sort):
    links = [("pets/a/link.png", "/etc/passwd", sort)]
    path = pack_tar(tmp_path / "x.tar", FILES, links)
    with pytest.raises(ValueError, match=r"pets/a/link\.png is a link.*--dereference"):
        load_data(path)


def test_links_in_zips_are_refused(tmp_path):
    path = pack_zip(tmp_path / "x.zip", FILES)
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("pets/a/link.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ValueError, match=r"pets/a/link\.png is a link"):
        load_data(path)


@pytest.mark.parametrize("suffix", ["zip", "tar"])
def test_a_class_without_images_and_an_empty_archive_are_named(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    if suffix == "zip":
        pack(path, {**FILES, "pets/c/": b""})
    else:
        pack(path, {**FILES, "pets/c": None})
    with pytest.raises(ValueError, match="class 'c' of train has no images"):
        load_data(path)
    with pytest.raises(ValueError, match=r"holds no images.*expected class/name\.jpg"):
        load_data(pack(path, {"README": b""}))


def test_an_archive_that_goes_away_is_named(tmp_path):
    path = pack_zip(tmp_path / "x.zip", FILES)
    inputs = load_data(path, in_memory=False).train.inputs
    path.unlink()
    with pytest.raises(ValueError, match=r"x\.zip cannot be read: No such file"):
        inputs.read(torch.tensor([0]))
