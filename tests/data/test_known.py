"""Known sets: where they are found, how they are verified, and what is said of damage."""

import dataclasses
import functools
import gzip
import hashlib
import http.server
import io
import pickle
import shutil
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from brolly.data import DATASETS, Reading, _download, find_data, is_here, load_data
from brolly.data._cifar import cifar_parts
from brolly.data._content import Content
from brolly.data._download import DownloadError
from brolly.data._find import locate, read_known
from brolly.data._idx import emnist_parts, idx_parts
from brolly.data._known import KNOWN, Known, KnownFile
from brolly.data._svhn import svhn_parts


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def idx(values: np.ndarray) -> bytes:
    sizes = b"".join(int(size).to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.astype(np.uint8).tobytes()


def idx_contents() -> dict[str, bytes]:
    """Six training and two test images, and their labels."""
    generator = np.random.default_rng(0)
    arrays = {
        "train-images": generator.integers(256, size=(6, 3, 2)),
        "train-labels": np.array([0, 1, 0, 1, 0, 1]),
        "test-images": generator.integers(256, size=(2, 3, 2)),
        "test-labels": np.array([1, 0]),
    }
    return {name: idx(array) for name, array in arrays.items()}


CONTENTS = idx_contents()
PUBLISHED = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in CONTENTS.items()}
SMALL = Known(
    name="small",
    folders=("Small/raw", "Small"),
    files=tuple(
        KnownFile(name, md5(file), md5(gzip.decompress(file))) for name, file in PUBLISHED.items()
    ),
    mirrors=("http://a/", "http://b/"),
    parts=idx_parts,
    classes=("no", "yes"),
    licence="free",
    citation="us",
)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("gzip/", b"")
        for name, content in PUBLISHED.items():
            archive.writestr(f"gzip/{name}", content)
    return buffer.getvalue()


#: As EMNIST is published: gzip files in a zip, of which the content's hashes are not known.
ZIPPED = dataclasses.replace(
    SMALL,
    files=tuple(KnownFile(name, md5(file)) for name, file in PUBLISHED.items()),
    parts=functools.partial(emnist_parts, first=0),
    archive=KnownFile("Small/raw/all.zip", md5(zipped())),
)


def read(known: Known, data_dir: Path | None = None):
    return read_known(known, Reading(data_dir=data_dir)).dataset(validation=0.0)


def put(folder: Path, names: tuple[str, ...] = tuple(PUBLISHED)) -> Path:
    raw = folder / "Small" / "raw"
    raw.mkdir(parents=True)
    for name in names:
        (raw / name).write_bytes(PUBLISHED[name])
    return raw


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, no BROLLY_DATA and no network."""
    monkeypatch.delenv("BROLLY_DATA", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))

    def offline(urls, target, md5):
        raise DownloadError("; ".join(f"{url}: offline" for url in urls))

    monkeypatch.setattr("brolly.data._find.download", offline)
    return tmp_path / "cache" / "brolly"


@pytest.fixture
def online(cache, monkeypatch) -> list[tuple]:
    """What was asked for in the network, which has the small sets."""
    asked = []

    def download(urls, target, md5):
        asked.append((urls, target, md5))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes({**PUBLISHED, "all.zip": zipped()}[target.name])

    monkeypatch.setattr("brolly.data._find.download", download)
    return asked


@pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
def test_what_is_known_is_complete(known):
    files = [*known.files, *([known.archive] if known.archive else [])]
    for file in files:
        for digest in (file.published, file.content or file.published):
            assert len(bytes.fromhex(digest)) == 16
    assert len({file.published for file in files}) == len(files)
    assert known.licence
    assert known.citation
    assert all(mirror.endswith("/") for mirror in known.mirrors)
    assert len(set(known.classes)) == len(known.classes)


def test_numbers_of_classes():
    numbers = {
        "mnist": 10, "fashion-mnist": 10, "kmnist": 10, "emnist-balanced": 47,
        "emnist-byclass": 62, "emnist-bymerge": 47, "emnist-digits": 10, "emnist-letters": 26,
        "emnist-mnist": 10, "cifar-10": 10, "cifar-100": 100, "cifar-100-coarse": 20, "svhn": 10,
    }  # fmt: skip
    assert {name: len(known.classes) for name, known in KNOWN.items()} == numbers
    assert KNOWN["cifar-100"].classes == tuple(sorted(KNOWN["cifar-100"].classes))


@pytest.mark.parametrize("place", ["Small/raw", "Small"])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_files_are_found_packed_and_unpacked(tmp_path, cache, place, end):
    folder = tmp_path / place
    folder.mkdir(parents=True)
    for name, content in CONTENTS.items():
        (folder / f"{name}{end}").write_bytes(PUBLISHED[f"{name}.gz"] if end else content)
    assert locate(SMALL, tmp_path) == folder
    data = read(SMALL, tmp_path)
    assert data.train.inputs.flatten().numpy().tobytes() == CONTENTS["train-images"][16:]
    assert data.test.labels.tolist() == [1, 0]
    assert (data.name, data.licence, data.citation) == ("small", "free", "us")


def test_the_content_decides_not_its_gzip_wrapper(tmp_path, cache):
    raw = put(tmp_path)
    again = gzip.compress(CONTENTS["train-images"], compresslevel=1, mtime=12345)
    assert again != PUBLISHED["train-images.gz"]
    (raw / "train-images.gz").write_bytes(again)
    data = read(SMALL, tmp_path)
    assert data.train.inputs.flatten().numpy().tobytes() == CONTENTS["train-images"][16:]
    # Where the content's hash is not known, that of the file decides.
    with pytest.raises(ValueError, match=f"md5 of the file is {md5(again)}, expected"):
        read(ZIPPED, tmp_path)


@pytest.mark.parametrize("end", ["", ".gz"])
def test_tampered_content_is_named_and_left_alone(tmp_path, cache, end):
    raw = put(tmp_path)
    changed = CONTENTS["train-labels"][:-1] + b"\0"
    (raw / "train-labels.gz").unlink()
    path = raw / f"train-labels{end}"
    path.write_bytes(gzip.compress(changed) if end else changed)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="holds other data than expected") as caught:
        read(SMALL, tmp_path)
    for part in (str(path), md5(CONTENTS["train-labels"]), md5(changed)):
        assert part in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("cut", [5, 12, 30, -1])
def test_truncated_gzip_is_named_and_left_alone(tmp_path, cache, cut):
    path = put(tmp_path) / "test-images.gz"
    path.write_bytes(path.read_bytes()[:cut])
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"no gzip file.*expected content with md5") as err:
        read(SMALL, tmp_path)
    assert str(path) in str(err.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"not gzip at all", b"\x1f\x8b\x08\0\0\0\0\0\0\0garbage"])
def test_garbage_is_named(tmp_path, cache, content):
    (put(tmp_path) / "train-images.gz").write_bytes(content)
    with pytest.raises(ValueError, match="truncated or no gzip file"):
        read(SMALL, tmp_path)


def test_search_order_is_the_argument_the_variable_the_cache(tmp_path, cache, monkeypatch):
    named, variable = tmp_path / "named", tmp_path / "variable"
    for folder in (named, variable, cache):
        put(folder)
    monkeypatch.setenv("BROLLY_DATA", str(variable))
    for folder in (named, variable, cache):
        assert locate(SMALL, named) == folder / "Small" / "raw"
        # A damaged file in the first place is an error, so the read one is known.
        (folder / "Small" / "raw" / "train-images.gz").write_bytes(b"damaged")
        with pytest.raises(ValueError, match="truncated") as caught:
            read(SMALL, named)
        assert str(folder) in str(caught.value)
        shutil.rmtree(folder)
    assert locate(SMALL, named) is None


def test_failed_download_names_the_file_and_the_places(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("BROLLY_DATA", str(tmp_path / "variable"))
    with pytest.raises(ValueError, match="could not be downloaded") as caught:
        read(SMALL, tmp_path / "named")
    message = str(caught.value)
    for folder in (tmp_path / "named", tmp_path / "variable", cache):
        for place in ("Small/raw", "Small"):
            assert str(folder / place / "train-images.gz") in message
    file = SMALL.files[0]
    for part in ("http://a/train-images.gz: offline", "http://b/", file.published, file.content,
                 "--data-dir", "BROLLY_DATA"):  # fmt: skip
        assert part in message


def test_failed_download_of_an_archive_names_the_archive(tmp_path, cache):
    with pytest.raises(ValueError, match="could not be downloaded") as caught:
        read(ZIPPED, tmp_path)
    for part in (str(tmp_path / "Small/raw/all.zip"), str(cache / "Small/raw/all.zip"),
                 "http://b/all.zip", ZIPPED.archive.published):  # fmt: skip
        assert part in str(caught.value)


def test_download_goes_to_the_cache(online, cache):
    data = read(SMALL)
    assert len(data.train) == 6
    assert locate(SMALL) == cache / "Small" / "raw"
    assert online == [
        (
            [f"http://a/{name}", f"http://b/{name}"],
            cache / "Small" / "raw" / name,
            md5(PUBLISHED[name]),
        )
        for name in PUBLISHED
    ]


def test_only_what_is_missing_is_downloaded(online, cache, tmp_path):
    put(tmp_path, tuple(PUBLISHED)[:3])
    read(SMALL, tmp_path)
    assert [target for _, target, _ in online] == [cache / "Small" / "raw" / "test-labels.gz"]


def test_an_archive_is_downloaded_once_and_read_as_it_is(online, cache):
    for _ in range(2):
        data = read(ZIPPED)
        images = np.frombuffer(CONTENTS["train-images"][16:], np.uint8).reshape(6, 3, 2)
        # EMNIST's images lie on their side.
        assert np.array_equal(data.train.inputs[:, 0].numpy(), images.transpose(0, 2, 1))
    assert locate(ZIPPED) == cache / "Small" / "raw" / "all.zip"
    assert [target for _, target, _ in online] == [cache / "Small" / "raw" / "all.zip"]
    assert [path.name for path in (cache / "Small" / "raw").iterdir()] == ["all.zip"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped()[:200], r"all\.zip is truncated or no archive"),
        (
            zipped().replace(PUBLISHED["test-images.gz"], bytes(len(PUBLISHED["test-images.gz"]))),
            r"all\.zip is truncated or no archive",
        ),
        (b"PK\x05\x06" + bytes(18), r"all\.zip does not hold train-images\.gz"),
    ],
    ids=["truncated", "damaged", "empty"],
)
def test_a_damaged_archive(tmp_path, cache, content, message):
    path = tmp_path / "Small" / "raw" / "all.zip"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read(ZIPPED, tmp_path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


@pytest.mark.usefixtures("cache")
def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr("brolly.data._find.download", _download.download)
    (tmp_path / "cache").touch()  # a file where the folder is to be
    with pytest.raises(ValueError, match=r"could not be downloaded \(.*cache") as caught:
        read(SMALL, tmp_path / "named")
    assert str(tmp_path / "named" / "Small" / "raw" / "train-images.gz") in str(caught.value)


def test_from_a_server_into_the_cache_and_into_memory(tmp_path, cache, monkeypatch):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            pass

    published = put(tmp_path / "server")
    monkeypatch.setattr("brolly.data._find.download", _download.download)
    handler = functools.partial(Quiet, directory=str(published))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        data = read(dataclasses.replace(SMALL, mirrors=(f"{url}none/", url)))
        server.shutdown()
        thread.join()
    assert data.train.inputs.flatten().numpy().tobytes() == CONTENTS["train-images"][16:]
    here = {path.name: path.read_bytes() for path in (cache / "Small" / "raw").iterdir()}
    assert here == PUBLISHED


def small_cifar() -> tuple[Known, dict[str, bytes]]:
    generator = np.random.default_rng(1)
    contents = {
        name: pickle.dumps(
            {"data": generator.integers(256, size=(2, 3072), dtype=np.uint8), "labels": [1, 0]}, 2
        )
        for name in ("data_batch_1", "data_batch_2", "test_batch")
    }
    known = dataclasses.replace(
        KNOWN["cifar-10"],
        files=tuple(KnownFile(name, md5(content)) for name, content in contents.items()),
        parts=functools.partial(cifar_parts, labels="labels"),
    )
    return known, contents


@pytest.mark.parametrize("form", ["archive", "folder"])
def test_cifar_in_torchvisions_places(tmp_path, cache, form):
    known, contents = small_cifar()
    if form == "folder":
        place = tmp_path / "cifar-10-batches-py"
        place.mkdir()
        for name, content in contents.items():
            (place / name).write_bytes(content)
    else:
        place = tmp_path / "cifar-10-python.tar.gz"
        with tarfile.open(place, "w:gz") as archive:
            for name, content in reversed(contents.items()):
                info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    assert locate(known, tmp_path) == place
    data = read(known, tmp_path)
    assert data.train.labels.tolist() == [1, 0, 1, 0]
    pixels = [pickle.loads(content)["data"] for content in contents.values()]
    assert np.array_equal(data.train.inputs.flatten(1).numpy(), np.concatenate(pixels[:2]))
    assert np.array_equal(data.test.inputs.flatten(1).numpy(), pixels[2])
    other = dataclasses.replace(
        known, files=(*known.files[:1], KnownFile("data_batch_2", "0" * 32), *known.files[2:])
    )
    with pytest.raises(ValueError, match=f"data_batch_2 holds other data .* expected {'0' * 32}"):
        read(other, tmp_path)


def mat(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, arrays)
    return buffer.getvalue()


@pytest.mark.parametrize("folder", ["SVHN", "svhn", "."])
def test_svhn(tmp_path, cache, folder):
    generator = np.random.default_rng(2)
    images = generator.integers(256, size=(32, 32, 3, 4), dtype=np.uint8)
    contents = {
        "train_32x32.mat": mat(X=images, y=np.array([[10], [1], [9], [10]], np.uint8)),
        "test_32x32.mat": mat(X=images[..., :2], y=np.array([[2], [10]], np.uint8)),
    }
    known = dataclasses.replace(
        KNOWN["svhn"],
        files=tuple(KnownFile(name, md5(content)) for name, content in contents.items()),
    )
    (tmp_path / folder).mkdir(exist_ok=True)
    for name, content in contents.items():
        (tmp_path / folder / name).write_bytes(content)
    data = read(known, tmp_path)
    assert data.train.labels.tolist() == [0, 1, 9, 0]
    assert data.test.labels.tolist() == [2, 0]
    assert data.shape == (3, 32, 32)
    for example in range(4):
        for channel in range(3):
            plane = torch.from_numpy(images[:, :, channel, example].copy())
            assert torch.equal(data.train.inputs[example, channel], plane)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (mat(X=np.zeros((32, 32, 3, 4), np.uint8), y=np.zeros((3, 1))), "4 images, but 3 labels"),
        (mat(X=np.zeros((32, 32, 3, 4)), y=np.zeros((4, 1))), "float64 .* expected uint8 X"),
        (mat(data=np.zeros(3)), r"holds \{'data': .*\}; expected uint8 X"),
        (mat(X=np.zeros((32, 32, 3, 4), np.uint8))[:300], "damaged or no MATLAB file"),
        (b"", "damaged or no MATLAB file"),
        (b"garbage" * 100, "damaged or no MATLAB file"),
    ],
)
def test_damaged_svhn(content, message):
    file = Content("folder/train_32x32.mat", content)
    with pytest.raises(ValueError, match=message) as caught:
        svhn_parts([file, file])
    assert "folder/train_32x32.mat" in str(caught.value)


def test_find_data_reads_nothing(tmp_path, cache):
    for known, count in ((KNOWN["mnist"], 4), (KNOWN["kmnist"], 3)):
        raw = tmp_path / known.folders[0]
        raw.mkdir(parents=True)
        for file in known.files[:count]:
            (raw / file.name).touch()
    (tmp_path / "cifar-100-python.tar.gz").touch()
    found = find_data(tmp_path)
    assert tuple(found) == DATASETS
    assert found["mnist"] == str(tmp_path / "MNIST" / "raw")
    assert found["kmnist"].startswith("not found")
    assert (
        found["cifar-100"] == found["cifar-100-coarse"] == str(tmp_path / "cifar-100-python.tar.gz")
    )
    assert is_here("mnist", tmp_path)
    assert not is_here("kmnist", tmp_path)
    assert is_here("digits")


def test_known_sets_take_no_options_of_readers(tmp_path, cache):
    with pytest.raises(ValueError, match="colour is 'rgb', but mnist has no use for it"):
        load_data("mnist", colour="rgb")
    with pytest.raises(ValueError, match=r"size is \(8, 8\), but digits has no use for it"):
        load_data("digits", size=8)
