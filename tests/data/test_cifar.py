"""CIFAR in its three forms, in folders and archives; pickles that are more than data."""

import io
import os
import pickle
import pickletools
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from brolly.data import load_data
from brolly.data._cifar import cifar_parts, is_cifar
from brolly.data._content import Content

TEN = ["airplane", "automobile", "bird"]
FINE, COARSE = ["apple", "bear", "crab", "worm"], ["fruit", "animal"]

# What Python 2's cPickle writes for {'data': array([[7, 8]], dtype=uint8), 'labels': [3]}.
PYTHON_2 = (
    b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\n"
    b"q\x04K\x00\x85U\x01b\x87Rq\x05(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01"
    b"\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x00\x0c\x00\x00"
    + bytes(range(256)) * 12
    + b"tbU\x06labelsq\x08]q\tK\x03au."
)


def batches(set_name: str) -> list[tuple[str, np.ndarray, dict[str, list[int]]]]:
    """Files of two images each, with their labels by kind; the last one is the test's."""
    generator = np.random.default_rng(0)
    if set_name == "cifar-10":
        names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
        kinds = {"labels": 3}
    else:
        names, kinds = ["train", "test"], {"coarse_labels": 2, "fine_labels": 4}
    return [
        (
            name,
            generator.integers(256, size=(2, 3072), dtype=np.uint8),
            {kind: generator.integers(count, size=2).tolist() for kind, count in kinds.items()},
        )
        for name in names
    ]


def write(folder: Path, set_name: str, form: str) -> Path:
    folder.mkdir()
    names = (
        {"label_names": TEN}
        if set_name == "cifar-10"
        else {"fine_label_names": FINE, "coarse_label_names": COARSE}
    )
    meta = "batches.meta" if set_name == "cifar-10" else "meta"
    for name, data, labels in batches(set_name):
        if form == "python":
            held = {"data": data, **labels, "filenames": ["a.png", "b.png"], "batch_label": name}
            (folder / name).write_bytes(pickle.dumps(held, protocol=2))
        elif form == "matlab":
            columns = {kind: np.array(each, np.uint8)[:, None] for kind, each in labels.items()}
            scipy.io.savemat(folder / f"{name}.mat", {"data": data, **columns})
        else:
            records = np.column_stack([*(np.array(each) for each in labels.values()), data])
            (folder / f"{name}.bin").write_bytes(records.astype(np.uint8).tobytes())
    if form == "python":
        (folder / meta).write_bytes(pickle.dumps(names, protocol=2))
    elif form == "matlab":
        cells = {key: np.array(each, dtype=object)[:, None] for key, each in names.items()}
        scipy.io.savemat(folder / f"{meta}.mat", cells)
    elif set_name == "cifar-10":
        (folder / "batches.meta.txt").write_text("\n".join(TEN) + "\n\n")
    else:
        (folder / "fine_label_names.txt").write_text("\n".join(FINE) + "\n")
        (folder / "coarse_label_names.txt").write_text("\n".join(COARSE) + "\n")
    return folder


def packed(folder: Path, kind: str) -> Path:
    """The folder in an archive, below a folder of its own name."""
    if kind == "folder":
        return folder
    return Path(shutil.make_archive(str(folder), kind, folder.parent, folder.name))


def expected(set_name: str, labels: str) -> tuple[np.ndarray, list[int]]:
    files = batches(set_name)
    images = np.concatenate([data for _, data, _ in files])
    # Red, green and blue one after the other, each row by row.
    images = np.stack(
        [images[:, c * 1024 : (c + 1) * 1024].reshape(-1, 32, 32) for c in range(3)], 1
    )
    return images, [label for *_, kinds in files for label in kinds[labels]]


@pytest.mark.parametrize("kind", ["folder", "gztar", "tar", "zip"])
@pytest.mark.parametrize("form", ["python", "binary", "matlab"])
@pytest.mark.parametrize(
    ("set_name", "label", "key", "classes"),
    [
        ("cifar-10", None, "labels", TEN),
        ("cifar-100", None, "fine_labels", FINE),
        ("cifar-100", "fine", "fine_labels", FINE),
        ("cifar-100", "coarse", "coarse_labels", COARSE),
    ],
)
def test_every_form_holds_the_same(tmp_path, set_name, label, key, classes, form, kind):
    path = packed(write(tmp_path / "mine", set_name, form), kind)
    assert is_cifar(path)
    data = load_data(path, label=label, validation=0.0)
    images, labels = expected(set_name, key)
    assert np.array_equal(data.train.inputs.numpy(), images[:-2])
    assert np.array_equal(data.test.inputs.numpy(), images[-2:])
    assert data.train.labels.tolist() == labels[:-2]
    assert data.test.labels.tolist() == labels[-2:]
    assert data.classes == tuple(classes)
    assert data.name == set_name


def test_pickles_of_python_2(tmp_path):
    pickletools.dis(PYTHON_2, out=io.StringIO())
    parts = cifar_parts([Content("a", PYTHON_2), Content("b", PYTHON_2)], "labels")
    values = np.array(list(range(256)) * 12).reshape(1, 3, 32, 32)
    assert np.array_equal(parts["test"].inputs.numpy(), values)
    assert parts["train"].labels.tolist() == [3]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_any_protocol(protocol):
    (_, data, labels), *_ = batches("cifar-10")
    content = Content("a", pickle.dumps({b"data": data, b"labels": labels["labels"]}, protocol))
    parts = cifar_parts([content, content], "labels")
    assert np.array_equal(parts["test"].inputs.flatten(1).numpy(), data)
    assert parts["test"].labels.tolist() == labels["labels"]


class Touch:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, path: Path, call):
        self.path, self.call = path, call

    def __reduce__(self):
        return self.call, (str(self.path),)


@pytest.mark.parametrize("call", [os.mkdir, os.system, eval, io.open, np.fromfile])
def test_no_code_in_a_pickle_is_run(tmp_path, call):
    folder = write(tmp_path / "mine", "cifar-10", "python")
    made = tmp_path / "made"
    held = {"data": Touch(made, call), "labels": [0]}
    (folder / "data_batch_3").write_bytes(pickle.dumps(held, protocol=2))
    with pytest.raises(ValueError, match="nothing else is loaded") as caught:
        load_data(folder)
    assert str(folder / "data_batch_3") in str(caught.value)
    assert not made.exists()


def test_arrays_of_objects_bring_no_code_either(tmp_path):
    held = {"data": np.array([Touch(tmp_path / "made", os.mkdir)]), "labels": [0]}
    content = Content("batch", pickle.dumps(held, protocol=2))
    with pytest.raises(ValueError, match="nothing else is loaded"):
        cifar_parts([content, content], "labels")
    assert not (tmp_path / "made").exists()


def change(path: Path, **values) -> None:
    path.write_bytes(pickle.dumps({**pickle.loads(path.read_bytes()), **values}))


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "data_batch_4").unlink(), "lacks data_batch_4; expected data"),
        (lambda folder: (folder / "batches.meta").unlink(), r"lacks batches\.meta; expected"),
        (lambda folder: cut(folder / "data_batch_4", 900), "data_batch_4 is damaged or no pickle"),
        (lambda folder: cut(folder / "test_batch", 0), "test_batch is damaged or no pickle"),
        (lambda folder: change(folder / "test_batch", labels=[1]), "2 images, but 1 labels"),
        (lambda folder: change(folder / "test_batch", data=np.zeros((2, 7), np.uint8)),
         r"test_batch holds data of shape \(2, 7\); expected \(n, 3072\)"),
        (lambda folder: change(folder / "test_batch", data=[1]), "expected uint8 data and labels"),
        (lambda folder: change(folder / "test_batch", labels=[0, 3]), "span .* to 3; expected 0"),
        (lambda folder: (folder / "test_batch").write_bytes(pickle.dumps([1])), "holds a list"),
        (lambda folder: (folder / "batches.meta").write_bytes(pickle.dumps({})),
         r"batches\.meta has no label_names"),
    ],
)  # fmt: skip
def test_damaged_pickles(tmp_path, damage, message):
    folder = write(tmp_path / "mine", "cifar-10", "python")
    damage(folder)
    with pytest.raises(ValueError, match=message):
        load_data(folder)


@pytest.mark.parametrize(
    ("form", "name", "message"),
    [
        ("binary", "train.bin", "train.bin holds 3000 bytes; expected a multiple of 3074"),
        ("matlab", "train.mat", "train.mat is damaged or no MATLAB file"),
    ],
)
def test_damaged_files_of_the_other_forms(tmp_path, form, name, message):
    folder = write(tmp_path / "mine", "cifar-100", form)
    cut(folder / name, 3000)
    with pytest.raises(ValueError, match=message) as caught:
        load_data(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("kind", ["gztar", "tar"])
@pytest.mark.parametrize("kept", [0.3, 0.6])
def test_a_truncated_archive_is_named_and_left_alone(tmp_path, kind, kept):
    path = packed(write(tmp_path / "mine", "cifar-10", "binary"), kind)
    cut(path, int(kept * path.stat().st_size))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"truncated or no archive|lacks") as caught:
        load_data(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


def test_labels_that_a_set_does_not_have(tmp_path):
    folder = write(tmp_path / "mine", "cifar-10", "binary")
    with pytest.raises(ValueError, match=r"label is 'coarse'; .* holds CIFAR-10"):
        load_data(folder, label="coarse")
    with pytest.raises(ValueError, match="colour is 'grey', but CIFAR has no use"):
        load_data(folder, colour="grey")


def test_what_is_no_cifar(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    (tmp_path / "train.mat").touch()
    assert not is_cifar(tmp_path)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("train/cat/1.png", b"")
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("train/cat/1.png"))
    (tmp_path / "c.tar.gz").write_bytes(b"damaged")
    for name in ("a.zip", "b.tar.gz", "c.tar.gz", "train.mat", "none"):
        assert not is_cifar(tmp_path / name)


def test_images_own_their_memory(tmp_path):
    data = load_data(write(tmp_path / "mine", "cifar-10", "binary"))
    data.train.inputs[0] = 7
    assert torch.all(data.train.inputs[0] == 7)
