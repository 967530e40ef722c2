"""Data sets of other libraries: what they hold is what ours hold."""

import io
import sys

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from brolly.data import Reading, Stored, from_hugging_face, from_torch, load_data, read_source
from brolly.data import sentences as sentences_of
from brolly.recipes import Data


def pixels(count=6, shape=(5, 4, 3), seed=0):
    return np.random.default_rng(seed).integers(256, size=(count, *shape), dtype=np.uint8)


def pictures(arrays, names=("cat", "dog", "owl"), image="img", label="fine"):
    labels = [row % len(names) for row in range(len(arrays))]
    features = datasets.Features({label: datasets.ClassLabel(names=list(names)),
                                  image: datasets.Image()})  # fmt: skip
    images = [Image.fromarray(array) for array in arrays]
    return datasets.Dataset.from_dict({image: images, label: labels}, features=features)


def test_hugging_face_images():
    arrays = {"train": pixels(), "test": pixels(4, seed=1), "extra": pixels(2, seed=2)}
    theirs = datasets.DatasetDict({key: pictures(each) for key, each in arrays.items()})
    data = from_hugging_face(theirs, name="mine", validation=0)
    assert isinstance(data.train.inputs, Stored)
    assert data.classes == ("cat", "dog", "owl")
    for split in (data.train, data.test):
        assert np.array_equal(split.read().permute(0, 2, 3, 1).numpy(), arrays[split.name])
        assert split.labels.tolist() == [row % 3 for row in range(len(split))]
    rows = torch.tensor([5, 0, 5])
    expected = arrays["train"][[5, 0, 5]]
    assert np.array_equal(data.train.read(rows).permute(0, 2, 3, 1).numpy(), expected)
    assert (data.name, data.bounds, data.train.scale) == ("mine", (0, 1), 255)


def test_hugging_face_grey_images_shuffled_and_cut():
    arrays = pixels(20, (5, 4))
    theirs = pictures(arrays).shuffle(seed=3)
    order = [int(np.flatnonzero((arrays == np.array(image)).all((1, 2)))[0])
             for image in theirs["img"]]  # fmt: skip
    data = from_hugging_face(theirs, validation=0, test=0)
    assert np.array_equal(data.train.read()[:, 0].numpy(), arrays[order])
    assert data.train.labels.tolist() == [row % 3 for row in order]
    data = from_hugging_face(theirs, validation=0.25, test=0.2)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [12, 4, 4]


def test_hugging_face_images_of_several_sizes():
    theirs = datasets.concatenate_datasets([pictures(pixels(3)), pictures(pixels(3, (8, 8, 3)))])
    with pytest.raises(ValueError, match=r"differ in size: train/0 .* train/3 .*Pass size"):
        from_hugging_face(theirs)
    assert from_hugging_face(theirs, size=6, colour="grey").shape == (1, 6, 6)


def test_hugging_face_images_that_are_broken():
    buffer = io.BytesIO()
    Image.fromarray(pixels(1)[0]).save(buffer, "png")
    cells = [{"bytes": content, "path": None} for content in (buffer.getvalue(), b"no image")]
    rows = {"image": [*cells, None], "label": ["a", "b", "c"]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    theirs = datasets.Dataset.from_dict(rows, features=features)
    with pytest.raises(ValueError, match="train/1 cannot be read as an image"):
        from_hugging_face(theirs, name="mine")
    with pytest.warns(UserWarning, match="2 of 3 images of mine cannot be read"):
        data = from_hugging_face(theirs, name="mine", skip_broken=True, validation=0, test=0)
    assert data.train.labels.tolist() == [0]


def test_hugging_face_images_in_files(tmp_path):
    arrays = pixels(2)
    for row, array in enumerate(arrays):
        Image.fromarray(array).save(tmp_path / f"{row}.png")
    rows = {"image": [str(tmp_path / f"{row}.png") for row in range(2)], "label": [0, 1]}
    theirs = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    data = from_hugging_face(theirs, validation=0, test=0)
    assert np.array_equal(data.train.read().permute(0, 2, 3, 1).numpy(), arrays)
    (tmp_path / "1.png").unlink()
    with pytest.raises(ValueError, match="train/1 cannot be read"):
        data.train.read()


def sentences(**more):
    rows = {"text": ["Gut.", "Schlecht – sehr."], "label": [1, 0], **more}
    return datasets.Dataset.from_dict(rows)


def test_hugging_face_text():
    train = sentences().cast_column("label", datasets.ClassLabel(names=["neg", "mid", "pos"]))
    data = from_hugging_face(datasets.DatasetDict(train=train), validation=0, test=0)
    assert data.classes == ("neg", "mid", "pos")
    assert sentences_of(data.train) == ["Gut.", "Schlecht – sehr."]
    data = from_hugging_face(train, text="text", label="label", validation=0, test=0)
    assert data.train.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("theirs", "options", "message"),
    [
        ({"a": 1}, {}, "dataset is a dict; expected a Dataset or DatasetDict"),
        (datasets.DatasetDict(all=sentences()), {}, "has the splits all; expected train"),
        (sentences(), {"label": "kind"}, r"no column 'kind'; its columns are text \(Value\)"),
        (sentences(), {"image": "label"}, "column label is of type Value.*expected Image"),
        (sentences(), {"size": 8}, "text has no use for it"),
        (sentences(sentence=["a", "b"]), {}, "say which one holds the inputs"),
        (sentences(y=[0, 1]), {}, r"say which one holds the class: label='\.\.\.'"),
        (sentences(label=[0, -1]), {}, "column label of train, row 1 is -1: .* hidden"),
        (sentences(label=[None, 1]), {}, "column label of train, row 0 is None"),
        (sentences(text=["a", None]), {}, "column text of train, row 1 is None; expected text"),
        (sentences().to_iterable_dataset(), {}, "IterableDataset; expected .* without streaming"),
    ],
)
def test_hugging_face_faults(theirs, options, message):
    with pytest.raises(ValueError, match=message):
        from_hugging_face(theirs, **options)


def test_hugging_face_by_name(monkeypatch):
    asked = []

    def load_dataset(name, configuration):
        asked.append((name, configuration))
        if name == "absent":
            raise FileNotFoundError("no such data set")
        return datasets.DatasetDict(train=sentences(kind=["x", "y"]))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    data = load_data("hf:someone/some", validation=0, test=0)
    assert (data.name, data.classes) == ("someone/some", ("0", "1"))
    assert Data(name="hf:some:small", label="kind").load().classes == ("x", "y")
    with pytest.raises(ValueError, match=r"'absent' \(FileNotFoundError: no such data set\)"):
        load_data("hf:absent")
    with pytest.raises(ValueError, match="mapping is"):
        load_data("hf:some", mapping={})
    assert asked == [("someone/some", None), ("some", "small"), ("absent", None)]


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"pip install 'brolly\[hugging-face\]'"):
        read_source("hf:some", Reading())


class Folder(Dataset):
    """Like torchvision's: Pillow images, a transform, and class names."""

    def __init__(self, arrays, transform=lambda image: image):
        self.arrays, self.transform = arrays, transform
        self.classes = ["cat", "dog", "owl"]

    def __len__(self):
        return len(self.arrays)

    def __getitem__(self, row):
        return self.transform(Image.fromarray(self.arrays[row])), row % 2


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


@pytest.mark.parametrize("transform", [lambda image: image, np.array, to_tensor])
def test_torchvision_like_data(transform):
    arrays = pixels(10)
    train = Folder(arrays, transform)
    data = from_torch(train, Subset(train, [1, 3]), validation=0.2, name="birds")
    assert data.classes == ("cat", "dog", "owl")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [8, 2, 2]
    assert data.bounds == (0, 1)
    found = data.test.scaled(data.test.read()).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(found, arrays[[1, 3]] / np.float32(255))
    assert data.test.labels.tolist() == [1, 1]
    assert data.name == "birds"


def test_tensors_and_a_validation_set():
    x, y = torch.linspace(-2, 3, 24).view(6, 4), torch.tensor([3, 5, 3, 5, 3, 3])
    whole = TensorDataset(x, y)
    data = from_torch(whole, whole, validation=Subset(whole, [2]))
    assert torch.equal(data.train.inputs, x)
    assert torch.equal(data.validation.inputs, x[2:3])
    assert data.classes == ("3", "5")
    assert data.bounds == (-2, 3)
    assert from_torch(whole, bounds=(-5.0, 5.0)).bounds == (-5, 5)
    assert from_torch(whole, classes=[*"abcdef"]).train.labels.max() == 5


def normalised(image):
    return (to_tensor(image) - 0.5) / 0.25


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Folder(pixels(), normalised), "span .*Leave Normalize out of the transform"),
        (Folder(pixels(), lambda image: image.convert("CMYK")), "mode CMYK; expected L or RGB"),
        (Folder(pixels(), lambda image: "text"), "input 0 is a str; expected a Pillow image"),
        (Folder(pixels(20), lambda i: torch.rand(3, 5, 4)), "item 0 is another when it is read"),
        (Folder(pixels(0)), "has no items"),
        (Folder([*pixels(2), *pixels(2, (8, 8, 3))]), r"item 2 has shape \(8, 8, 3\).*Resize"),
        (Stream(), "is a Stream without a length or items"),
        (TensorDataset(torch.rand(3, 1, 2, 2)), "item 0 is a tuple; expected an input and its"),
        (TensorDataset(torch.rand(3, 1, 2, 2), torch.rand(3)), "class 0 is a float; expected a"),
        (TensorDataset(torch.rand(3, 1, 2, 2), torch.ones(3, 2)), r"class 0 is a Tensor of shape"),
    ],
)
def test_what_from_torch_refuses(given, message):
    with pytest.raises(ValueError, match=message):
        from_torch(given)
