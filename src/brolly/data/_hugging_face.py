"""Data sets of the library `datasets` by Hugging Face."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ._arrays import encode_labels, split_called
from ._dataset import Dataset, Part, Source
from ._images import open_images
from ._members import Members
from ._reading import Colour, Reading
from ._stored import view
from ._text import LABEL_COLUMNS, TEXT_COLUMNS, source_of_sentences

if TYPE_CHECKING:
    import datasets


def from_hugging_face(
    dataset: datasets.DatasetDict | datasets.Dataset,
    *,
    image: str | None = None,
    text: str | None = None,
    label: str | None = None,
    name: str | None = None,
    validation: float = 0.1,
    test: float = 0.2,
    size: int | tuple[int, int] | None = None,
    colour: Colour | None = None,
    skip_broken: bool = False,
) -> Dataset:
    """Makes a data set of one by Hugging Face; images are decoded when they are read.

    Its splits called train, validation and test are used, other ones are left out. Needs
    `pip install 'brolly[hugging-face]'`.

    Args:
        dataset: Splits, or the training data alone.
        image: Column of images; None: the only one of that type.
        text: Column of text, if that is the input; None: the one called text or sentence, if there
            are no images.
        label: Column of classes; None: the only one of type `ClassLabel`, or the one called label,
            class, target or y.
        name: What to call it; None: as the library does.
        validation, test, size, colour, skip_broken: As in `load_data`.

    Raises:
        ValueError: Columns are missing or of another type, classes are hidden (-1), or images are
            broken or differ in kind.

    Example:
        >>> import brolly, datasets
        >>> rows = {"text": ["I like it.", "I do not."], "label": ["good", "bad"]}
        >>> theirs = datasets.DatasetDict(train=datasets.Dataset.from_dict(rows))
        >>> mine = brolly.data.from_hugging_face(theirs, validation=0, test=0)
        >>> brolly.data.sentences(mine.train), mine.classes, mine.train.labels
        (['I like it.', 'I do not.'], ('bad', 'good'), tensor([1, 0]))
    """
    reading = Reading(
        size=(size, size) if isinstance(size, int) else size,
        colour=colour, skip_broken=skip_broken, label=label,
    )  # fmt: skip
    source = _source(dataset, name, reading, image, text)
    return source.dataset(validation=validation, test=test)


def read_hugging_face(name: str, reading: Reading) -> Source:
    """Loads `NAME` or `NAME:CONFIGURATION` with the library, which downloads what it lacks.

    Raises:
        ValueError: The library is missing or cannot load it, or as `from_hugging_face`.
    """
    reading.refuse("a data set of Hugging Face", "mapping", "bounds")
    path, _, configuration = name.partition(":")
    try:
        loaded = _library().load_dataset(path, configuration or None)
    except Exception as error:  # whatever the library and the network stack raise
        raise ValueError(
            f"Hugging Face's library could not load {name!r} ({type(error).__name__}: {error})"
        ) from None
    return _source(loaded, path, reading, None, None)


def _library() -> Any:
    try:
        import datasets
    except Exception as error:  # a broken installation raises anything
        raise ValueError(
            f"this needs the library datasets ({error}). Install it with: "
            "pip install 'brolly[hugging-face]'"
        ) from None
    return datasets


def _source(
    given: Any, name: str | None, reading: Reading, image: str | None, text: str | None
) -> Source:
    library = _library()
    if isinstance(given, library.Dataset):
        given = {"train": given}
    if not isinstance(given, dict) or not all(
        isinstance(split, library.Dataset) for split in given.values()
    ):
        raise ValueError(
            f"dataset is a {type(given).__name__}; expected a Dataset or DatasetDict, loaded "
            "without streaming"
        )
    splits = {ours: split for key, split in given.items() if (ours := split_called(str(key)))}
    if "train" not in splits:
        raise ValueError(f"dataset has the splits {', '.join(map(str, given))}; expected train")
    train = splits["train"]
    info, features = train.info, train.features
    name = name or info.dataset_name or info.builder_name or "hugging-face"
    label = reading.label or _label_column(features, name)
    if image is None and text is None:
        image, text = _input_column(features, name)
    for column in (image, text, label):
        if column is not None and column not in features:
            raise ValueError(
                f"{name} has no column {column!r}; its columns are {_listed(features)}"
            )
    labels, classes = _labels({key: split[label] for key, split in splits.items()},
                              features[label], f"{name}: column {label}")  # fmt: skip
    if text is not None:
        reading.refuse("text", "size", "colour", "skip_broken")
        source = _texts(name, splits, text, labels, classes)
    else:
        source = _images(name, splits, str(image), labels, classes, reading)
    return dataclasses.replace(source, licence=info.license or "", citation=info.citation or "")


def _label_column(features: Mapping[str, Any], name: str) -> str:
    typed = [column for column, kind in features.items() if isinstance(kind, _library().ClassLabel)]
    called = [column for column in features if column.lower() in LABEL_COLUMNS]
    for fitting in (typed, called):
        if len(fitting) == 1:
            return fitting[0]
    raise ValueError(
        f"{name} has the columns {_listed(features)}; say which one holds the class: label='...'"
    )


def _input_column(features: Mapping[str, Any], name: str) -> tuple[str | None, str | None]:
    images = [column for column, kind in features.items() if isinstance(kind, _library().Image)]
    texts = [column for column in features if column.lower() in TEXT_COLUMNS]
    if len(images) == 1:
        return images[0], None
    if not images and len(texts) == 1:
        return None, texts[0]
    raise ValueError(
        f"{name} has the columns {_listed(features)}; say which one holds the inputs: with "
        "brolly.data.from_hugging_face(..., image='...') or text='...'"
    )


def _listed(features: Mapping[str, Any]) -> str:
    return ", ".join(f"{column} ({type(kind).__name__})" for column, kind in features.items())


def _labels(
    columns: Mapping[str, Sequence[Any]], kind: Any, where: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    values = {split: list(column) for split, column in columns.items()}
    for split, column in values.items():
        for row, value in enumerate(column):
            if value is None or value == -1:
                raise ValueError(
                    f"{where} of {split}, row {row} is {value}: the class is missing or hidden. "
                    f"Leave the split or the row out: del dataset[{split!r}]"
                )
    arrays = {split: np.array(column) for split, column in values.items()}
    names = getattr(kind, "names", None)
    return encode_labels(arrays, where, None if names is None else tuple(names))


def _texts(
    name: str, splits: Mapping[str, Any], column: str, labels: Mapping[str, Tensor],
    classes: tuple[str, ...],
) -> Source:  # fmt: skip
    texts = {}
    for key, split in splits.items():
        lines = list(split[column])
        for row, line in enumerate(lines):
            if not isinstance(line, str):
                raise ValueError(
                    f"{name}: column {column} of {key}, row {row} is {line!r}; expected text"
                )
        texts[key] = lines, labels[key].numpy()
    return source_of_sentences(name, texts, name, classes)


def _images(
    name: str, splits: Mapping[str, Any], column: str, labels: Mapping[str, Tensor],
    classes: tuple[str, ...], reading: Reading,
) -> Source:  # fmt: skip
    image = _library().Image
    if not isinstance(splits["train"].features[column], image):
        raise ValueError(
            f"{name}: column {column} is of type {splits['train'].features[column]}; expected "
            "Image. Write dataset.cast_column(..., datasets.Image()), or text='...' if it is text"
        )
    encoded = {
        key: split.select_columns([column]).cast_column(column, image(decode=False))
        for key, split in splits.items()
    }
    names = [f"{key}/{row}" for key, split in encoded.items() for row in range(len(split))]
    members = _Cells(Path(name), tuple(names), (), encoded, column)
    files, kept = open_images(members, names, reading)
    whole = torch.cat([labels[key] for key in encoded])[kept]
    split_of = torch.tensor([at for at, key in enumerate(encoded) for _ in labels[key]])[kept]
    rows = {key: (split_of == at).nonzero()[:, 0] for at, key in enumerate(encoded)}
    return Source(
        name, {key: Part(view(files, at), whole[at]) for key, at in rows.items()}, classes
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Cells(Members):
    """Image files in the cells of a column, called `split/row`."""

    place: Path
    names: tuple[str, ...]
    folders: tuple[str, ...]
    splits: Mapping[str, Any]
    column: str

    def read(self, name: str, first: int | None = None) -> bytes:
        split, _, row = name.partition("/")
        cell = self.splits[split][int(row)][self.column]
        if cell is None:
            raise ValueError(f"{self.place}: {name} is empty; expected an image")
        if cell["bytes"] is not None:
            return cell["bytes"][:first]
        try:
            return Path(cell["path"]).read_bytes()
        except OSError as error:
            raise ValueError(f"{self.place}: {name} cannot be read: {error}") from None
