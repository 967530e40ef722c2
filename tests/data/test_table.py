"""Tables: which column is what, pixels and features, and where a fault lies."""

import builtins

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch

from brolly.data import Reading, load_data, read_source, sentences


def read(path, **options):
    return read_source(path, Reading(**options))


def table(folder, text, suffix=".csv", encoding="utf-8"):
    path = folder / f"mine{suffix}"
    path.write_bytes(text.encode(encoding))
    return path


def parquet(folder, **columns):
    path = folder / "mine.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def written(folder, names, rows, suffix):
    """The same table in three forms."""
    if suffix == ".parquet":
        columns = zip(*rows, strict=True)
        return parquet(folder, **{name: list(column) for name, column in zip(names, columns)})  # noqa: B905
    separator = {".csv": ",", ".tsv": "\t"}[suffix]
    lines = [separator.join(map(str, row)) for row in (names, *rows)]
    return table(folder, "\n".join(lines) + "\n", suffix)


forms = pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])


@forms
def test_features(tmp_path, suffix):
    rows = [("dog", 1.5, 20), ("cat", -2.0, 10), ("dog", 0.25, 30)]
    source = read(written(tmp_path, ("Class", "length", "mass"), rows, suffix))
    inputs, labels = source.parts["train"]
    assert torch.equal(inputs, torch.tensor([[1.5, 20], [-2, 10], [0.25, 30]]))
    assert labels.tolist() == [1, 0, 1]
    assert (source.name, source.classes) == ("mine", ("cat", "dog"))
    assert (source.scale, source.bounds) == (1, (-2, 30))


@forms
def test_a_column_tells_the_splits(tmp_path, suffix):
    rows = [(1, "train", 0.5), (2, "test", 1.5), (1, "val", 2.5), (2, "train", 3.5)]
    path = written(tmp_path, ("y", "split", "a"), rows, suffix)
    data = load_data(path)
    found = {s.name: s.inputs[:, 0].tolist() for s in (data.train, data.validation, data.test)}
    assert found == {"train": [0.5, 3.5], "validation": [2.5], "test": [1.5]}
    assert data.train.labels.tolist() == [0, 1]
    assert data.bounds == (0.5, 3.5)


@forms
def test_the_label_may_have_any_name_and_place(tmp_path, suffix):
    rows = [(1.0, "b", 0.5), (2.0, "a", 1.5)]
    source = read(written(tmp_path, ("y", "kind", "target"), rows, suffix), label="kind")
    assert source.parts["train"].inputs.tolist() == [[1.0, 0.5], [2.0, 1.5]]
    assert source.classes == ("a", "b")


@forms
@pytest.mark.parametrize(
    ("names", "shape"),
    [
        ([f"pixel{at}" for at in range(16)], (1, 4, 4)),
        ([f"{row}x{column}" for row in (1, 2, 3) for column in (1, 2, 3)], (1, 3, 3)),  # Kaggle
        ([f"pixel_{row}_{column}" for row in (0, 1) for column in (0, 1)], (1, 2, 2)),
        ([str(at) for at in range(12)], (3, 2, 2)),
        ([f"grey {at} of some" for at in range(64)], (1, 8, 8)),
    ],
)
def test_pixels(tmp_path, suffix, names, shape):
    pixels = np.random.default_rng(0).integers(256, size=(5, *shape))
    rows = [(at % 2, *image.ravel().tolist()) for at, image in enumerate(pixels)]
    source = read(written(tmp_path, ("label", *names), rows, suffix))
    inputs = source.parts["train"].inputs
    assert inputs.dtype == torch.uint8
    assert np.array_equal(inputs.numpy(), pixels)
    assert (source.scale, source.bounds) == (255, (0, 1))


@pytest.mark.parametrize(
    ("names", "row"),
    [
        (("age", "height", "mass", "size"), (1, 2, 3, 4)),  # four names that number nothing
        (("pixel0", "pixel1", "pixel2", "pixel3"), (1, 2, 3, 256)),
        (("pixel0", "pixel1", "pixel2", "pixel3"), (1, 2, 3, 0.5)),
        (("pixel0", "pixel1", "pixel2", "pixel3"), (1, 2, 3, -1)),
        (("pixel0", "pixel1", "pixel2", "pixel3", "pixel4"), (1, 2, 3, 4, 5)),
    ],
)
def test_what_is_no_image_is_features(tmp_path, names, row):
    path = written(tmp_path, ("label", *names), [(0, *row), (1, *row)], ".csv")
    assert read(path).parts["train"].inputs.tolist() == [list(row)] * 2


@forms
def test_text(tmp_path, suffix):
    rows = [("7", "Grüße.", "good"), ("8", "No!", "bad")]
    source = read(written(tmp_path, ("id", "Sentence", "label"), rows, suffix))
    assert source.classes == ("bad", "good")
    assert sentences(source.dataset(validation=0, test=0).train) == ["Grüße.", "No!"]


def test_quotes_are_for_commas_not_for_tabs(tmp_path):
    text = 'text,label\n"He said ""no"", twice\nin two lines.",1\n'
    train = read(table(tmp_path, text)).dataset(validation=0, test=0).train
    assert sentences(train) == ['He said "no", twice\nin two lines.']
    text = 'text\tlabel\n"No", he said\t1\n'
    train = read(table(tmp_path, text, ".tsv")).dataset(validation=0, test=0).train
    assert sentences(train) == ['"No", he said']


def test_what_spreadsheets_add_is_left_out(tmp_path):
    text = "\ufefflabel, a , b\r\n1, 2 , 3\r\n\r\n0,4,5\r\n"
    source = read(table(tmp_path, text))
    assert source.parts["train"].inputs.tolist() == [[2, 3], [4, 5]]
    assert source.classes == ("0", "1")


def test_labels_that_are_numbers_are_in_their_order(tmp_path):
    assert read(table(tmp_path, "y,a\n10,1\n9,2\n")).classes == ("9", "10")
    assert read(table(tmp_path, "y,a\n1.0,1\n0.0,2\n")).classes == ("0", "1")
    assert read(table(tmp_path, "y,a\n10,1\n9,2\nx,3\n")).classes == ("10", "9", "x")
    assert read(table(tmp_path, "y,a\n01,1\n1,2\n")).classes == ("01", "1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column called label, class, target, y; its columns are none"),
        ("label,a\n", "has no rows"),
        ("a,b\n1,2\n", r"no column called .* its columns are a, b\. Say which .*label='"),
        ("y,label,a\n1,2,3\n", "the columns y and label called"),
        ("label,a,b,a\n1,2,3,4\n", "two columns 'a'"),
        ("label,a,,b\n1,2,3,4\n", r"column 3 of 4 has no name.*index=False"),
        ("Unnamed: 0,label,a\n1,2,3\n", "'Unnamed: 0'"),
        ("label\n1\n", "no columns beside label; expected inputs"),
        ("5,0,0\n4,1,2\n", "begins with numbers; expected names of columns"),
        ("label,a,b\n1,2,3\n0,4\n", "line 3 has 2 cells; expected 3"),
        ("label,a,b\n1,2,3\n\n0,4,5,6\n", "line 4 has 4 cells; expected 3"),
        ("label,a,b\n1,2,3\n0,x,4\n", "line 3, column a is 'x'; expected a number"),
        ("label,a,b\n1,2,3\n0,4,\n", "line 3, column b is empty; expected a number"),
        ("label,a,b\n1,2,3\n0,nan,4\n", "line 3, column a is 'nan'"),
        ("label,a,b\n1,2,3\n0,4,1e39\n", "line 3, column b is '1e39'"),
        ("label,a,b\n1,2,3\n ,4,5\n", "line 3, column label is empty"),
        ("label,split,a\n1,train,3\n0,dev,4\n", "line 3: split is 'dev'; expected train, valid"),
        ("label,split,a\n1,test,3\n", "no rows for training; its splits are test"),
        ("label,text\n1,\n", "line 2, column text is empty"),
        ("label,a\n0.5,1\n", r"holds 0\.5 \(example 0\); expected classes"),
        ('label,text\n1,"a"b"\n', "line 2: ',' expected after"),
        ('label,text\n1,"a\n', "line 2: unexpected end of data"),
    ],
)
def test_faults_are_placed(tmp_path, text, message):
    path = table(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_bytes_that_are_not_utf_8(tmp_path):
    path = table(tmp_path, "label,text\n1,fine\n0,Grüße\n", encoding="latin1")
    with pytest.raises(ValueError, match="line 3 holds the byte 0xfc, which is not UTF-8"):
        read(path)


def test_a_label_that_is_no_column(tmp_path):
    with pytest.raises(ValueError, match="has no column 'kind'; its columns are label, a"):
        read(table(tmp_path, "label,a\n1,2\n"), label="kind")


@pytest.mark.parametrize("option", [{"size": (8, 8)}, {"mapping": {}}, {"colour": "rgb"}])
def test_options_without_use_are_refused(tmp_path, option):
    with pytest.raises(ValueError, match="a table has no use for it"):
        read(table(tmp_path, "label,a\n1,2\n"), **option)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [0, 1], "a": [1.0, None]}, "row 1, column a is empty"),
        ({"label": [0, None], "a": [1.0, 2.0]}, "row 1, column label is empty"),
        ({"label": [0, 1], "a": [1.0, float("inf")]}, "column a, row 1 is inf"),
        ({"label": [0, 1], "a": ["x", "y"]}, "column a holds string; expected numbers"),
        ({"label": [0, 1], "image": [{"bytes": b"x"}, None]}, "row 1, column image is empty"),
        ({"label": [0], "image": [{"bytes": b"x"}]}, "image holds struct.*from_hugging_face"),
        ({"label": [0], "a": [1], "__index_level_0__": [0]}, "index=False"),
    ],
)
def test_faults_in_parquet_are_placed(tmp_path, columns, message):
    with pytest.raises(ValueError, match=message):
        read(parquet(tmp_path, **columns))


def test_a_parquet_file_with_names_as_a_dictionary(tmp_path):
    path = parquet(tmp_path, label=pyarrow.array(["b", "a"]).dictionary_encode(), a=[True, False])
    assert read(path).classes == ("a", "b")
    assert read(path).parts["train"].inputs.tolist() == [[1], [0]]


def test_a_damaged_parquet_file_is_named(tmp_path):
    path = parquet(tmp_path, label=[0, 1], a=[1, 2])
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"mine\.parquet is damaged or no Parquet file"):
        read(path)


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    path = parquet(tmp_path, label=[0, 1], a=[1, 2])
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ImportError("no pyarrow here")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"pip install 'brolly\[parquet\]'"):
        read(path)
