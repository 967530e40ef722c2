"""Text: what is stored gives the sentences back, and folders of text are told from others."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import brolly
from brolly.data import Reading, load_data, read_source, sentences
from brolly.data._text import is_text_folder, source_of_sentences

LINES = {"neg": ["Bad.", "Schlecht – \t sehr.  "], "pos": ["好", " leading space", "two\u2028one"]}


def put(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in files.items():
        (folder / name).write_bytes("".join(f"{line}\n" for line in lines).encode())
    return folder


def whole(path):
    return load_data(path, validation=0, test=0).train


@pytest.mark.parametrize("form", ["{}.txt", "reviews.{}"])
def test_a_folder_with_a_file_for_each_class(tmp_path, form):
    folder = put(tmp_path / "mine", {form.format(label): x for label, x in LINES.items()})
    put(folder, {"README.md": ["What this is."], "LICENSE": ["Free."], ".hidden": ["x"]})
    assert is_text_folder(folder)
    train = whole(folder)
    assert train.classes == ("neg", "pos")
    assert train.labels.tolist() == [0, 0, 1, 1, 1]
    assert sentences(train) == [*LINES["neg"], *LINES["pos"]]
    assert (train.dataset, train.dtype, train.scale) == ("mine", torch.uint8, 1)
    assert train.shape == (max(len(x.encode()) for lines in LINES.values() for x in lines),)
    assert load_data(folder).bounds == (0, 255)


def test_folders_of_splits(tmp_path):
    put(tmp_path / "train", {"pos.txt": ["a", "b"], "neg.txt": ["c"]})
    put(tmp_path / "test", {"pos.txt": ["longer"], "neg.txt": ["d"]})
    data = load_data(tmp_path, validation=0)
    assert sentences(data.train) == ["c", "a", "b"]
    assert sentences(data.test) == ["d", "longer"]
    assert data.train.shape == data.test.shape == (6,)


def test_lines_with_labels(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes(b"\xef\xbb\xbf2\tGood.\r\n\r\n10\tA\ttab.\n2\tlast")
    train = whole(path)
    assert train.classes == ("10", "2")
    assert train.labels.tolist() == [1, 0, 1]
    assert sentences(train) == ["Good.", "A\ttab.", "last"]


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), min_size=1, max_size=5)
)
def test_any_text_comes_back(texts):
    labels = np.arange(len(texts)) % 2
    source = source_of_sentences("mine", {"train": (texts, labels)}, "mine")
    assert sentences(source.dataset(validation=0, test=0).train) == texts


def test_sentences_of_a_part_in_any_order(tmp_path):
    train = whole(put(tmp_path / "mine", {f"{label}.txt": x for label, x in LINES.items()}))
    found = sentences(train.select(torch.tensor([4, 0, 4])))
    assert found == ["two\u2028one", "Bad.", "two\u2028one"]
    assert sentences(train.first(0)) == []


def test_sentences_are_not_read_from_images():
    x, y = torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4).long()
    images = brolly.Dataset.from_tensors("mine", (x, y), (x, y))
    with pytest.raises(ValueError, match=r"mine/test holds torch\.uint8 of shape \(1, 8, 8\)"):
        sentences(images.test)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"only.txt": b"one class"},
        {"a.txt": b"text", "b.md": b"other"},  # neither the stems nor the ends agree
        {"a.jpg": b"\xff\xd8\xff\xe0\0\x10JFIF", "a.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"},
        {"a.txt": b"text", "b.txt": b"te\0t"},
        {"mine.csv": b"label,a", "mine.json": b"{}"},
        {"a.txt": b"text", "b.txt": b"text", "class/a.jpg": b"picture"},
        {"pos/a.txt": b"text", "pos/b.txt": b"text"},
        {"train/a.txt": b"text", "train/b.txt": b"text", "extra/a.txt": b"text"},
    ],
)
def test_what_is_no_folder_of_text(tmp_path, files):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert not is_text_folder(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no sentences to train on"),
        (b"1\tgood\nno tab\n", r"line 2 is 'no tab'; expected label<TAB>sentence"),
        (b"1\tgood\n\n\tno label\n", r"line 3 is '\\tno label'"),
        (b"1\tgood\n2\t \n", "line 2 is"),
        (b"1\tgood\n2\tno\xe9l\n", "line 2 holds the byte 0xe9, which is not UTF-8"),
        (b"1\tgood\n2\tze\0ro\n", "sentence 1 of train holds the character 0"),
        (b"label\tsentence\n1\tgood\n", r"names of columns; call it mine\.tsv"),
    ],
)
def test_faults_are_placed(tmp_path, content, message):
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_source(path, Reading())
    assert str(path) in str(caught.value)


def test_faults_in_a_folder_are_placed(tmp_path):
    put(tmp_path, {"pos.txt": ["good"], "neg.txt": []})
    with pytest.raises(ValueError, match=r"neg\.txt has no sentences"):
        load_data(tmp_path)
    (tmp_path / "neg.txt").write_bytes(b"fine\nfine\nno\xe9l\n")
    with pytest.raises(ValueError, match=r"neg\.txt, line 3 holds the byte 0xe9"):
        load_data(tmp_path)
    for option in ({"size": 8}, {"label": "y"}, {"bounds": (0.0, 1.0)}):
        with pytest.raises(ValueError, match="a folder of text has no use for it"):
            load_data(tmp_path, **option)


def test_files_called_like_splits_are_no_classes(tmp_path):
    put(tmp_path, {"train.txt": ["1\tgood"], "test.txt": ["0\tbad"]})
    with pytest.raises(ValueError, match=r"files called test\.txt, train\.txt; expected one for"):
        load_data(tmp_path)


def test_the_real_sentences(data_folder):
    folder = data_folder / "rt-polarity"
    data = brolly.load_data(folder)
    assert data.classes == ("neg", "pos")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [7677, 853, 2132]
    train = whole(folder)
    assert train.labels.bincount().tolist() == [5331, 5331]
    lines = [
        line
        for label in data.classes
        for line in (folder / f"rt-polarity.{label}").read_bytes().decode().split("\n")
        if line
    ]
    assert sentences(train) == lines
